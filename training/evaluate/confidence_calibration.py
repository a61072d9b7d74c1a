"""Calibration: is a prediction with probability 0.9 right nine times of ten, before and after a temperature."""

import msgspec
import numpy as np

from converter.bundle.confidence import fit_temperature
from converter.common.accuracy import Ints, Predictions
from converter.common.proportion import Proportion, proportion
from device.common.arrays import Float64Array
from device.vision.inference.classifier import softmax

BINS = 15
FOLDS = 5


class ReliabilityBin(msgspec.Struct, frozen=True):
    """Photos whose top probability is above `low` and at most `high`: its mean, and how often the label is right."""

    low: float
    high: float
    confidence: float
    accuracy: Proportion


class Reliability(msgspec.Struct, frozen=True):
    """ece: expected calibration error, 0..1, over BINS equal bins (Guo et al. 2017). nll: mean negative log likelihood in nats.

    Bins without a photo are left out.
    """

    ece: float
    nll: float
    n: int
    bins: list[ReliabilityBin]


class CalibrationReport(msgspec.Struct, frozen=True):
    """Reliability without and with a temperature.

    temperature: the one used, and where it comes from: `bundle`, or `fit_temperature` on these photos. after: with the bundle's, or, so that no
    photo is judged by a temperature it helped to fit, with that of the four fifths of the photos it is not in.
    """

    temperature: float
    source: str
    before: Reliability
    after: Reliability


def reliability(probabilities: Float64Array, targets: Ints) -> Reliability:
    """Compare the top probability with how often it is right."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets
    edges = np.linspace(0, 1, BINS + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, BINS - 1)
    bins = [
        ReliabilityBin(float(edges[i]), float(edges[i + 1]), float(confidence[own].mean()), proportion(int(right[own].sum()), int(own.sum())))
        for i in range(BINS)
        if (own := place == i).any()
    ]
    gaps = [bin_.accuracy.n * abs(bin_.confidence - bin_.accuracy.share) for bin_ in bins]
    of_truth = np.maximum(probabilities[np.arange(len(targets)), targets], np.finfo(np.float64).tiny)
    return Reliability(sum(gaps) / len(targets), float(-np.log(of_truth).mean()), len(targets), bins)


def calibrate(answers: Predictions, own_temperature: float | None) -> CalibrationReport:
    """Measure the reliability before and after. own_temperature: the bundle's; None to fit one on these photos."""
    before = reliability(softmax(answers.logits, 1.0), answers.targets)
    if own_temperature is not None:
        after = reliability(softmax(answers.logits, own_temperature), answers.targets)
        return CalibrationReport(own_temperature, "bundle", before, after)
    after = reliability(cross_fit(answers), answers.targets)
    return CalibrationReport(round(fit_temperature(answers), 3), "fitted", before, after)


def cross_fit(answers: Predictions) -> Float64Array:
    """Probabilities of each photo with the temperature fitted on the other folds. FOLDS folds, or fewer where there are fewer photos."""
    by_label = np.argsort(answers.targets, kind="stable")
    folds = min(FOLDS, len(by_label))
    if folds < 2:
        return softmax(answers.logits, 1.0)
    probabilities = np.empty_like(answers.logits)
    for start in range(folds):
        held_out = by_label[start::folds]
        rest = np.setdiff1d(by_label, held_out)
        temperature = fit_temperature(Predictions(answers.logits[rest], answers.targets[rest]))
        probabilities[held_out] = softmax(answers.logits[held_out], temperature)
    return probabilities
