"""Identifies this machine: for the default id of a bin, and so that a copied ledger is noticed."""

import hashlib
import platform
import re
from pathlib import Path

_PERMANENT = "0"
"""`addr_assign_type` of an address that is built into the card"""
_NOT_UNIQUE = 0b11
"""bits of an address's first byte: group address, and locally administered, as in virtual machines"""


def machine_key(root: Path = Path("/")) -> str:
    """A text that is unique to this machine: the board's serial number, else a built-in network card's address, else the machine-id.

    The machine-id comes last because it is on the memory card, which may be copied. Reads a few files; never raises. root: of the file system.
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
    """The id of a bin without one in its settings: `bin-` and the last eight digits of the serial number, or of a hash of `machine_key`.

    It is the same after each restart and reinstall.
    """
    key = machine_key(root)
    return f"bin-{key[-8:] if key.startswith('serial ') else _short(key)}"


def folder_id(folder: Path, root: Path = Path("/")) -> str:
    """An id of a folder on this machine. A copy of the folder has another one, on the same or another machine. Raises OSError."""
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
