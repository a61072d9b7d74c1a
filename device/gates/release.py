"""Switch outputs off after a process died, which the kernel does not do. Works as far as possible with a broken settings file."""

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
class FoundGates:
    """The gates in a settings file. mistakes: what could not be read, one line each. state: the state folder that it names, if any."""

    gates: tuple[GateSettings, ...]
    state: Path | None
    mistakes: tuple[str, ...]


def make_safe(settings: Iterable[GateBase]) -> list[GateError]:
    """Switch off the outputs of every gate. Returns an error for each gate that could not be reached."""
    errors = []
    for each in settings:
        try:
            each.claim().release()
        except GateError as error:
            errors.append(error)
        except Exception as error:  # the gates after it have to be made safe, too
            errors.append(GateError(f"gate {each.name}: {type(error).__name__}: {error}"))
    return errors


def read_gates(file: Path) -> FoundGates:
    """The gates of a settings file that may have mistakes: each table is read by itself, and other tables do not matter. Never raises."""
    try:
        text = file.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        return FoundGates((), None, (f"{file}: {error.strerror}",))
    gates: list[GateSettings] = []
    mistakes: list[str] = []
    state = None
    for table in _tables(text):
        if isinstance(table, Exception):
            mistakes.append(f"{file}: {table}")
            continue
        device, tables = table.get("device"), table.get("gate", [])
        if isinstance(device, dict) and isinstance(device.get("state"), str):
            state = Path(device["state"])
        for gate in tables if isinstance(tables, list) else [tables]:
            try:
                gates.append(msgspec.convert(gate, GateSettings))
            except msgspec.ValidationError as error:
                mistakes.append(f"{file}: gate: {describe_error(error, GateSettings)}")
    return FoundGates(tuple(gates), state, tuple(mistakes))


def _tables(text: str) -> Iterator[dict[str, Any] | Exception]:
    """The file as one table; if it is no TOML, the error, and then each part between table headers that is TOML."""
    try:
        yield tomllib.loads(text)
        return
    except _NO_TOML as error:
        yield error
    for part in _TABLE.split(text):
        with contextlib.suppress(*_NO_TOML):
            yield tomllib.loads(part)
