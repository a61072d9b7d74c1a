"""Fuse the posteriors of several frames or crops of one item into one."""

from collections.abc import Sequence

import numpy as np

from device.common.arrays import Float64Array

FRAME_CORRELATION = 0.9
"""Correlation of the errors of two frames of one still item: 0 independent, 1 the same.

Measured with a 160 px INT8 network on TrashNet's 328 validation photos, five frames of each with sensor noise and exposure drift: between two frames
the log probability of the right label correlates by 0.98 to 0.99. The negative log likelihood of one frame is 0.298; of five fused frames it is 0.292
with 1, 0.293 with 0.9, 0.346 with 0.5, 0.884 with 0. Frames of items that still rock a little differ more, hence 0.9.
"""

FLOOR = 1e-9
"""floor of a frame's probabilities, so that no single frame can rule a label out"""


def fuse(posteriors: Sequence[Float64Array], correlation: float = FRAME_CORRELATION, weights: Sequence[float] | None = None) -> Float64Array:
    """Fuse posteriors in log space. Returns probabilities, one for each label, summing to 1.

    Frames of a still item differ only by noise and light, so their errors go together. Multiplying their posteriors as if they were independent would
    turn one doubtful frame, repeated five times, into certainty. n frames whose errors correlate by `correlation` are worth
    n / (1 + (n - 1) * correlation) independent ones (the design effect, Kish 1965), at most 1 / correlation. With weights w that sum to 1 it is
    1 / (correlation + (1 - correlation) * sum of w squared). The weighted mean of the log posteriors is multiplied by that number. A single frame
    stays as it is, and so do equal frames with correlation 1.

    posteriors: one or more arrays over the same labels, in any order. correlation: 0..1. weights: above 0; equal where none are given.
    """
    logs = np.log(np.maximum(np.stack(posteriors), FLOOR))
    shares = np.ones(len(logs)) if weights is None else np.asarray(weights, np.float64)
    shares = shares / shares.sum()
    independent = 1 / (correlation + (1 - correlation) * np.square(shares).sum())
    powers = independent * (shares @ logs)
    odds: Float64Array = np.exp(powers - powers.max())
    return np.divide(odds, odds.sum())
