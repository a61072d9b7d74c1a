"""What lies in the bins of a virtual bin, for their simulated level sensors, and who takes it away."""

import threading
from collections.abc import Iterable

from device.sensors.simulated import VirtualLevel


class BinContents:
    """Fills with each item that falls. Any thread may call any method.

    items: so many fill a bin. collected_after_s: a full bin is emptied so long after it became full, as by somebody who comes round; None: nobody
    comes.
    """

    def __init__(self, bins: Iterable[str], items: int, collected_after_s: float | None = None) -> None:
        self._items, self._collected_after_s = items, collected_after_s
        self._inside = dict.fromkeys(bins, 0)
        self._fell_s: dict[str, float] = {}
        self._full_since_s: dict[str, float] = {}
        self._lock = threading.Lock()
        self.sees_falls = True
        """whether a beam sees the items that fall; tests change it"""

    def add(self, bin_: str, at_s: float) -> None:
        """An item has fallen into a bin. at_s: monotonic time."""
        with self._lock:
            self._inside[bin_] += 1
            if self.sees_falls:
                self._fell_s[bin_] = at_s
            if self._inside[bin_] >= self._items:
                self._full_since_s.setdefault(bin_, at_s)

    def empty(self, bin_: str) -> None:
        """Empty a bin."""
        with self._lock:
            self._empty(bin_)

    def look(self, bin_: str, now_s: float) -> VirtualLevel:
        """What lies in a bin."""
        with self._lock:
            since_s = self._full_since_s.get(bin_)
            if since_s is not None and self._collected_after_s is not None and now_s - since_s >= self._collected_after_s:
                self._empty(bin_)
            return VirtualLevel(min(1.0, self._inside[bin_] / self._items), self._fell_s.get(bin_))

    def _empty(self, bin_: str) -> None:
        self._inside[bin_] = 0
        self._full_since_s.pop(bin_, None)
