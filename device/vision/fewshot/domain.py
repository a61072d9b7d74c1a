"""Tell items at the taught site from items that look like the bundle's training photos.

A can in this chamber and a can on white card are both metal to the bundle, but only the first one has a name that was taught here. One direction in
embedding space tells them apart: the mean difference of all taught photos, of all labels, from the training photos of what the bundle takes them
for, seen through the covariance of the training photos (linear discriminant analysis; Fisher 1936). All labels estimate it together, so few photos
of each label are enough.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float64Array
from device.vision.inference.covariance import LowRankCovariance

Ints = npt.NDArray[np.integer[Any]]

RIDGE = 3.0
"""ridge on the variance of each feature of the training photos, in units of their mean variance: few photos estimate a direction poorly"""
EVEN_ODDS_DISTANCE = 5.0
"""distance from the training photos, in their standard deviations along the direction, at which both domains are equally likely. Of validation
photos 97 % were nearer than 3.2 to 4.1; items at the site had means of 7 to 12 (docs/research/teaching.md)"""


@dataclass(frozen=True, eq=False)
class DomainDirection:
    """The direction that tells the site from the training photos.

    weights: one for each feature, float64, scaled so that training photos of one label have standard deviation 1 along it. middles: the mean of each
    of the bundle's labels along it.
    """

    weights: Float64Array
    middles: Float64Array

    def in_domain(self, embeddings: Float64Array, probabilities: Float64Array) -> Float64Array:
        """The probability, 0..1, that each item lies at the site. embeddings: rows x features; probabilities: rows x labels of the bundle."""
        return _in_domain(embeddings @ self.weights - probabilities @ self.middles)


class FittedDomain(NamedTuple):
    """A direction, and for each row the probability to lie at the site by a direction that was fitted without the row's photo."""

    direction: DomainDirection
    out_of_fold: Float64Array


def fit_domain(
    training: LowRankCovariance, means: Float64Array, embeddings: Float64Array, probabilities: Float64Array, targets: Ints, photos: Ints
) -> FittedDomain:
    """Fit the direction to all taught photos; each label weighs the same.

    training: covariance of training photos within labels. means: labels of the bundle x features, of training photos. embeddings: taught rows x
    features, float64. probabilities: rows x labels of the bundle. targets, photos: the label and the photo of each row.
    """
    differs = embeddings - probabilities @ means
    photo_of, of_photos, shares = _photo_means(differs, targets, photos)
    ridge = np.full(differs.shape[1], RIDGE * training.trace / differs.shape[1])
    directions = training.solve(of_photos, ridge)
    whole = shares @ directions
    weights = _unit_variance(training, whole[np.newaxis])[0]
    apart = _unit_variance(training, whole - shares[:, np.newaxis] * directions)
    return FittedDomain(DomainDirection(weights, means @ weights), _in_domain((differs * apart[photo_of]).sum(axis=1)))


def domain_shift(means: Float64Array, embeddings: Float64Array, probabilities: Float64Array, targets: Ints, photos: Ints) -> Float64Array:
    """How much embeddings differ at the site, one number for each feature. Arguments as for `fit_domain`.

    The mean is over the taught labels and one more that does not differ. A label's own peculiarity is no part of the site: where only one label was
    taught, half of its difference is taken as its own.
    """
    _, of_photos, shares = _photo_means(embeddings - probabilities @ means, targets, photos)
    labels = len(np.unique(targets))
    return np.asarray(labels / (labels + 1) * (shares @ of_photos), np.float64)


def _photo_means(differs: Float64Array, targets: Ints, photos: Ints) -> tuple[Ints, Float64Array, Float64Array]:
    """The photo of each row; each photo's mean difference; each photo's weight, so that all labels weigh the same."""
    numbers, first, photo_of = np.unique(photos, return_index=True, return_inverse=True)
    _, of_label, counts = np.unique(targets[first], return_inverse=True, return_counts=True)
    of_photos = np.zeros((len(numbers), differs.shape[1]))
    np.add.at(of_photos, photo_of, differs)
    return photo_of, of_photos / np.bincount(photo_of)[:, np.newaxis], 1 / (counts[of_label] * len(counts))


def _unit_variance(training: LowRankCovariance, directions: Float64Array) -> Float64Array:
    """Scale directions so that training photos have variance 1 along them; a zero direction stays zero."""
    widths = np.sqrt(training.variance_along(directions))[:, np.newaxis]
    return np.divide(directions, widths, out=np.zeros_like(directions), where=widths > 0)


def _in_domain(distance: Float64Array) -> Float64Array:
    """Logistic function of the distance from training photos, in standard deviations."""
    return np.asarray(1 / (1 + np.exp(np.clip(EVEN_ODDS_DISTANCE - distance, -30, 30))), np.float64)
