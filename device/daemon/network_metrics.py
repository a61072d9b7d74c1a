"""The Wi-Fi signal on the way to the broker, from the kernel's tables."""

import ipaddress
from pathlib import Path

NET = Path("/proc/net")


def wifi_dbm(own_address: str, broker_address: str, net: Path = NET) -> float | None:
    """The signal in dBm of the Wi-Fi that leads to an address; None on a cable, without a connection, and where the kernel does not say.

    own_address, broker_address: both ends of a connection. Reads the tables route, if_inet6 and wireless of proc(5).
    """
    try:
        interface = _interface(ipaddress.ip_address(own_address), ipaddress.ip_address(broker_address), net)
        signals = (net / "wireless").read_text().splitlines()[2:]
    except (OSError, ValueError):
        return None
    for line in signals:
        name, _, figures = line.partition(":")
        if name.strip() == interface and (dbm := _dbm(figures)) is not None:
            return dbm
    return None


def _interface(own: ipaddress.IPv4Address | ipaddress.IPv6Address, broker: ipaddress.IPv4Address | ipaddress.IPv6Address, net: Path) -> str | None:
    """The network interface between both ends."""
    if isinstance(own, ipaddress.IPv6Address):
        rows = [line.split() for line in (net / "if_inet6").read_text().splitlines()]
        return next((row[-1] for row in rows if row and int(row[0], 16) == int(own)), None)
    best: tuple[int, str] | None = None
    for line in (net / "route").read_text().splitlines()[1:]:
        name, destination, _, _, _, _, _, mask = line.split()[:8]
        # The kernel prints both as the words of a little-endian machine.
        netmask = int.from_bytes(bytes.fromhex(mask), "little")
        if int(broker) & netmask == int.from_bytes(bytes.fromhex(destination), "little"):
            best = max(best or (-1, ""), (netmask, name), key=lambda found: found[0])
    return None if best is None else best[1]


def _dbm(figures: str) -> float | None:
    """The third figure, `level`, in dBm where it is below 0."""
    try:
        level = float(figures.split()[2])
    except (ValueError, IndexError):
        return None
    return level if level < 0 else None
