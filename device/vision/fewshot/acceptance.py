"""What a taught head accepts: set from left-out photos, and held near what was measured at other places while these are few.

The unit of evidence is a sequence: photos of one label that look alike, such as frames of one item. Photos of one sequence say how much one item
varies, not how much later items do, so a sequence is left out as a whole and counts once, however many photos it has.

More sequences never make these bounds stricter, unless some are named wrongly. That is by construction: tolerances start at what holds elsewhere
and can only be raised, by order statistics that do not fall when a value is added; and the rejection threshold counts mistakes against a number that
grows. The temperature is apart: it follows the likelihood.
"""

import math

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float64Array
from device.vision.fewshot.linear_head import Ints

WANTED_RIGHT = 0.95
"""share of the accepted items that must be named right"""
LEAST_REJECTION, MOST_REJECTION = 0.5, 0.95
"""range of `reject_below`"""
PRIOR_SEQUENCES = 60.0
"""sequences that the prior of the rejection threshold is worth"""
PRIOR_MISTAKES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95), (0.07, 0.05, 0.035, 0.025, 0.02, 0.015)
"""probabilities, and the share of later items at least as probable that are expected to be named wrong (docs/research/accepting.md)"""
RAISING_SEQUENCES = 8
"""number of sequences above a tolerance that raise it to the least of them; fewer do so in proportion"""
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.5, 8.0
"""range of the temperature"""
LOG_TEMPERATURE_STD = 0.4
"""prior standard deviation of the logarithm of the temperature around 0"""


def rejection_threshold(best: Float64Array, right: npt.NDArray[np.bool_], sequences: Ints) -> float:
    """The least probability, in hundredths, above which WANTED_RIGHT of later items are expected to be named right.

    best, right: the highest probability of each left-out photo, and whether it names the right label. sequences: the sequence of each photo. None of
    them: by the prior alone. A further sequence that is named right never raises the threshold.
    """
    weights = 1 / np.unique(sequences, return_counts=True)[1][np.unique(sequences, return_inverse=True)[1]]
    for hundredths in range(round(100 * LEAST_REJECTION), round(100 * MOST_REJECTION)):
        accepted = best >= hundredths / 100
        wrong = float(weights[accepted & ~right].sum()) + PRIOR_SEQUENCES * _prior_mistakes(hundredths / 100)
        if wrong <= (1 - WANTED_RIGHT) * (float(weights[accepted].sum()) + PRIOR_SEQUENCES):
            return hundredths / 100
    return MOST_REJECTION


def raised(tolerance: float, found: Float64Array, sequences: Ints) -> float:
    """The tolerance, raised towards left-out photos that lie above it.

    found: a number for each photo. sequences: the sequence of each; it counts with its largest number. The k largest sequences together raise the
    tolerance by the share k / RAISING_SEQUENCES, at most 1, of the way to the least of them: one odd photo raises it little, many raise it wholly. No
    further number lowers it.
    """
    _, of = np.unique(sequences, return_inverse=True)
    largest = np.full(of.max(initial=-1) + 1, -math.inf)
    np.maximum.at(largest, of, found)
    shares = np.minimum(np.arange(1, len(largest) + 1) / RAISING_SEQUENCES, 1.0)
    return tolerance + float(np.max(shares * (np.sort(largest)[::-1] - tolerance), initial=0.0))


def temperature(logits: Float64Array, targets: Ints, weights: Float64Array, sequences: float) -> float:
    """The likeliest temperature: golden-section search over its logarithm (Guo et al. 2017), with a normal prior around 0.

    logits: of left-out rows, rows x labels. targets, weights: of the rows. sequences: how many independent rows they are worth;
    infinite: without the prior.
    """

    def cost(log: float) -> float:
        share = float(weights @ losses(logits / math.exp(log), targets) / weights.sum())
        return share + 0.5 * (log / LOG_TEMPERATURE_STD) ** 2 / sequences

    if not sequences:
        return 1.0
    low, high = math.log(LEAST_TEMPERATURE), math.log(MOST_TEMPERATURE)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(24):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if cost(left) < cost(right):
            high = right
        else:
            low = left
    return round(math.exp((low + high) / 2), 3)


def losses(scaled: Float64Array, targets: Ints) -> Float64Array:
    """Negative log likelihood of each row's label, in nats. scaled: logits over the temperature, rows x labels."""
    return np.asarray(np.logaddexp.reduce(scaled, axis=1) - scaled[np.arange(len(scaled)), targets], np.float64)


def _prior_mistakes(probability: float) -> float:
    return float(np.interp(probability, *PRIOR_MISTAKES))
