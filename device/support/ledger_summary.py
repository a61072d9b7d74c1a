"""What the ledger holds: its counts, the newest events, whether it is sound, and the files of the state folder."""

import json
from pathlib import Path
from typing import Any

import msgspec

from device.common.errors import SortbinError
from device.daemon.folder_checks import owner
from device.ledger.reader import check_integrity, read_events, read_ledger_state
from device.ledger.totals import totals_by_bin
from device.support.supported_bin import SupportedBin

NEWEST = 200
"""events that are told whole; no event holds a picture"""
MOST_FILES = 200
CHECK_S = 30.0


def collect(bin_: SupportedBin) -> str:
    """As JSON. A ledger that is missing or cannot be read is told as `error`."""
    told: dict[str, Any] = {"folder": str(bin_.state), "files": _files(bin_.state)}
    try:
        told |= _ledger(bin_.state)
    except SortbinError as error:
        told["error"] = str(error)
    return json.dumps(told, ensure_ascii=False, indent=1)


def _ledger(folder: Path) -> dict[str, Any]:
    remarks: list[str] = [f"integrity: {check_integrity(folder, CHECK_S)}"]
    state, _ = read_ledger_state(folder)
    newest = [msgspec.json.decode(payload) for _, payload in read_events(folder, max(0, state.newest_seq - NEWEST), remarks.append)]
    return {
        "remarks": remarks,
        "newest_seq": state.newest_seq,
        "given_out": state.given_out,
        "undelivered": state.undelivered,
        "notes": {name: value for name, value in msgspec.to_builtins(state.notes).items() if name != "place"},
        "on_their_way": len(state.intents),
        "totals": msgspec.to_builtins(totals_by_bin(state.tallies)),
        "newest": newest,
    }


def _files(folder: Path) -> list[str] | str:
    """Each file: rights, owner, bytes, name."""
    try:
        files = sorted(folder.rglob("*"))
        told = [f"{oct(file.lstat().st_mode)[-4:]} {owner(file)} {file.lstat().st_size} {file.relative_to(folder)}" for file in files[:MOST_FILES]]
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return [*told, *([f"and {len(files) - MOST_FILES} more"] if len(files) > MOST_FILES else [])]
