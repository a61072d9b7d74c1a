"""Selective prediction: risk against coverage when uncertain photos are rejected, and the threshold for a wanted error."""

import math

import msgspec
import numpy as np

from converter.common.accuracy import Ints
from converter.common.proportion import Proportion, proportion
from device.common.arrays import Float64Array

CERTAINTY = 0.95


class OperatingPoint(msgspec.Struct, frozen=True):
    """Accepting probabilities of at least `threshold`: the share of photos accepted, and the share of those that is wrong."""

    threshold: float
    coverage: Proportion
    risk: Proportion


class RiskCoverage(msgspec.Struct, frozen=True):
    """The risk-coverage curve from the most certain photo to all photos (Geifman and El-Yaniv 2017), one point for each probability that occurs.

    aurc: area under the curve, the mean risk over all coverages. reached: the largest coverage whose risk on these photos is at most
    `wanted_error`. promised: one whose long-term risk is at most that with 95 % confidence. None where there is none.
    """

    n: int
    aurc: float
    wanted_error: float
    reached: OperatingPoint | None
    promised: OperatingPoint | None
    curve: list[OperatingPoint]


def risk_coverage(probabilities: Float64Array, targets: Ints, wanted_error: float) -> RiskCoverage:
    """Order the photos by their top probability. wanted_error: share of the accepted photos that may be wrong, 0..1."""
    confidence = probabilities.max(axis=1)
    wrong = probabilities.argmax(axis=1) != targets
    order = np.argsort(-confidence, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True))  # equal probabilities are accepted together
    errors = np.cumsum(wrong[order])
    n = len(targets)
    curve = [
        OperatingPoint(float(confidence[order[end]]), proportion(int(end) + 1, n), proportion(int(errors[end]), int(end) + 1))
        for end in ends.tolist()
    ]
    passing = [point.coverage.right for point in curve]
    widths = np.diff([0, *passing])
    aurc = float(sum(width * point.risk.share for width, point in zip(widths, curve, strict=True)) / n)
    reached = [point for point in curve if point.risk.share <= wanted_error]
    return RiskCoverage(n, aurc, wanted_error, reached[-1] if reached else None, _promised(curve, wanted_error), curve)


def thin_curve(curve: list[OperatingPoint], most: int = 200) -> list[OperatingPoint]:
    """At most `most` points of a curve, evenly spaced, with the first and the last."""
    if len(curve) <= most:
        return curve
    return [curve[i] for i in np.linspace(0, len(curve) - 1, most).round().astype(int)]


def _promised(curve: list[OperatingPoint], wanted_error: float) -> OperatingPoint | None:
    """Learn then test (Angelopoulos et al. 2021): an exact binomial test of each threshold, from high to low, until one fails.

    Tests in a fixed order need no correction for their number. Samples too small to pass at all are skipped.
    """
    promised = None
    for point in curve:
        if _chance_of_so_few(0, point.risk.n, wanted_error) > 1 - CERTAINTY:
            continue
        if _chance_of_so_few(point.risk.right, point.risk.n, wanted_error) > 1 - CERTAINTY:
            break
        promised = point
    return promised


def _chance_of_so_few(errors: int, n: int, rate: float) -> float:
    """The binomial probability of at most `errors` among `n` at an error rate of `rate`."""
    if rate <= 0 or rate >= 1:
        return float(rate <= 0 or errors >= n)
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(rate) + (n - k) * math.log1p(-rate) for k in range(errors + 1)
    ]
    return min(1.0, math.fsum(math.exp(log) for log in logs))
