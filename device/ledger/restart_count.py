"""How the previous run ended: cleanly, by a crash, or by a power cut."""

from dataclasses import dataclass
from typing import Literal

from device.ledger.schema import Notes

CRASH_LOOP_S = 600.0
"""a run that crashes sooner after its start than this is one more of a row of crashes"""

LastRestart = Literal["first start", "stopped", "crash", "power_cut"]
"""how the run before this one ended; `first start`: there was none"""


@dataclass(frozen=True, slots=True)
class RestartCount:
    """Counts as of this start. Both are 0 after a clean stop."""

    restarts: int
    """starts in a row, this one included, whose previous run did not stop cleanly"""
    crashes: int
    """starts in a row, this one included, whose previous run crashed within CRASH_LOOP_S of its start; 0 after a power cut"""
    power_cut: bool
    """whether the previous run ended with the computer"""
    reason: LastRestart


def count_restarts(notes: Notes, kernel_boot: str, since_boot_s: int) -> RestartCount:
    """Judge the previous run by its notes.

    kernel_boot: id of the kernel's present run. since_boot_s: seconds since the kernel started.
    """
    if notes.clean:
        return RestartCount(restarts=0, crashes=0, power_cut=False, reason="stopped" if notes.starts else "first start")
    power_cut = notes.kernel != kernel_boot
    began_s = since_boot_s if notes.begun_s is None else notes.begun_s
    crashed_soon = not power_cut and since_boot_s - began_s < CRASH_LOOP_S
    return RestartCount(notes.restarts + 1, notes.crashes + 1 if crashed_soon else 0, power_cut, "power_cut" if power_cut else "crash")
