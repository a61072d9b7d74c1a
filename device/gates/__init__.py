"""What moves: one file a kind of gate, its simulated twin beside it, one interface."""

from enum import Enum
from typing import Protocol

from device.common.errors import SortbinError


class GateError(SortbinError, OSError):
    """A gate that cannot be set up, moved or believed. The message names the gate, its settings key or device file, and what to try."""


class Position(Enum):
    """Where a gate is, as far as it can know: by feedback where there is some, else by its travel time."""

    CLOSED = "closed"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    UNKNOWN = "unknown"


class Gate(Protocol):
    """One flap over one bin. Commands return at once; `update`, called 20 times a second or more, carries the movement out.

    Constructors claim the hardware, leave the gate where it is, and raise GateError. `now_s` is always the monotonic clock.
    """

    @property
    def position(self) -> Position: ...

    @property
    def output(self) -> str:
        """Which output of which device it has, for people; empty for one without hardware."""
        ...

    def open(self, now_s: float) -> None:
        """Start to open. Raises GateError when the hardware refuses."""
        ...

    def close(self, now_s: float) -> None:
        """Start to close. Raises GateError when the hardware refuses."""
        ...

    def update(self, now_s: float) -> None:
        """Carry a movement on: ramp, detach when idle, notice arrival. Raises GateError on a hardware fault or a move past its deadline."""
        ...

    def release(self) -> None:
        """Make the outputs safe (off, detached) and give the hardware back. Any number of calls, from any state; never raises."""
        ...
