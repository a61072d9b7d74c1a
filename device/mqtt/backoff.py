"""Exponential back-off with jitter between connections, so that many bins do not connect at once when a broker comes back."""

import random
from collections.abc import Callable


class Backoff:
    """The wait before each attempt. Its limit doubles from attempt to attempt; the wait is drawn from the upper half of the limit.

    A connection that lasted `stable_s` seconds resets the limit to `first_s`.
    """

    def __init__(
        self, first_s: float = 1.0, most_s: float = 60.0, stable_s: float = 10.0, draw: Callable[[float, float], float] | None = None
    ) -> None:
        self._first_s, self._most_s, self._stable_s = first_s, most_s, stable_s
        self._draw = random.Random().uniform if draw is None else draw
        self._failures = 0

    def next_s(self, held_s: float) -> float:
        """Seconds to wait now. held_s: how long the last connection lasted; 0 where none came about."""
        if held_s >= self._stable_s:
            self._failures = 0
        most_s = min(self._most_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return self._draw(most_s / 2, most_s)
