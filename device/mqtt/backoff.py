"""How long to wait before the next attempt, so that a fleet does not storm a broker that comes back."""

import random
from collections.abc import Callable


class Backoff:
    """Doubles the wait from attempt to attempt up to a limit, with jitter: each wait is drawn from the upper half of its range.

    A connection that was held for `stable_s` seconds starts the count anew; one that broke sooner does not.
    """

    def __init__(
        self, first_s: float = 1.0, most_s: float = 60.0, stable_s: float = 10.0, draw: Callable[[float, float], float] | None = None
    ) -> None:
        self._first_s, self._most_s, self._stable_s = first_s, most_s, stable_s
        self._draw = random.Random().uniform if draw is None else draw
        self._failures = 0

    def next_s(self, held_s: float) -> float:
        """Seconds to wait after a connection that was held for `held_s` seconds; 0 for one that never came about."""
        if held_s >= self._stable_s:
            self._failures = 0
        most_s = min(self._most_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return self._draw(most_s / 2, most_s)
