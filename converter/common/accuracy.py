"""Predictions of a network for labelled photos, and measures of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from converter.common.proportion import Proportion, proportion
from device.common.arrays import Float64Array
from device.vision.inference.bundle import MeasuredAccuracy
from device.vision.inference.classifier import softmax

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Logits for labelled photos. logits: photos x labels, float64, before any temperature. targets: the index of each photo's true label."""

    logits: Float64Array
    targets: Ints

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether the largest logit is that of the true label, for each photo."""
        right: npt.NDArray[np.bool_] = self.logits.argmax(axis=1) == self.targets
        return right

    @property
    def accuracy(self) -> float:
        """The share of photos that are right, 0..1."""
        return float(self.right.mean())

    def proportion_right(self) -> Proportion:
        """The accuracy with its interval."""
        return proportion(int(self.right.sum()), len(self.targets))

    def joined(self, others: "Predictions") -> "Predictions":
        """These predictions followed by others."""
        return Predictions(np.concatenate([self.logits, others.logits]), np.concatenate([self.targets, others.targets]))

    def nll(self, temperature: float = 1.0) -> float:
        """Mean negative log likelihood of the true labels, in nats."""
        scaled = self.logits / temperature
        log_p = scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)
        return float(-log_p[np.arange(len(self.targets)), self.targets].mean())

    def recall(self) -> list[float | None]:
        """For each label the share of its photos that are right, or None where it has no photo."""
        right, of_label = self.right, [self.targets == i for i in range(self.logits.shape[1])]
        return [float(right[own].mean()) if own.any() else None for own in of_label]

    def confusion(self) -> Ints:
        """Number of photos by true label (rows) and predicted label (columns)."""
        size = self.logits.shape[1]
        return np.bincount(self.targets * size + self.logits.argmax(axis=1), minlength=size * size).reshape(size, size)

    def measured(self, labels: Sequence[str], temperature: float, runtime: str) -> MeasuredAccuracy:
        """The figures of `bundle.json`. nll: of the calibrated probabilities. runtime: what the predictions come from."""
        recall = dict(zip(labels, self.recall(), strict=True))
        return MeasuredAccuracy(self.accuracy, len(self.targets), round(self.nll(temperature), 6), recall, runtime)


def agreement(one: Predictions, other: Predictions) -> float:
    """The share of photos for which both predict the same label."""
    return float((one.logits.argmax(axis=1) == other.logits.argmax(axis=1)).mean())


def mcnemar_p(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """The p-value of McNemar's exact test, two-sided: how likely two equally good classifiers differ at least this much by chance.

    one, other: for each photo whether the classifier was right.
    """
    fewer, more = sorted((int((one & ~other).sum()), int((other & ~one).sum())))
    n = fewer + more
    return float(min(1.0, 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n))


def kl_divergence(wanted: Float64Array, found: Float64Array) -> float:
    """The mean Kullback-Leibler divergence of the probabilities of `found` from those of `wanted`, in nats. Both: logits, photos x labels."""
    wanted_log, found_log = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True) for logits in (wanted, found))
    return float((softmax(wanted, 1.0) * (wanted_log - found_log)).sum(axis=1).mean())
