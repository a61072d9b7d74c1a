"""Measures of predictions, label by label. Pure NumPy.

Everywhere in this package: probabilities are photos x labels, float64, each row sums to 1; targets are the indices of the true labels.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from converter.common.accuracy import Ints
from converter.common.proportion import Proportion, proportion
from device.common.arrays import Float64Array


class LabelMeasures(msgspec.Struct, frozen=True):
    """The measures of one label; None where there are no photos to measure.

    n: photos of the label. precision: of the photos predicted as it. recall: of its photos. entropy_bits: mean over its photos.
    """

    label: str
    n: int
    precision: Proportion | None
    recall: Proportion | None
    f1: float | None
    entropy_bits: float | None


class ConfusedPair(msgspec.Struct, frozen=True):
    """Two confused labels: how often the first was predicted as the second, and the second as the first."""

    first: str
    second: str
    first_as_second: int
    second_as_first: int

    @property
    def total(self) -> int:
        return self.first_as_second + self.second_as_first


def share_if_any(right: int, n: int) -> Proportion | None:
    """The share, or None of nothing."""
    return proportion(right, n) if n else None


def top_k(probabilities: Float64Array, targets: Ints, k: int) -> Proportion:
    """How often the true label is among the k most likely ones. Equally likely labels rank in their order."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return proportion(int((order == targets[:, np.newaxis]).any(axis=1).sum()), len(targets))


def entropy_bits(probabilities: Float64Array) -> Float64Array:
    """The entropy of each row: 0 when one label is certain, log2 of the number of labels when all are equally likely."""
    logs = np.log2(np.where(probabilities > 0, probabilities, 1.0))
    return np.asarray(np.abs((probabilities * logs).sum(axis=1)))


def per_label(probabilities: Float64Array, targets: Ints, labels: Sequence[str]) -> list[LabelMeasures]:
    """Precision, recall, F1 and entropy of each label, in order."""
    named = probabilities.argmax(axis=1)
    entropy = entropy_bits(probabilities)
    measured = []
    for index, label in enumerate(labels):
        own, called = targets == index, named == index
        right, n, calls = int((own & called).sum()), int(own.sum()), int(called.sum())
        f1 = 2 * right / (n + calls) if n else None
        spread = float(entropy[own].mean()) if n else None
        measured.append(LabelMeasures(label, n, share_if_any(right, calls), share_if_any(right, n), f1, spread))
    return measured


def mean_of_labels(values: Sequence[float | None]) -> float:
    """The mean over the labels that have photos, each with the same weight."""
    measured = [value for value in values if value is not None]
    return sum(measured) / len(measured)


def confused_pairs(confusion: Ints, labels: Sequence[str]) -> list[ConfusedPair]:
    """Each pair of labels that was confused at least once, the most frequent first. confusion: true label x predicted label."""
    pairs = [
        ConfusedPair(labels[i], labels[j], int(confusion[i, j]), int(confusion[j, i])) for i in range(len(labels)) for j in range(i + 1, len(labels))
    ]
    return sorted((pair for pair in pairs if pair.total), key=lambda pair: -pair.total)
