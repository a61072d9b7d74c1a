"""Which gates a bin has claimed, on disk while it has them: an output that is on after a crash is found even where the settings changed meanwhile."""

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
    """which start of the kernel: outputs do not stay on over the next one, and by then other things may be wired to them"""
    gates: tuple[GateSettings, ...]


def claimed(state: Path) -> tuple[GateSettings, ...]:
    """Gates that a bin claimed since the computer was switched on and has not given back. None where nothing of the kind can be read."""
    try:
        claim = msgspec.json.decode((state / FILE).read_bytes(), type=_Claim)
    except (OSError, ValueError):
        return ()
    return claim.gates if claim.kernel and claim.kernel == kernel_boot_id() else ()


def note_claim(state: Path, gates: Iterable[GateSettings]) -> None:
    """Write down which gates are about to be claimed. A disk that cannot take it is logged: the settings name them, too."""
    claim = _Claim(kernel_boot_id(), tuple(gates))
    try:
        with replacing(state / FILE) as new:
            new.write_bytes(msgspec.json.encode(claim))
            hand_over(state, new)
    except OSError as error:
        log.warning("%s: %s; after a crash only the gates that the settings then name can be made safe", state / FILE, error.strerror)


def forget_claim(state: Path) -> None:
    """All gates were given back."""
    with contextlib.suppress(OSError):
        (state / FILE).unlink()
