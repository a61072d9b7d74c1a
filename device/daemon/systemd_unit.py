"""Checks that the installed service can reach the paths of the settings: its unit hides some folders and makes others read-only."""

import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from device.common.errors import SortbinError
from device.common.shipped_files import shipped
from device.daemon.folder_checks import files_in, owner
from device.settings import Settings
from device.vision.inference.bundle import shipped_bundles

UNITS = Path("/etc/systemd/system")
UNIT = "sortbin.service"
HOMES = tuple(map(Path, ("/home", "/root", "/run/user")))
TEMPORARY = tuple(map(Path, ("/tmp", "/var/tmp")))
_YES = ("yes", "true", "on", "1")


class ServiceError(SortbinError, OSError):
    """A path of the settings that the service cannot use. The message names the key and what to do."""


@dataclass(frozen=True, slots=True)
class Service:
    """An installed unit, with the changes of `systemctl edit`."""

    command: tuple[str, ...]
    user: str
    hidden: tuple[Path, ...]
    """folders that the service does not see, except for those in `shown`"""
    shown: tuple[Path, ...]
    writable: tuple[Path, ...] | None
    """the only folders that the service may write to; None: all"""


@dataclass(frozen=True, slots=True)
class _PathSetting:
    key: str
    path: Path
    written: bool


def find_service() -> Service | None:
    """The unit that `systemd/install` installed, read as systemd reads it; None where there is none."""
    try:
        files = [UNITS / UNIT, *sorted((UNITS / f"{UNIT}.d").glob("*.conf"))]
        unit = _read("\n".join(file.read_text(encoding="utf-8") for file in files))
    except (OSError, UnicodeDecodeError):
        return None
    protect_home, private_tmp, protect_system = ("".join(unit.get(key, [])[-1:]) for key in ("ProtectHome", "PrivateTmp", "ProtectSystem"))
    hidden = HOMES * (protect_home in ("tmpfs", *_YES)) + TEMPORARY * (private_tmp in _YES)
    bound = _targets(unit.get("BindPaths", []))
    own = tuple(Path("/var/lib", name) for name in unit.get("StateDirectory", []))
    writable = own + bound + tuple(Path(each.lstrip("-+")) for each in unit.get("ReadWritePaths", []))
    shown = bound + _targets(unit.get("BindReadOnlyPaths", []))
    user = "".join(unit.get("User", ["root"])[-1:])
    return Service(tuple(unit.get("ExecStart", [])), user, hidden, shown, writable if protect_system == "strict" else None)


def _read(text: str) -> dict[str, list[str]]:
    """The words of each key. A later line of a key adds to the earlier ones; an empty one clears them."""
    unit: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        key, given, value = line.partition("=")
        if given and not key.lstrip().startswith(("#", ";")):
            words = value.split()
            unit[key.strip()] = unit.get(key.strip(), []) + words if words else []
    return unit


def require_reach(service: Service, settings: Settings) -> None:
    """Raises ServiceError for the first path of the settings that the service cannot see, or not write to where it must."""
    for setting in _path_settings(settings):
        if not setting.path.is_absolute():
            raise ServiceError(f"{setting.key} {setting.path}: expected an absolute path, since the service starts in /")
        path = setting.path.resolve()
        hiding = next((folder for folder in service.hidden if _below(path, (folder,))), None)
        if hiding is not None and not _below(path, service.shown):
            raise ServiceError(
                f"{setting.key} {setting.path}: the service does not see {hiding}; expected another place, such as a folder in /etc/sortbin or /srv"
            )
        if setting.written and service.writable is not None and not (_below(path, service.writable) or _below(setting.path, service.writable)):
            allowed = f"`sudo systemctl edit sortbin` with [Service] and ReadWritePaths={setting.path}"
            raise ServiceError(
                f"{setting.key} {setting.path}: the service may not write there; expected a folder below /var/lib/sortbin, or {allowed}"
            )


def require_rights(service: Service, settings: Settings) -> None:
    """Raises ServiceError for the first file of the settings that the service's user may not read, or not write to where it must."""
    try:
        user = pwd.getpwnam(service.user)
    except KeyError:
        raise ServiceError(f"{UNIT}: User={service.user}: there is no such user; `sudo systemd/install` makes it") from None
    groups = set(os.getgrouplist(user.pw_name, user.pw_gid))
    for setting in _path_settings(settings):
        within = [setting.path, *files_in(setting.path)] if setting.written else [setting.path]
        for path in (each for each in within if each.exists()):
            if not _may(user.pw_uid, groups, path, written=setting.written):
                belongs = f"{setting.key} {path}: belongs to {owner(path)}, and the service runs as {user.pw_name}, which may not"
                raise ServiceError(f"{belongs} {'write to' if setting.written else 'read'} it: sudo chown {user.pw_name}: {path}")


def _may(user: int, groups: set[int], path: Path, *, written: bool) -> bool:
    """Whether the mode bits let a user read a path, or read and write it, and enter it where it is a folder."""
    status = path.stat()
    shift = 6 if status.st_uid == user else 3 if status.st_gid in groups else 0
    needed = 4 + 2 * written + path.is_dir()
    return user == 0 or (status.st_mode >> shift) & needed == needed


def _path_settings(settings: Settings) -> Iterator[_PathSetting]:
    yield _PathSetting("device.state", Path(settings.device.state), True)
    if settings.keep.folder:
        yield _PathSetting("keep.folder", Path(settings.keep.folder), True)
    read = {"model.bundle": settings.model.bundle, "model.rules": settings.model.rules, **settings.camera.files_read()}
    if settings.mqtt is not None:
        read["mqtt.password_file"] = settings.mqtt.password_file or ""
    if settings.mqtt is not None and settings.mqtt.tls is not None:
        tls = settings.mqtt.tls
        read |= {"mqtt.tls.ca_file": tls.ca_file or "", "mqtt.tls.cert_file": tls.cert_file or "", "mqtt.tls.key_file": tls.key_file or ""}
    for key, name in read.items():
        if name and not _is_shipped(key, name):
            yield _PathSetting(key, Path(name), False)


def _is_shipped(key: str, name: str) -> bool:
    """Whether it is the name of a bundle or a rule pack that comes with Sortbin, not a path."""
    return (key == "model.bundle" and name in shipped_bundles()) or (key == "model.rules" and name in shipped("rules"))


def _below(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _targets(bound: list[str]) -> tuple[Path, ...]:
    """The mount points in `source:target:options`; the source alone is its own mount point."""
    parts = (each.lstrip("-+").split(":") for each in bound)
    return tuple(Path(each[1] if len(each) > 1 and each[1] else each[0]) for each in parts)
