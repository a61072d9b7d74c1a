"""What a network makes of labelled photos, and how sure one can be of it."""

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
    """Logits for labelled photos. logits: photos x labels, float64, before any temperature; targets: the index of each photo's label."""

    logits: Float64Array
    targets: Ints

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        right: npt.NDArray[np.bool_] = self.logits.argmax(axis=1) == self.targets
        return right

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    def proportion_right(self) -> Proportion:
        """The accuracy with its interval."""
        return proportion(int(self.right.sum()), len(self.targets))

    def joined(self, others: "Predictions") -> "Predictions":
        """These and others together."""
        return Predictions(np.concatenate([self.logits, others.logits]), np.concatenate([self.targets, others.targets]))

    def nll(self, temperature: float = 1.0) -> float:
        """Mean negative log likelihood of the true labels, in nats."""
        scaled = self.logits / temperature
        log_p = scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)
        return float(-log_p[np.arange(len(self.targets)), self.targets].mean())

    def recall(self) -> list[float | None]:
        """Share of each label's photos that were given it, or None where there is no photo of it."""
        right, of_label = self.right, [self.targets == i for i in range(self.logits.shape[1])]
        return [float(right[own].mean()) if own.any() else None for own in of_label]

    def confusion(self) -> Ints:
        """Photos by true label (rows) and named label (columns)."""
        size = self.logits.shape[1]
        return np.bincount(self.targets * size + self.logits.argmax(axis=1), minlength=size * size).reshape(size, size)

    def measured(self, labels: Sequence[str], temperature: float, runtime: str) -> MeasuredAccuracy:
        """The same in the form of `bundle.json`; nll is that of the calibrated probabilities."""
        recall = dict(zip(labels, self.recall(), strict=True))
        return MeasuredAccuracy(self.accuracy, len(self.targets), round(self.nll(temperature), 6), recall, runtime)


def agreement(one: Predictions, other: Predictions) -> float:
    """Share of photos on which both name the same label."""
    return float((one.logits.argmax(axis=1) == other.logits.argmax(axis=1)).mean())


def mcnemar_p(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """How likely two that are equally good differ at least so much on the same photos by chance: McNemar's exact test, two-sided.

    one, other: for each photo whether it was named right.
    """
    fewer, more = sorted((int((one & ~other).sum()), int((other & ~one).sum())))
    n = fewer + more
    return float(min(1.0, 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n))


def kl_divergence(wanted: Float64Array, found: Float64Array) -> float:
    """How far the probabilities of `found` logits are from those of `wanted`: mean Kullback-Leibler divergence in nats; rows are photos."""
    wanted_log, found_log = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True) for logits in (wanted, found))
    return float((softmax(wanted, 1.0) * (wanted_log - found_log)).sum(axis=1).mean())
