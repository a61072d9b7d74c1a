"""Figures of this computer from the operating system: temperature, throttling, memory, free space, board."""

import os
from pathlib import Path


def cpu_temperature_c(root: Path = Path("/sys/class/thermal")) -> float | None:
    """The temperature of the hottest thermal zone in degrees Celsius; None where there is none."""
    found = []
    for zone in root.glob("thermal_zone*/temp"):
        try:
            found.append(int(zone.read_text()) / 1000)
        except (OSError, ValueError):
            continue
    return max(found, default=None)


def throttled(file: Path = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")) -> bool | None:
    """Whether a Raspberry Pi is slowed down now, for heat or low voltage (bits 0 to 3). None on other computers."""
    try:
        return bool(int(file.read_text(), 16) & 0xF)
    except (OSError, ValueError):
        return None


def resident_mib() -> float:
    """Resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def free_mib(folder: str) -> float | None:
    """Free disk space for this folder in MiB; None where it cannot be read."""
    try:
        space = os.statvfs(folder)
    except OSError:
        return None
    return round(space.f_bavail * space.f_frsize / 2**20, 1)


def board_name() -> str:
    """The board's name in the device tree, such as `Raspberry Pi 5 Model B Rev 1.0`; empty where there is none."""
    try:
        return Path("/proc/device-tree/model").read_text(encoding="utf-8").rstrip("\0")
    except OSError:
        return ""
