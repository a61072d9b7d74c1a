"""Which machine this is: for the id of a bin that was given none, and for a ledger that wants to know whether it was copied."""

import hashlib
import platform
import re
from pathlib import Path

_PERMANENT = "0"
"""`addr_assign_type` of an address that the card came with"""
_NOT_UNIQUE = 0b11
"""bits of an address's first byte: for a group, or chosen by the local administrator, as virtual machines do"""


def machine_key(root: Path = Path("/")) -> str:
    """What tells this machine from every other: its board's serial number, else a built-in network card's address, else the system's machine-id.

    The machine-id comes last because a copied memory card takes it along. Reads a few files; never raises. root: where the file system begins.
    """
    serial = _text(root / "proc/device-tree/serial-number").strip("\0").lower()
    if re.fullmatch("[0-9a-f]{8,}", serial) and len(set(serial)) > 1:
        return f"serial {serial}"
    addresses = [_text(card / "address") for card in _directory(root / "sys/class/net") if _is_built_in(card)]
    unique = [address for address in addresses if re.fullmatch("[0-9a-f]{2}(:[0-9a-f]{2}){5}", address) and not int(address[:2], 16) & _NOT_UNIQUE]
    if unique:
        return f"address {min(unique)}"
    machine_id = _text(root / "etc/machine-id")
    return f"machine-id {machine_id}" if machine_id else f"name {platform.node()}"


def default_device_id(root: Path = Path("/")) -> str:
    """An id for the bin in this machine: `bin-` and the last eight digits of a board's serial number, or eight that stand for its other key.

    The same after every restart and reinstall of the same machine.
    """
    key = machine_key(root)
    return f"bin-{key[-8:] if key.startswith('serial ') else _short(key)}"


def folder_id(folder: Path, root: Path = Path("/")) -> str:
    """Names a folder on this machine. A copy of the folder is another place, on the same machine or in another. Raises OSError."""
    return _short(f"{machine_key(root)} {folder.stat().st_ino}")


def _is_built_in(card: Path) -> bool:
    device = card / "device"
    return device.exists() and "/usb" not in str(device.resolve()) and _text(card / "addr_assign_type") == _PERMANENT


def _directory(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _short(key: str) -> str:
    return hashlib.sha256(f"sortbin {key}".encode()).hexdigest()[:8]
