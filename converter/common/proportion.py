"""A share of photos with its confidence interval."""

import msgspec

from device.common.statistics import wilson_interval


class Proportion(msgspec.Struct, frozen=True):
    """`right` of `n` photos. share: 0..1; low, high: its 95 % interval (Wilson 1927)."""

    share: float
    right: int
    n: int
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.share:.4f} ({self.right} of {self.n}, 95 % interval {self.interval()})"

    def interval(self) -> str:
        """The interval as text: `0.940 to 0.960`."""
        return f"{self.low:.3f} to {self.high:.3f}"

    def with_interval(self) -> str:
        """The share and its interval as text: `0.9512 (0.940 to 0.960)`."""
        return f"{self.share:.4f} ({self.interval()})"


def proportion(right: int, n: int) -> Proportion:
    """`right` of `n`. Without photos the share is 0 and the interval 0 to 1."""
    low, high = wilson_interval(right, n) if n else (0.0, 1.0)
    return Proportion(right / n if n else 0.0, right, n, low, high)
