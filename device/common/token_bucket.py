"""Limits how often something may happen: so many at once, then so many a second."""


class TokenBucket:
    """Holds up to `burst` tokens and gains `per_s` of them a second. Not thread safe."""

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst, self._per_s = burst, per_s
        self._tokens, self._filled_s = burst, float("-inf")

    def take(self, now_s: float) -> bool:
        """Take one token. False where none is left. now_s: monotonic seconds."""
        self._tokens = min(self._burst, self._tokens + self._per_s * max(0.0, now_s - self._filled_s))
        self._filled_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
