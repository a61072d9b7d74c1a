"""The hardware as the kernel names it: board, cameras, buses, USB devices, Edge TPU, network. No serial numbers and no hardware addresses."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from device.daemon.system_metrics import board_name
from device.support.supported_bin import SupportedBin

EDGE_TPUS = {"1a6e:089a": "Coral USB, before its first use", "18d1:9302": "Coral USB"}
"""USB ids of the Coral USB Accelerator, before and after its firmware was loaded"""


def collect(bin_: SupportedBin) -> str:
    """As JSON."""
    return json.dumps(report(), ensure_ascii=False, indent=1)


def report(root: Path = Path("/")) -> dict[str, object]:
    """Reads files of /sys, /proc and /dev only, and opens no device. root: of the file system."""
    sys = root / "sys"
    usb = _usb(sys / "bus/usb/devices")
    return {
        "board": board_name(),
        "processor": _processor(root / "proc/cpuinfo"),
        "cameras": _each(sys / "class/video4linux", ("name",)),
        "media": _names(root / "dev", "media*"),
        "i2c": _each(sys / "class/i2c-dev", ("name",)),
        "gpio": _each(sys / "class/gpio", ("label", "ngpio")) or _names(root / "dev", "gpiochip*"),
        "pwm": _each(sys / "class/pwm", ("npwm", "device/uevent")),
        "serial_ports": _names(root / "dev", "ttyACM*", "ttyUSB*", "ttyAMA*"),
        "usb": usb,
        "edge_tpu": [EDGE_TPUS[each["id"]] for each in usb if each["id"] in EDGE_TPUS] + _names(root / "dev", "apex_*"),
        "disks": {name: disk for name, disk in _each(sys / "block", ("size", "device/name", "ro")).items() if disk["size"] != "0"},
        "network": {card.name: _network(card) for card in _entries(sys / "class/net")},
    }


def _usb(folder: Path) -> list[dict[str, str]]:
    devices = []
    for entry in _entries(folder):
        vendor, product = _text(entry / "idVendor"), _text(entry / "idProduct")
        if vendor and product:
            names = {name: _text(entry / name) for name in ("manufacturer", "product", "speed")}
            devices.append({"at": entry.name, "id": f"{vendor}:{product}", **names})
    return devices


def _network(card: Path) -> dict[str, object]:
    wireless = (card / "wireless").exists() or (card / "phy80211").exists()
    return {"state": _text(card / "operstate"), "speed_mbit": _text(card / "speed"), "wireless": wireless, "mtu": _text(card / "mtu")}


def _processor(file: Path) -> list[str]:
    """The lines of /proc/cpuinfo that say what it is; one of the others is the board's serial number."""
    told = [line.partition(":") for line in _text(file).splitlines()]
    return list(dict.fromkeys(value.strip() for name, _, value in told if name.strip() in ("model name", "Model", "Hardware", "Revision")))


def _each(folder: Path, files: Sequence[str]) -> dict[str, dict[str, str]]:
    """The texts in these files of each entry of a folder."""
    return {entry.name: {name: _text(entry / name) for name in files} for entry in _entries(folder)}


def _names(folder: Path, *patterns: str) -> list[str]:
    return sorted(entry.name for entry in _entries(folder) if any(entry.match(pattern) for pattern in patterns))


def _entries(folder: Path) -> Iterable[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""
