"""Level sensors: how full each bin is. One file for each kind, listed in `kinds`; other rooms use `levels`, `kinds` and `settings`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from device.common.errors import SortbinError


class SensorError(SortbinError, OSError):
    """A sensor that cannot be opened, or whose reading means nothing. The message names the sensor and what to try."""


@dataclass(frozen=True, slots=True)
class LevelReading:
    """One reading of one sensor.

    taken_s: monotonic time. percent: 0 empty to 100 full; None where the sensor tells only whether the bin is full. distance_cm: that it comes from,
    if any. full: what a sensor without a percentage says; None where percent decides, and where it cannot say yet. blocked: whether something lies
    before a beam now. passed_s: monotonic time at which something last passed a beam or came to lie before it; None: nothing yet, or no beam.
    """

    taken_s: float
    percent: float | None = None
    distance_cm: float | None = None
    full: bool | None = None
    blocked: bool = False
    passed_s: float | None = None


class LevelSensor(Protocol):
    """An open sensor. The constructor opens it and raises SensorError."""

    def read(self) -> LevelReading:
        """Take a reading, which takes seconds at most unless the hardware hangs. Raises SensorError."""
        ...

    def close(self) -> None:
        """Give the hardware back. Any number of calls; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class ItemCount:
    """What went into a bin since it was emptied.

    since: time of that in RFC 3339, empty when never. labels: number of sorted items of each label. others: number of items of which no label is
    certain.
    """

    since: str = ""
    labels: Mapping[str, int] = field(default_factory=dict)
    others: int = 0

    @property
    def items(self) -> int:
        """All of them."""
        return self.others + sum(self.labels.values())


CountItems = Callable[[], Mapping[str, ItemCount]]
"""The items in each bin, by its name. Returns at once, on any thread; a bin without items may be missing."""
