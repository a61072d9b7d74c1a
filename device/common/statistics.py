"""Confidence intervals of measured shares."""

import math


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson interval (1927) for a share of `right` among `n`, as (low, high): valid near 0 and 1 too."""
    z = 1.959964
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
