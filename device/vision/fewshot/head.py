"""A classifier's head fitted anew on the embeddings of few photos, from the bundle's own head and from what is known of its training photos.

A head gives each label a logit: `trust * before + embedding @ weights.T + bias`, where `before` is the log probability that the label has
before anything is fitted (see `prior`).
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

WHOLE = -1
"""in place of a fold: nothing is left out"""
SHIFT = 3.0
"""by how much a label's logit may change for every picture alike, in nats, as the standard deviation of what is expected of it: few photos of a label
tell little about how often it comes"""

MOST_SPANNING = 480
"""views among which weights are looked for, as sums of what these show; more take longer by the square, and bring no more than chance does"""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Logits of labels. weights: labels x features; bias: one a label; trust: share of the bundle's own judgement, 0..1; all float64."""

    weights: Float64Array
    bias: Float64Array
    trust: float

    def logits(self, embeddings: Float64Array, before: Float64Array) -> Float64Array:
        """... x labels, from embeddings (... x features) and what the bundle thinks of them (... x labels)."""
        return np.asarray(self.trust * before + embeddings @ self.weights.T + self.bias, np.float64)


@dataclass(frozen=True)
class HeadRecipe:
    """One way to fit a head.

    trust: share of the bundle's own judgement that it starts from. loose: by how much weights may change a logit, in nats, as the standard
    deviation of what is expected of them for an embedding as far from the mean as the training photos' are. keep: what it costs to change the
    bundle's judgement of its own training photos, in nats for a mean square change of a logit by 2.
    """

    trust: float
    loose: float
    keep: float


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Photos to fit a head to, several views of each. embeddings: views x features, float64; before: views x labels, log probabilities; targets:
    the label of each view, as an index; weights: of each view, summing to the number of photos, equal shares for each label.
    """

    embeddings: Float64Array
    before: Float64Array
    targets: Ints
    weights: Float64Array

    def followed_by(self, other: "TrainingSet") -> "TrainingSet":
        """These and other ones of the same labels."""
        return TrainingSet(*(np.concatenate(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True)))


class PseudoExamples(NamedTuple):
    """Rows that nobody taught, made up from what was taught. without: the fold of taught views that had no say in each, WHOLE for those that are
    made from all: taught views that are left out must not be known by what was made of them.
    """

    lessons: TrainingSet
    without: Ints


def balanced_weights(targets: Ints, photos: Ints) -> Float64Array:
    """Weights for views so that each label counts the same, each photo of a label the same, and all together as many as there are photos."""
    _, photo_of, views = np.unique(photos, return_inverse=True, return_counts=True)
    labels, label_of = np.unique(targets, return_inverse=True)
    weights = 1.0 / views[photo_of]
    of_label = np.bincount(label_of, weights)
    return np.asarray(weights * of_label.sum() / (len(labels) * of_label[label_of]), np.float64)


def spanning_rows(targets: Ints, most: int) -> Ints:
    """Which views stand for all, as indices in ascending order: at most so many (but one of each label), of each label as many as can be, spread
    evenly. targets: the label of each view.
    """
    of_each = [np.flatnonzero(targets == label) for label in np.unique(targets)]
    share = next((share for share in range(len(targets), 1, -1) if sum(min(share, len(own)) for own in of_each) <= most), 1)
    return np.sort(np.concatenate([own[np.linspace(0, len(own) - 1, min(share, len(own))).round().astype(np.int64)] for own in of_each]))


class HeadFitter:
    """Fits heads to lessons. What does not depend on the photos chosen, it works out once for what holds a recipe back."""

    def __init__(self, reference: EmbeddingStats, lessons: TrainingSet, imagined: PseudoExamples | None = None) -> None:
        self._taught = len(lessons.targets)
        self._without = imagined.without if imagined is not None else np.zeros(0, np.int64)
        self._lessons = lessons = lessons if imagined is None else lessons.followed_by(imagined.lessons)
        means, shares = reference.means.astype(np.float64), reference.counts / reference.counts.sum()
        middle = shares @ means
        spread = reference.covariance()
        between = np.sqrt(shares)[:, np.newaxis] * (means - middle)
        strong, rest = np.concatenate([spread.strong, between]), spread.rest
        self._scale = 1 / np.sqrt(np.square(strong).sum() + rest.sum())
        self._middle = lessons.embeddings[self._chosen(np.ones(self._taught, np.bool_), WHOLE)].mean(axis=0)
        self._features = np.concatenate([self._scale * (lessons.embeddings - self._middle), np.ones((len(lessons.targets), 1))], axis=1)
        moved = np.concatenate([strong, (middle - self._middle)[np.newaxis]]) * self._scale
        ones = np.append(np.zeros(len(strong)), 1.0)
        self._moved, self._rest = np.column_stack([moved, ones]), np.append(self._scale**2 * rest, 0.0)
        self._spaces: dict[tuple[float, float], _Space] = {}

    def head(self, recipe: HeadRecipe) -> LinearHead:
        """The head for all views.

        Multinomial logistic regression that starts from the bundle's log probabilities. Two things hold it back: the length of the weights (a
        ridge), and the mean square by which it changes logits of the training photos, which their means and covariance give in closed form:
        learning without forgetting (Li and Hoiem 2016) without the photos.
        """
        space = self._space(recipe)
        whole = space.whole(self._found(recipe, self._chosen(np.ones(self._taught, np.bool_), WHOLE)))
        weights = self._scale * whole[:, :-1]
        return LinearHead(weights, whole[:, -1] - weights @ self._middle, recipe.trust)

    def out_of_fold_logits(self, recipe: HeadRecipe, folds: Ints) -> Float64Array:
        """Logits of every taught view, views x labels, by a head that was fitted without the views of its fold."""
        before, coordinates = self._lessons.before[: self._taught], self._space(recipe).coordinates[: self._taught]
        logits = np.zeros_like(before)
        for fold in np.unique(folds):
            out = folds == fold
            logits[out] = recipe.trust * before[out] + coordinates[out] @ self._found(recipe, self._chosen(~out, fold)).T
        return logits

    def _chosen(self, taught: npt.NDArray[np.bool_], without: int) -> npt.NDArray[np.bool_]:
        return np.concatenate([taught, self._without == without])

    def _found(self, recipe: HeadRecipe, chosen: npt.NDArray[np.bool_]) -> Float64Array:
        """The head in the coordinates of its space, labels x coordinates."""
        lessons, space = self._lessons, self._space(recipe)
        weights, coordinates = lessons.weights[chosen], space.coordinates[chosen] / space.stretch
        start, truth = recipe.trust * lessons.before[chosen], np.eye(lessons.before.shape[1])[lessons.targets[chosen]]
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
        held = recipe.loose, recipe.keep
        if held not in self._spaces:
            kept = LowRankCovariance(np.sqrt(recipe.keep) * self._moved, recipe.keep * self._rest)
            few = spanning_rows(self._lessons.targets, MOST_SPANNING)
            self._spaces[held] = _Space(self._features, few, kept, recipe.loose, self._lessons.weights)
        return self._spaces[held]


class _Space:
    """Coordinates of views in which what holds a head back is the plain length of its weights, and in which it is found.

    coordinates: views x coordinates, at most as many as there are views that span it. stretch: one a coordinate; with weights multiplied by it, the
    cost is about as steep in every direction.
    """

    def __init__(self, features: Float64Array, spanning: Ints, kept: LowRankCovariance, loose: float, weights: Float64Array) -> None:
        ridge = np.full(features.shape[1], 1 / loose**2)
        ridge[-1] = 1 / SHIFT**2
        solved = kept.solve(features[spanning], ridge)
        strengths, vectors = np.linalg.eigh(features[spanning] @ solved.T)
        strong = strengths > 1e-7 * strengths[-1]
        self._axes = (vectors[:, strong] / np.sqrt(strengths[strong])).T @ solved
        self.coordinates = features @ self._axes.T
        self.stretch = np.sqrt(0.5 * weights.mean() * np.square(self.coordinates).sum(axis=0) + 1)

    def whole(self, found: Float64Array) -> Float64Array:
        """Weights for features, labels x features, of weights for coordinates."""
        return np.asarray(found @ self._axes, np.float64)
