"""How far a measured share may be from the true one."""

import math


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """The 95 % interval for a share of `right` among `n` (Wilson 1927): honest also near 0 and 1, where one of +/- is not."""
    z = 1.959964
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
