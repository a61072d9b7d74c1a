"""Fit a linear head to the embeddings of few photos, starting from the bundle's own head.

The logit of a label is `prior_weight * before + embedding @ weights.T + bias`. `before` is the label's log probability before fitting (see `prior`).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float64Array
from device.vision.fewshot.lbfgs import minimize
from device.vision.inference.covariance import LowRankCovariance
from device.vision.inference.embedding_stats import EmbeddingStats

Ints = npt.NDArray[np.int64]

NO_FOLD = -1
"""in place of a fold number: no fold is left out"""
BIAS_STD_NATS = 3.0
"""prior standard deviation of a label's bias, in nats: few photos say little about how often a label comes"""

MOST_SPANNING = 480
"""most rows whose span holds the weights; the time grows with the square, and more rows bring no measurable gain"""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A fitted linear head. weights: labels x features, float64. bias: one for each label, float64. prior_weight: weight of the bundle's log
    probabilities, 0..1.
    """

    weights: Float64Array
    bias: Float64Array
    prior_weight: float

    def logits(self, embeddings: Float64Array, before: Float64Array) -> Float64Array:
        """Logits, ... x labels. embeddings: ... x features. before: the bundle's log probabilities, ... x labels."""
        return np.asarray(self.prior_weight * before + embeddings @ self.weights.T + self.bias, np.float64)


@dataclass(frozen=True)
class HeadRecipe:
    """Hyperparameters of one fit.

    prior_weight: weight of the bundle's log probabilities, 0..1.
    weight_std_nats: prior standard deviation of the change of a logit, in nats, for an embedding as far from the mean as the training photos are.
    keep_penalty: penalty for changing the bundle's logits of its own training photos, in nats for a mean square change of 2.
    """

    prior_weight: float
    weight_std_nats: float
    keep_penalty: float


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Rows to fit a head to, several for each photo.

    embeddings: rows x features, float64. before: log probabilities, rows x labels. targets: index of each row's label. weights: of each row; they sum
    to the number of photos, and all labels weigh the same.
    """

    embeddings: Float64Array
    before: Float64Array
    targets: Ints
    weights: Float64Array

    def followed_by(self, other: "TrainingSet") -> "TrainingSet":
        """These rows and `other`, which has the same labels."""
        return TrainingSet(*(np.concatenate(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True)))


class PseudoExamples(NamedTuple):
    """Made-up rows for labels that were not taught.

    without: for each row the fold of taught rows that it was made without, WHOLE where it was made from all. In cross-validation only rows made
    without the left-out fold may be used.
    """

    training_set: TrainingSet
    without: Ints


def balanced_weights(targets: Ints, photos: Ints) -> Float64Array:
    """A weight for each row: labels weigh the same, photos within a label weigh the same, and all weights sum to the number of photos."""
    _, photo_of, rows = np.unique(photos, return_inverse=True, return_counts=True)
    labels, label_of = np.unique(targets, return_inverse=True)
    weights = 1.0 / rows[photo_of]
    of_label = np.bincount(label_of, weights)
    return np.asarray(weights * of_label.sum() / (len(labels) * of_label[label_of]), np.float64)


def spanning_rows(targets: Ints, most: int) -> Ints:
    """Choose at most `most` rows, the same number of each label where it has so many, evenly spread; at least one of each label.

    targets: the label of each row. Returns indices in ascending order.
    """
    of_each = [np.flatnonzero(targets == label) for label in np.unique(targets)]
    share = next((share for share in range(len(targets), 1, -1) if sum(min(share, len(own)) for own in of_each) <= most), 1)
    return np.sort(np.concatenate([own[np.linspace(0, len(own) - 1, min(share, len(own))).round().astype(np.int64)] for own in of_each]))


class HeadFitter:
    """Fits heads to a training set. What depends only on `weight_std_nats` and `keep_penalty` is computed once for each pair."""

    def __init__(self, stats: EmbeddingStats, training_set: TrainingSet, pseudo_examples: PseudoExamples | None = None) -> None:
        self._taught = len(training_set.targets)
        self._without = pseudo_examples.without if pseudo_examples is not None else np.zeros(0, np.int64)
        self._all = rows = training_set if pseudo_examples is None else training_set.followed_by(pseudo_examples.training_set)
        means, shares = stats.means.astype(np.float64), stats.counts / stats.counts.sum()
        middle = shares @ means
        covariance = stats.covariance()
        between = np.sqrt(shares)[:, np.newaxis] * (means - middle)
        strong, rest = np.concatenate([covariance.strong, between]), covariance.rest
        self._scale = 1 / np.sqrt(np.square(strong).sum() + rest.sum())
        self._middle = rows.embeddings[self._chosen(np.ones(self._taught, np.bool_), NO_FOLD)].mean(axis=0)
        self._features = np.concatenate([self._scale * (rows.embeddings - self._middle), np.ones((len(rows.targets), 1))], axis=1)
        moved = np.concatenate([strong, (middle - self._middle)[np.newaxis]]) * self._scale
        ones = np.append(np.zeros(len(strong)), 1.0)
        self._moved, self._rest = np.column_stack([moved, ones]), np.append(self._scale**2 * rest, 0.0)
        self._spaces: dict[tuple[float, float], _Space] = {}

    def fit(self, recipe: HeadRecipe) -> LinearHead:
        """The head fitted to all rows.

        It is multinomial logistic regression that starts from the bundle's log probabilities, with two penalties: a ridge on the weights, and the
        mean square change of the logits of the training photos. The means and the covariance of the embeddings give the second in closed form: it
        is learning without forgetting (Li and Hoiem 2016) without the photos.
        """
        space = self._space(recipe)
        of_features = space.to_features(self._fit_coordinates(recipe, self._chosen(np.ones(self._taught, np.bool_), NO_FOLD)))
        weights = self._scale * of_features[:, :-1]
        return LinearHead(weights, of_features[:, -1] - weights @ self._middle, recipe.prior_weight)

    def out_of_fold_logits(self, recipe: HeadRecipe, folds: Ints) -> Float64Array:
        """Logits of every taught row, rows x labels, by a head that was fitted without the rows of its fold."""
        before, coordinates = self._all.before[: self._taught], self._space(recipe).coordinates[: self._taught]
        logits = np.zeros_like(before)
        for fold in np.unique(folds):
            out = folds == fold
            logits[out] = recipe.prior_weight * before[out] + coordinates[out] @ self._fit_coordinates(recipe, self._chosen(~out, fold)).T
        return logits

    def _chosen(self, taught: npt.NDArray[np.bool_], without: int) -> npt.NDArray[np.bool_]:
        return np.concatenate([taught, self._without == without])

    def _fit_coordinates(self, recipe: HeadRecipe, chosen: npt.NDArray[np.bool_]) -> Float64Array:
        """The fitted weights in the coordinates of the recipe's space, labels x coordinates. chosen: bool for each row."""
        rows, space = self._all, self._space(recipe)
        weights, coordinates = rows.weights[chosen], space.coordinates[chosen] / space.stretch
        start, truth = recipe.prior_weight * rows.before[chosen], np.eye(rows.before.shape[1])[rows.targets[chosen]]
        ridge = 1 / space.stretch**2

        def cost(flat: Float64Array) -> tuple[float, Float64Array]:
            found = flat.reshape(truth.shape[1], -1)
            logits = start + coordinates @ found.T
            logits -= logits.max(axis=1, keepdims=True)
            powers = np.exp(logits)
            totals = powers.sum(axis=1)
            loss = float(weights @ (np.log(totals) - (logits * truth).sum(axis=1))) + 0.5 * float((found**2 * ridge).sum())
            wrong = (powers / totals[:, np.newaxis] - truth) * weights[:, np.newaxis]
            return loss, np.asarray(wrong.T @ coordinates + found * ridge, np.float64).ravel()

        found = minimize(cost, np.zeros(truth.shape[1] * len(ridge)))
        return np.divide(found.reshape(truth.shape[1], -1), space.stretch)

    def _space(self, recipe: HeadRecipe) -> "_Space":
        held = recipe.weight_std_nats, recipe.keep_penalty
        if held not in self._spaces:
            kept = LowRankCovariance(np.sqrt(recipe.keep_penalty) * self._moved, recipe.keep_penalty * self._rest)
            few = spanning_rows(self._all.targets, MOST_SPANNING)
            self._spaces[held] = _Space(self._features, few, kept, recipe.weight_std_nats, self._all.weights)
        return self._spaces[held]


class _Space:
    """Coordinates in which both penalties together are the plain squared length of the weights.

    coordinates: rows x coordinates, at most as many as there are spanning rows. stretch: one for each coordinate; it scales the weights so that the
    cost is about equally steep in all directions.
    """

    def __init__(self, features: Float64Array, spanning: Ints, kept: LowRankCovariance, weight_std_nats: float, weights: Float64Array) -> None:
        ridge = np.full(features.shape[1], 1 / weight_std_nats**2)
        ridge[-1] = 1 / BIAS_STD_NATS**2
        solved = kept.solve(features[spanning], ridge)
        strengths, vectors = np.linalg.eigh(features[spanning] @ solved.T)
        strong = strengths > 1e-7 * strengths[-1]
        self._axes = (vectors[:, strong] / np.sqrt(strengths[strong])).T @ solved
        self.coordinates = features @ self._axes.T
        self.stretch = np.sqrt(0.5 * weights.mean() * np.square(self.coordinates).sum(axis=0) + 1)

    def to_features(self, found: Float64Array) -> Float64Array:
        """Weights of features, labels x features, from weights of coordinates, labels x coordinates."""
        return np.asarray(found @ self._axes, np.float64)
