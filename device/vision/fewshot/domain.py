"""Whether an item lies where a bin was taught, or looks as the photos did that its network was trained on.

A can in this chamber and a can on white card are metal to the bundle alike, and yet one is to be called by the name that it was taught here. What
tells them apart is the one direction in which everything here differs from training photos: the mean difference of all taught photos, of whatever
label, from training photos of what the bundle takes them for, seen through the covariance of those (linear discriminant analysis; Fisher 1936).
All labels tell it together, so that few photos of each do.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float64Array
from device.vision.inference.covariance import LowRankCovariance

Ints = npt.NDArray[np.integer[Any]]

SMOOTH = 3.0
"""what is added to the variance of each feature of the training photos, in units of their mean: few photos tell a direction only so well"""
FAR = 5.0
"""how far from the training photos, in their standard deviations in that direction, an item is as likely to lie here as not. Of validation photos
97 % were nearer than 3.2 to 4.1, items at the place on the mean at 7 to 12 (docs/research/teaching.md)"""


@dataclass(frozen=True, eq=False)
class DomainDirection:
    """A direction. weights: one a feature, float64, scaled so that training photos of one label vary by 1 in it; middles: where those of each label
    of the bundle lie in it on the mean.
    """

    weights: Float64Array
    middles: Float64Array

    def here(self, embeddings: Float64Array, probabilities: Float64Array) -> Float64Array:
        """How likely each item lies here, 0..1. embeddings: views x features; probabilities: views x labels, what the bundle takes it for."""
        return _here(embeddings @ self.weights - probabilities @ self.middles)


class FittedDomain(NamedTuple):
    """A place, and how likely each view lies there, by what its own photo had no say in."""

    place: DomainDirection
    unseen: Float64Array


def fit_domain(
    training: LowRankCovariance, means: Float64Array, embeddings: Float64Array, probabilities: Float64Array, targets: Ints, photos: Ints
) -> FittedDomain:
    """Learn a place from all that was taught there, each label counting the same.

    training: how embeddings of training photos of one label vary. means: labels of the bundle x features, where they lie. embeddings: taught views x
    features, float64; probabilities: views x labels of the bundle; targets, photos: which label each view was taught as, and which photo it is of.
    """
    differs = embeddings - probabilities @ means
    photo_of, of_photos, shares = _photos(differs, targets, photos)
    ridge = np.full(differs.shape[1], SMOOTH * training.trace / differs.shape[1])
    directions = training.solve(of_photos, ridge)
    whole = shares @ directions
    weights = _unit(training, whole[np.newaxis])[0]
    apart = _unit(training, whole - shares[:, np.newaxis] * directions)
    return FittedDomain(DomainDirection(weights, means @ weights), _here((differs * apart[photo_of]).sum(axis=1)))


def domain_shift(means: Float64Array, embeddings: Float64Array, probabilities: Float64Array, targets: Ints, photos: Ints) -> Float64Array:
    """By how much embeddings differ at a place, one a feature. See `fit_domain`.

    It is the mean of the taught labels and of one more that does not differ: what a label has of its own is no part of the place, and where one alone
    was taught, half of what it differs by is supposed to be its own.
    """
    _, of_photos, shares = _photos(embeddings - probabilities @ means, targets, photos)
    labels = len(np.unique(targets))
    return np.asarray(labels / (labels + 1) * (shares @ of_photos), np.float64)


def _photos(differs: Float64Array, targets: Ints, photos: Ints) -> tuple[Ints, Float64Array, Float64Array]:
    """The photo of each view; how each photo differs, on the mean of its views; and how much it counts, so that each label does the same."""
    numbers, first, photo_of = np.unique(photos, return_index=True, return_inverse=True)
    _, of_label, counts = np.unique(targets[first], return_inverse=True, return_counts=True)
    of_photos = np.zeros((len(numbers), differs.shape[1]))
    np.add.at(of_photos, photo_of, differs)
    return photo_of, of_photos / np.bincount(photo_of)[:, np.newaxis], 1 / (counts[of_label] * len(counts))


def _unit(training: LowRankCovariance, directions: Float64Array) -> Float64Array:
    """Directions in which training photos vary by 1, or 0 for what is none."""
    widths = np.sqrt(training.variance_along(directions))[:, np.newaxis]
    return np.divide(directions, widths, out=np.zeros_like(directions), where=widths > 0)


def _here(ahead: Float64Array) -> Float64Array:
    """ahead: how far from training photos, in standard deviations."""
    return np.asarray(1 / (1 + np.exp(np.clip(FAR - ahead, -30, 30))), np.float64)
