"""Several looks at one item become one posterior."""

from collections.abc import Sequence

import numpy as np

from device.common.arrays import Float64Array

LIKENESS = 0.9
"""How alike the errors of two frames of one still item are: 0 independent, 1 the same.

Measured with a 160 px INT8 network on TrashNet's 328 validation photos, each seen five times with sensor noise and exposure drift: between
two of those frames the log probability of the right label correlates by 0.98 to 0.99. The negative log likelihood of one frame is 0.298;
of five fused it is 0.292 with 1, 0.293 with 0.9, 0.346 with 0.5, 0.884 with 0. Items that still rock a little tell more, hence 0.9.
"""

FLOOR = 1e-9
"""least probability a frame may give a label, so that no single frame rules a label out for good"""


def fuse(posteriors: Sequence[Float64Array], likeness: float = LIKENESS, weights: Sequence[float] | None = None) -> Float64Array:
    """Fuse the posteriors of a burst in log space: one array of probabilities, one a label, summing to 1.

    Frames of an item that lies still differ by noise and light alone, so they are wrong together: multiplying their posteriors as if they
    were independent would turn one doubtful look, repeated five times, into certainty. n frames whose errors correlate by `likeness`
    are worth n / (1 + (n - 1) * likeness) independent ones (the design effect, Kish 1965), at most 1 / likeness however many there are;
    of shares w that sum to 1 it is 1 / (likeness + (1 - likeness) * sum of w squared). The mean of the log posteriors is multiplied by that.
    One frame is left as it is, and so are equal frames with likeness 1.

    posteriors: one or more arrays of probabilities over the same labels, in any order. likeness: 0..1. weights: how much each tells beside the
    others, above 0; all alike where none are given.
    """
    logs = np.log(np.maximum(np.stack(posteriors), FLOOR))
    shares = np.ones(len(logs)) if weights is None else np.asarray(weights, np.float64)
    shares = shares / shares.sum()
    independent = 1 / (likeness + (1 - likeness) * np.square(shares).sum())
    powers = independent * (shares @ logs)
    odds: Float64Array = np.exp(powers - powers.max())
    return np.divide(odds, odds.sum())
