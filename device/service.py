"""What the installed service can reach: its unit hides folders, and makes others read-only, that a person sees and writes to."""

import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from device.cameras.settings import ReplaySettings
from device.errors import SortbinError
from device.settings import Settings

UNIT = "sortbin.service"
HOMES = tuple(map(Path, ("/home", "/root", "/run/user")))
TEMPORARY = tuple(map(Path, ("/tmp", "/var/tmp")))
_ASKED = (
    "LoadState",
    "ExecStart",
    "ProtectHome",
    "PrivateTmp",
    "ProtectSystem",
    "StateDirectory",
    "ReadWritePaths",
    "BindPaths",
    "BindReadOnlyPaths",
)
_ANSWER_S = 5.0


class ServiceError(SortbinError, OSError):
    """A path of the settings that the service cannot use. The message names the key and what to do."""


@dataclass(frozen=True, slots=True)
class Service:
    """An installed unit as systemd has it, changes of `systemctl edit` included.

    hidden: folders that it does not see, except for those in `shown`. writable: the only ones that it may write to; None: all.
    """

    command: str
    hidden: tuple[Path, ...]
    shown: tuple[Path, ...]
    writable: tuple[Path, ...] | None


@dataclass(frozen=True, slots=True)
class _Used:
    key: str
    path: Path
    written: bool


def find_service() -> Service | None:
    """The unit that is installed here; None where there is none, or no systemd."""
    try:
        asked = ["systemctl", "show", UNIT, f"--property={','.join(_ASKED)}"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=_ANSWER_S).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    unit = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
    if unit.get("LoadState") != "loaded":
        return None
    hidden = HOMES * (unit.get("ProtectHome") in ("yes", "tmpfs")) + TEMPORARY * (unit.get("PrivateTmp") == "yes")
    bound = _targets(unit.get("BindPaths", ""))
    own = tuple(Path("/var/lib", name) for name in unit.get("StateDirectory", "").split())
    writable = own + bound + tuple(Path(each.lstrip("-+")) for each in _split(unit.get("ReadWritePaths", "")))
    shown = bound + _targets(unit.get("BindReadOnlyPaths", ""))
    return Service(unit.get("ExecStart", ""), hidden, shown, writable if unit.get("ProtectSystem") == "strict" else None)


def require_reach(service: Service, settings: Settings) -> None:
    """Raises ServiceError for the first path of the settings that the service cannot see, or not write to where it must."""
    for used in _paths(settings):
        if not used.path.is_absolute():
            raise ServiceError(f"{used.key} {used.path}: expected a path from / on, since the service starts in /")
        path = used.path.resolve()
        hiding = next((folder for folder in service.hidden if _below(path, (folder,))), None)
        if hiding is not None and not _below(path, service.shown):
            raise ServiceError(f"{used.key} {used.path}: the service does not see {hiding}; expected another place, as below /etc/sortbin or /srv")
        if used.written and service.writable is not None and not (_below(path, service.writable) or _below(used.path, service.writable)):
            allowed = f"`sudo systemctl edit sortbin` with [Service] and ReadWritePaths={used.path}"
            raise ServiceError(f"{used.key} {used.path}: the service may not write there; expected a folder below /var/lib/sortbin, or {allowed}")


def _paths(settings: Settings) -> Iterator[_Used]:
    yield _Used("device.state", Path(settings.device.state), True)
    if settings.keep.folder:
        yield _Used("keep.folder", Path(settings.keep.folder), True)
    read = {"model.bundle": settings.model.bundle, "model.rules": settings.model.rules}
    if isinstance(settings.camera, ReplaySettings):
        read["camera.path"] = settings.camera.path
    if settings.mqtt is not None:
        read["mqtt.password_file"] = settings.mqtt.password_file or ""
    if settings.mqtt is not None and settings.mqtt.tls is not None:
        tls = settings.mqtt.tls
        read |= {"mqtt.tls.ca_file": tls.ca_file or "", "mqtt.tls.cert_file": tls.cert_file or "", "mqtt.tls.key_file": tls.key_file or ""}
    for key, name in read.items():
        if name and not _comes_along(key, name):
            yield _Used(key, Path(name), False)


def _comes_along(key: str, name: str) -> bool:
    """Whether it is the bare name of a bundle or a rule pack rather than a path."""
    return key in ("model.bundle", "model.rules") and "/" not in name and not Path(name).exists()


def _below(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _targets(bound: str) -> tuple[Path, ...]:
    """Where things are mounted: systemd writes `source:target:options`, of which the source may stand alone."""
    parts = (each.lstrip("-+").split(":") for each in _split(bound))
    return tuple(Path(each[1] if len(each) > 1 and each[1] else each[0]) for each in parts)


def _split(listed: str) -> list[str]:
    try:
        return shlex.split(listed)
    except ValueError:
        return listed.split()
