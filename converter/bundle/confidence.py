"""Confidence calibration: the temperature that makes probabilities match accuracy, and the rejection threshold."""

import math

import numpy as np

from converter.common.accuracy import Predictions
from device.vision.inference.classifier import softmax

WANTED_RIGHT = 0.95
"""share of the accepted validation photos that must be right"""

LEAST_REJECTION, MOST_REJECTION = 0.5, 0.95
"""bounds of the rejection threshold"""

_RANGE = math.log(0.05), math.log(20.0)
_FOLDS = 5


def choose_temperature(answers: Predictions) -> float:
    """The number by which logits are divided before the softmax (Guo et al. 2017), or 1 if that does not help.

    It is fitted by negative log likelihood and rounded to three digits. Five-fold cross-validation decides whether it helps.
    """
    return round(fit_temperature(answers), 3) if _temperature_helps(answers) else 1.0


def choose_reject_below(answers: Predictions, temperature: float) -> float:
    """The smallest threshold, in hundredths, at which at least WANTED_RIGHT of the accepted photos are right.

    At least LEAST_REJECTION, below which other labels together are likelier than the best one; MOST_REJECTION if no threshold is enough.
    """
    best, right = softmax(answers.logits, temperature).max(axis=1), answers.right
    for hundredths in range(round(100 * LEAST_REJECTION), round(100 * MOST_REJECTION)):
        accepted = best >= hundredths / 100
        if accepted.any() and right[accepted].mean() >= WANTED_RIGHT:
            return hundredths / 100
    return MOST_REJECTION


def fit_temperature(answers: Predictions) -> float:
    """The temperature of the highest likelihood on these photos.

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


def _temperature_helps(answers: Predictions) -> bool:
    """Whether the temperature of the other folds reduces the negative log likelihood of each fold, on average."""
    by_label = np.argsort(answers.targets, kind="stable")
    folds = [by_label[start::_FOLDS] for start in range(_FOLDS)]
    if min(map(len, folds)) == 0:
        return False
    gained = 0.0
    for held_out in folds:
        rest = np.setdiff1d(by_label, held_out)
        judged = Predictions(answers.logits[held_out], answers.targets[held_out])
        of_rest = fit_temperature(Predictions(answers.logits[rest], answers.targets[rest]))
        gained += (judged.nll() - judged.nll(of_rest)) * len(held_out)
    return gained > 0
