"""Gates: what opens the bins. One file for each kind, listed in `kinds`; other rooms use `gates.Gates`, `kinds` and `release`."""

from enum import Enum
from typing import Protocol

from device.common.errors import SortbinError


class GateError(SortbinError, OSError):
    """A gate that cannot be claimed or moved, or that reports a fault. The message names the gate, its key or device file, and what to try."""


class Position(Enum):
    """Where a gate is: by feedback where there is some, else by its travel time."""

    CLOSED = "closed"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    UNKNOWN = "unknown"


class Gate(Protocol):
    """One actuator: a flap over one bin, or a tilting flap or turntable that serves several bins, one at a time.

    Constructors claim the hardware, leave the gate where it is, and raise GateError. `open`, `close` and `update` return at once; `update`
    continues the movement and is called 20 times a second or more. `now_s` is always the monotonic clock.
    """

    @property
    def bins(self) -> tuple[str, ...]:
        """Names of the bins that it opens."""
        ...

    @property
    def position(self) -> Position: ...

    @property
    def output(self) -> str:
        """The output and device that it drives, for messages; empty without hardware."""
        ...

    def open(self, bin_: str, now_s: float) -> None:
        """Start to open over one of its bins, from the closed position or back to the same bin. Raises GateError when the hardware refuses."""
        ...

    def close(self, now_s: float) -> None:
        """Start to close. Raises GateError when the hardware refuses."""
        ...

    def update(self, now_s: float) -> None:
        """Continue a movement: ramp, detach when idle, detect arrival. Raises GateError on a hardware fault or a move past its deadline."""
        ...

    def release(self) -> None:
        """Make the outputs safe (off, detached) and release the hardware. Any number of calls, from any state; never raises."""
        ...
