"""The clocks of one run of the daemon: monotonic time for what is measured, wall time only as a label."""

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
    """The time of an event: id of the daemon's run, seconds since its start, and the wall clock as RFC 3339 in UTC."""

    boot: str
    uptime_s: float
    time: str
    clock: Literal["synced", "unsynced"]


def wall_clock_synced() -> bool:
    """Whether the kernel's clock is synchronised (by timesyncd, chrony, ntpd or PTP). False where that is unknown.

    Reads adjtimex(2) and changes nothing. A Raspberry Pi has no battery clock: before the first synchronisation its wall time is wrong.
    """
    timex = ctypes.create_string_buffer(512)
    try:
        state = ctypes.CDLL(None).adjtimex(timex)
    except (OSError, AttributeError):
        return False
    return 0 <= int(state) < _TIME_ERROR


def kernel_boot_id() -> str:
    """The id of the kernel's present run. While it is the same, outputs that a killed process switched on are still on. Empty: unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class Clock:
    """The id of one run of the daemon, and its clocks. Thread safe; reads no disk.

    now_s: monotonic time. wall_s: Unix time. since_boot_s: time since the kernel's start, suspension included. All in seconds.
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
        """The present time."""
        return Reading(
            boot=self.boot,
            uptime_s=round(self._now_s() - self._started_s, 3),
            time=_rfc3339(self._wall_s()),
            clock="synced" if self._synced() else "unsynced",
        )

    def label(self, then_s: float) -> str:
        """A monotonic time of this run as RFC 3339 in UTC, by the wall clock as it is now."""
        return _rfc3339(self._wall_s() - (self._now_s() - then_s))


def _rfc3339(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
