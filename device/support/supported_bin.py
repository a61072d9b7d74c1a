"""The bin that the archive is about: its settings as far as they can be read, and its secrets."""

import contextlib
import re
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device.common.default_paths import DEFAULT_STATE
from device.settings import Settings, SettingsError, read_settings
from device.support.secrets import is_secret

MOST_BYTES = 1024 * 1024
"""longest file that is read whole: of settings, or of a password"""


@dataclass(frozen=True)
class SupportedBin:
    """One bin. settings: None where the file cannot be used; error says why.

    written: the file as it was written, {} where it is no TOML. text: its text, as far as it is any.
    """

    config: Path
    settings: Settings | None
    error: str
    written: dict[str, Any]
    text: str

    @property
    def state(self) -> Path:
        """Folder of the ledger, also by settings that are wrong elsewhere."""
        found = [Path(value) for name, value in self._values() if name == "state" and value]
        return found[0] if found else DEFAULT_STATE

    @property
    def id(self) -> str:
        """Name of the bin; `bin` where the settings cannot be used."""
        return "bin" if self.settings is None else self.settings.device.id

    def secrets(self) -> Iterator[str]:
        """Secret values in the settings, and the broker's password, which is read so that it can be masked wherever it was written."""
        for name, value in self._values():
            if is_secret(name) and value != self.id:
                yield value
            if name == "password_file" and _ends(Path(value)):
                with contextlib.suppress(OSError, ValueError):
                    yield Path(value).read_text(encoding="utf-8-sig").strip()

    def _values(self) -> Iterator[tuple[str, str]]:
        """Every key and value; of a file that is no TOML those that look like some."""
        return _values(self.written) if self.written else iter(re.findall(r"(?m)^\s*([\w-]+)\s*=\s*[\"']?(.*?)[\"']?\s*(?:#.*)?$", self.text))


def read_supported_bin(config: Path) -> SupportedBin:
    """Read the settings file. Never raises for what stands in it."""
    if not _ends(config):
        return SupportedBin(config, None, f"{config}: expected a settings file of at most {MOST_BYTES} bytes", {}, "")
    settings, error, written, text = None, "", {}, ""
    try:
        settings = read_settings(config)
    except SettingsError as refusal:
        error = str(refusal)
    with contextlib.suppress(OSError, tomllib.TOMLDecodeError):
        text = config.read_text(encoding="utf-8-sig", errors="replace")
        written = tomllib.loads(text)
    return SupportedBin(config, settings, error, written, text)


def _ends(file: Path) -> bool:
    """Whether reading it comes to an end soon, even with an error: not so for pipes, devices, and files that are no text of a person's."""
    try:
        status = file.stat()
    except (OSError, ValueError):
        return True
    return stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_size <= MOST_BYTES)


def _values(table: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Every value in nested tables and lists, as text, with the name of its key."""
    match table:
        case dict():
            for key, below in table.items():
                yield from _values(below, key)
        case list():
            for below in table:
                yield from _values(below, name)
        case _:
            yield name, str(table)
