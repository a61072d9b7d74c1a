"""A share of photos, and how sure one can be of it."""

import msgspec

from device.common.statistics import wilson


class Share(msgspec.Struct, frozen=True):
    """`right` of `n` photos: the share 0..1, and its 95 % interval (Wilson 1927)."""

    share: float
    right: int
    n: int
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.share:.4f} ({self.right} of {self.n}, 95 % interval {self.low:.3f} to {self.high:.3f})"


def share(right: int, n: int) -> Share:
    """Of no photos: 0, and anything is possible."""
    low, high = wilson(right, n) if n else (0.0, 1.0)
    return Share(right / n if n else 0.0, right, n, low, high)
