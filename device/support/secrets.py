"""What must not leave the bin, and how it is taken out of every text of the archive.

Secrets are: passwords and keys, names to log in with, tokens (also in URLs), names of Wi-Fi networks, hardware addresses, serial numbers, the
machine-id, the computer's own name, and where the bin stands. No secret are: the bin's id, the broker's host and port, paths, IP addresses.

They are found by how they are written (`password=...`, `aa:bb:cc:dd:ee:ff`), and by what this machine knows of itself. To find the broker's
password wherever it was written, its file is read; the password is masked and never stored. Files of private keys are not read; a PEM block is
masked.
"""

import json
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

MASK = "***"
SHORTEST = 4
"""characters that a known secret must have to be looked for: a shorter one would garble every text"""
SHORTEST_SERIAL = 6
"""characters of a serial number; firmware writes such as `None` where there is none"""
NO_SECRETS = {"localhost", "root", "sortbin", "true", "false", "none"}
"""texts that stand everywhere: masking them would hide nothing and garble much"""
SECRET_NAME = re.compile(
    r"user_?name|login|pass(?:word|wd|phrase)|pwd|psk|secret|token|api_?-?key|private_?-?key|credential|authorization|bearer|cookie|ssid"
    r"|serial[ _-]?(?:number|no)|location|latitude|longitude|mac_?addr",
    re.IGNORECASE,
)
"""names of settings and variables whose values are secrets; one that ends in `_file` holds a path, which is none"""
WORKING_FOLDERS = ("PWD", "OLDPWD")
"""variables of the shell that hold paths, whatever their names look like"""

_MAC = r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}"
_PATTERNS = (
    (re.compile(r"-----BEGIN [^-]*-----[A-Za-z0-9+/=\s\\]*(?:-----END [^-]*-----)?"), MASK),
    (re.compile(rf"(?<![0-9A-Fa-f:-]){_MAC}(?::[0-9A-Fa-f]{{2}})*(?![0-9A-Fa-f])"), MASK),
    (re.compile(r"(?i)\b[0-9a-f:]*:[0-9a-f]{1,4}ff:fe[0-9a-f]{2}:[0-9a-f]{1,4}\b"), MASK),
    (re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@\"']+@"), rf"\1{MASK}@"),
    (re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://[^\s?#\"'<>]*)[?#][^\s\"'<>]*"), rf"\1?{MASK}"),
    (re.compile(r"((?:serial|v4l)/by-id/)[^\s\"',]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(serial\s*[:=]\s*)[0-9a-z]{6,}"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
    (
        re.compile(
            rf"(?i)([A-Za-z0-9_.-]*(?:{SECRET_NAME.pattern})(?!_file)[A-Za-z0-9_.-]*[\"']?\s*(?:[:=]|=>)\s*|\b(?:ssid|wi-?fi|network) (?=[\"']))"
            r"(?:(?P<quote>[\"'])(?:(?!(?P=quote)).)*|[^\s,;\"'}\])]+)"
        ),
        rf"\1\g<quote>{MASK}",
    ),
)


class Scrubber:
    """Masks secrets in texts. known: texts that are masked wherever they stand."""

    def __init__(self, known: Iterable[str]) -> None:
        long_enough = {text for text in known if len(text) >= SHORTEST and text.lower() not in NO_SECRETS}
        as_in_json = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for text in long_enough for ascii_only in (False, True)}
        longest_first = sorted(long_enough | as_in_json, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if longest_first else None

    def scrub(self, text: str) -> str:
        """The text with each secret masked."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text


def is_secret(name: str) -> bool:
    """Whether the value of a setting or variable of this name is a secret."""
    return SECRET_NAME.search(name) is not None and not name.endswith("_file")


def secrets_of_machine(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """What this machine knows of itself and is a secret: serial numbers, addresses, names. Reads a few files; never raises."""
    yield platform.node()
    for card in sorted(root.glob("sys/class/net/*/address")):
        yield from (line.replace(":", "") for line in _lines(card))
    for pattern in (
        "proc/device-tree/serial-number",
        "etc/machine-id",
        "sys/bus/usb/devices/*/serial",
        "sys/class/dmi/id/*_serial",
        "sys/block/*/device/serial",
        "sys/block/*/device/cid",
    ):
        for file in sorted(root.glob(pattern)):
            yield from (line for line in _lines(file) if len(line) >= SHORTEST_SERIAL and any(map(str.isdigit, line)))
    for pattern in ("etc/wpa_supplicant/*.conf", "etc/NetworkManager/system-connections/*", "var/lib/iwd/*.psk", "etc/netplan/*.yaml"):
        for file in sorted(root.glob(pattern)):
            yield file.stem
            yield from re.findall(r"(?im)^\s*(?:ssid|id|psk|password)\s*[=:]\s*\"?([^\"\n]+?)\"?\s*$", "\n".join(_lines(file)))
    yield from (value for name, value in environment.items() if is_secret(name) and name not in WORKING_FOLDERS)


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip("\0 ") for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return []
