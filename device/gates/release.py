"""Outputs made safe after a process died with one of them on, for the kernel does not do that by itself: as far as possible whatever is wrong."""

import contextlib
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from device.common.errors import describe_error
from device.gates import GateError
from device.gates.kinds import GateSettings
from device.gates.settings import GateBase

_NO_TOML = (tomllib.TOMLDecodeError, RecursionError)
_TABLE = re.compile(r"^[ \t]*(?=\[)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Found:
    """What a settings file says of the gates. troubles: what of it could not be read, a line each. state: the folder that it names, if any."""

    gates: tuple[GateSettings, ...]
    state: Path | None
    troubles: tuple[str, ...]


def make_safe(settings: Iterable[GateBase]) -> list[GateError]:
    """Switch off pulses and lines of every gate, each for itself. Returns what could not be reached."""
    errors = []
    for each in settings:
        try:
            each.claim().release()
        except GateError as error:
            errors.append(error)
        except Exception as error:  # whatever it is, the gates after it have to be made safe, too
            errors.append(GateError(f"gate {each.name}: {type(error).__name__}: {error}"))
    return errors


def read_gates(file: Path) -> Found:
    """The gates of a settings file with mistakes in it: each table counts by itself, and what is not about a gate does not count. Never raises."""
    try:
        text = file.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        return Found((), None, (f"{file}: {error.strerror}",))
    gates: list[GateSettings] = []
    troubles: list[str] = []
    state = None
    for table in _tables(text):
        if isinstance(table, Exception):
            troubles.append(f"{file}: {table}")
            continue
        device, tables = table.get("device"), table.get("gate", [])
        if isinstance(device, dict) and isinstance(device.get("state"), str):
            state = Path(device["state"])
        for gate in tables if isinstance(tables, list) else [tables]:
            try:
                gates.append(msgspec.convert(gate, GateSettings))
            except msgspec.ValidationError as error:
                troubles.append(f"{file}: gate: {describe_error(error, GateSettings)}")
    return Found(tuple(gates), state, tuple(troubles))


def _tables(text: str) -> Iterator[dict[str, Any] | Exception]:
    """The whole file at once; where that is no TOML, why, and then one table after the other without those that are none."""
    try:
        yield tomllib.loads(text)
        return
    except _NO_TOML as error:
        yield error
    for part in _TABLE.split(text):
        with contextlib.suppress(*_NO_TOML):
            yield tomllib.loads(part)
