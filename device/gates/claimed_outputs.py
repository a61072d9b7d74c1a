"""The gates that a bin has claimed, on disk until they are released: finds an output that is on after a crash, even if the settings have changed."""

import contextlib
import logging
from collections.abc import Iterable
from pathlib import Path

import msgspec

from device.common.clock import kernel_boot_id
from device.common.files import hand_over, replacing
from device.gates.kinds import GateSettings

log = logging.getLogger(__name__)

FILE = "claimed-gates.json"


class _Claim(msgspec.Struct, frozen=True):
    kernel: str
    """id of the kernel's start: outputs do not stay on over the next one, and by then other things may be wired to them"""
    gates: tuple[GateSettings, ...]


def read_claim(state: Path) -> tuple[GateSettings, ...]:
    """The gates that were claimed since the computer was switched on and not released. Empty where the file is missing or damaged."""
    try:
        claim = msgspec.json.decode((state / FILE).read_bytes(), type=_Claim)
    except (OSError, ValueError):
        return ()
    return claim.gates if claim.kernel and claim.kernel == kernel_boot_id() else ()


def write_claim(state: Path, gates: Iterable[GateSettings]) -> None:
    """Store which gates are about to be claimed. A failing disk is logged and no error: the settings name the gates, too."""
    claim = _Claim(kernel_boot_id(), tuple(gates))
    try:
        with replacing(state / FILE) as new:
            new.write_bytes(msgspec.json.encode(claim))
            hand_over(state, new)
    except OSError as error:
        log.warning("%s: %s; after a crash only the gates that the settings then name can be made safe", state / FILE, error.strerror)


def clear_claim(state: Path) -> None:
    """Remove the file, once all gates were released."""
    with contextlib.suppress(OSError):
        (state / FILE).unlink()
