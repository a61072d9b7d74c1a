"""From noisy percentages to a level and to `full`: a median over the newest, and a band in which nothing changes."""

import statistics
from collections import deque


class LevelFilter:
    """The level of one sensor.

    full_percent: from here on full. empty_percent: below it no longer full. smoothed: number of readings that the median is taken of, so that neither
    an item on its way down nor a stray echo counts. full: as it was before the first reading.
    """

    def __init__(self, full_percent: float, empty_percent: float, smoothed: int, *, full: bool) -> None:
        self._full_percent, self._empty_percent = full_percent, empty_percent
        self._newest: deque[float] = deque(maxlen=smoothed)
        self._full = full

    def add(self, percent: float) -> None:
        """Add a reading, 0 to 100."""
        self._newest.append(percent)
        if len(self._newest) == self._newest.maxlen:
            level = statistics.median(self._newest)
            self._full = level >= self._full_percent or (self._full and level >= self._empty_percent)

    @property
    def percent(self) -> float | None:
        """The median of the newest readings; None before the first."""
        return statistics.median(self._newest) if self._newest else None

    @property
    def full(self) -> bool | None:
        """Whether the bin is full; None until there are enough readings to say."""
        return self._full if len(self._newest) == self._newest.maxlen else None

    def restart(self, *, full: bool | None = None) -> None:
        """Forget all readings. full: whether the bin is full now; None: as before."""
        self._newest.clear()
        self._full = self._full if full is None else full
