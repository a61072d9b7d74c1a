"""How far to believe a network: the temperature that makes its probabilities honest, and when to rather not sort."""

import math

import numpy as np

from converter.common.accuracy import Predictions
from device.vision.inference.classifier import softmax

WANTED_RIGHT = 0.95
"""share of the accepted validation photos that shall be right"""

LEAST_REJECTION, MOST_REJECTION = 0.5, 0.95

_RANGE = math.log(0.05), math.log(20.0)
_FOLDS = 5


def choose_temperature(answers: Predictions) -> float:
    """The number to divide logits by before the softmax (Guo et al. 2017), or 1 where that does not help photos it was not fitted to.

    Fitted by negative log likelihood, judged by five-fold cross-validation. Rounded to three digits after the point.
    """
    return round(fit_temperature(answers), 3) if _helps(answers) else 1.0


def choose_reject_below(answers: Predictions, temperature: float) -> float:
    """The least probability, in hundredths, from which on at least WANTED_RIGHT of the photos are named right.

    Between LEAST_REJECTION (below it something else is likelier than the best label) and MOST_REJECTION (where no threshold will do).
    """
    best, right = softmax(answers.logits, temperature).max(axis=1), answers.right
    for hundredths in range(round(100 * LEAST_REJECTION), round(100 * MOST_REJECTION)):
        accepted = best >= hundredths / 100
        if accepted.any() and right[accepted].mean() >= WANTED_RIGHT:
            return hundredths / 100
    return MOST_REJECTION


def fit_temperature(answers: Predictions) -> float:
    """The temperature of the highest likelihood, whether or not it helps other photos.

    Golden-section search over its logarithm; the likelihood has one maximum.
    """
    low, high = _RANGE
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if answers.nll(math.exp(left)) < answers.nll(math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def _helps(answers: Predictions) -> bool:
    by_label = np.argsort(answers.targets, kind="stable")
    folds = [by_label[start::_FOLDS] for start in range(_FOLDS)]
    if min(map(len, folds)) == 0:
        return False
    gained = 0.0
    for held_out in folds:
        rest = np.setdiff1d(by_label, held_out)
        seen = Predictions(answers.logits[held_out], answers.targets[held_out])
        of_rest = fit_temperature(Predictions(answers.logits[rest], answers.targets[rest]))
        gained += (seen.nll() - seen.nll(of_rest)) * len(held_out)
    return gained > 0
