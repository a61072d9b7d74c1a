"""The clocks of one start of the daemon: monotonic for everything that is measured, wall time only as a label."""

import ctypes
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

_TIME_ERROR = 5
"""adjtimex(2): the kernel's clock is not synchronised"""


@dataclass(frozen=True, slots=True)
class Reading:
    """One moment as an event carries it: which start of the daemon, seconds since, and the wall clock's RFC 3339 label in UTC."""

    boot: str
    uptime_s: float
    time: str
    clock: Literal["synced", "unsynced"]


def wall_clock_synced() -> bool:
    """Whether something (timesyncd, chrony, ntpd, PTP) keeps the kernel's clock synchronised. False where the kernel does not tell.

    Asks adjtimex(2) and changes nothing. A Raspberry Pi has no battery clock, so until then its wall time is a guess.
    """
    timex = ctypes.create_string_buffer(512)
    try:
        state = ctypes.CDLL(None).adjtimex(timex)
    except (OSError, AttributeError):
        return False
    return 0 <= int(state) < _TIME_ERROR


def kernel_boot_id() -> str:
    """Names one start of the kernel: while it is the same, whatever a killed process wrote, or switched on, is still there. Empty: unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class Clock:
    """Names one start of the daemon and reads its clocks. Reading is quick, safe from every thread and touches no disk.

    now_s is monotonic, wall_s Unix time, since_boot_s counts from the kernel's start, suspension included; all in seconds.
    """

    def __init__(
        self,
        *,
        now_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
        since_boot_s: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        synced: Callable[[], bool] = wall_clock_synced,
    ) -> None:
        self.boot = uuid.uuid4().hex[:12]
        self._now_s, self._wall_s, self._synced = now_s, wall_s, synced
        self.since_boot_s = since_boot_s
        self._started_s = now_s()

    def read(self) -> Reading:
        """This moment."""
        label = datetime.fromtimestamp(self._wall_s(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return Reading(
            boot=self.boot,
            uptime_s=round(self._now_s() - self._started_s, 3),
            time=label,
            clock="synced" if self._synced() else "unsynced",
        )
