"""Fit a few-shot head: choose its recipe by cross-validation, calibrate it, and learn what counts as unknown."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float64Array
from device.vision.fewshot.examples import Examples, photo_counts
from device.vision.fewshot.fewshot_head import FewshotHead, kept_columns, labels_after_teaching
from device.vision.fewshot.linear_head import HeadFitter, HeadRecipe, Ints, TrainingSet, balanced_weights
from device.vision.fewshot.near_duplicates import group_near_duplicates
from device.vision.fewshot.prior import FoldedExamples, excluded_evidence, fit_prior
from device.vision.inference.bundle import Bundle
from device.vision.inference.classifier import softmax
from device.vision.inference.embedding_stats import EmbeddingStats
from device.vision.inference.novelty import NoveltyModel, adapt_novelty, fit_novelty, head_doubts, normalize, prototype_distances

Recipes = Sequence[Sequence[HeadRecipe]]

KEEP_PENALTY, LOW_KEEP_PENALTY = 20.0, 1.0
"""values of `HeadRecipe.keep_penalty`. With the higher one, TrashNet's validation photos lose less than a point on the mean where the bundle's labels
stay. The lower one is tried only where all labels were taught: there the taught photos may know better than the bundle"""
PRIOR_WEIGHTS = (1.0, 0.5, 0.0)
"""values of `HeadRecipe.prior_weight`"""
WEIGHT_STDS_NATS = (2.0, 5.0, 12.0)
"""values of `HeadRecipe.weight_std_nats`"""
STANDARD_ERRORS = 2.0
"""standard errors by which a less cautious recipe must be better on left-out photos before it is chosen"""
MOST_FOLDS = 12
"""most folds of the cross-validation: with fewer photos each is left out alone"""
WANTED_RIGHT = 0.95
"""share of the accepted photos that must be named right"""
FALSE_REJECTS = 0.05
"""share of taught items that may be taken for unknown"""
LEAST_REJECTION, MOST_REJECTION = 0.5, 0.95
"""range of `reject_below`"""
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.5, 8.0
"""range of the temperature"""


@dataclass(frozen=True, eq=False)
class _CrossValidation:
    """What the left-out photos say about the chosen recipe. Near duplicates are one photo.

    first: the first row of each photo. posteriors: photos x labels, by a head that was fitted without the photo.
    scored: which photos count, those of labels with at least two photos. best, right: of these, the highest probability and whether it names the
    right label.
    """

    recipe: HeadRecipe
    temperature: float
    first: npt.NDArray[np.intp]
    posteriors: Float64Array
    scored: npt.NDArray[np.bool_]
    best: Float64Array
    right: npt.NDArray[np.bool_]


def teach(examples: Examples, bundle: Bundle, stats: EmbeddingStats, familiar: NoveltyModel | None, *, only: bool) -> FewshotHead:
    """Fit a head to taught photos. Raises TeachingError where fewer than two labels would be left.

    familiar: the bundle's novelty model, if it has one. only: leave out labels of the bundle that were not taught.

    Near duplicates count as one photo. Recipes are compared by the log likelihood of left-out photos; all crops of a photo are left out together.
    A recipe that trusts the bundle less, or a looser one beside pseudo-examples, is chosen only where it is better by STANDARD_ERRORS standard
    errors.
    """
    labels = labels_after_teaching(bundle.info.labels, examples.labels, only=only)
    rows = _folded(examples, labels, stats)
    start = fit_prior(stats, kept_columns(bundle.info.labels, labels), rows, only=only, isolated=examples.mostly_isolated)
    training_set = TrainingSet(rows.embeddings, start.out_of_fold, rows.targets, balanced_weights(rows.targets, rows.photos))
    fitter = HeadFitter(stats, training_set, start.pseudo_examples)
    # Where labels stay untaught, or the head also judges items elsewhere, only the bundle's own head knows them.
    free = only or (examples.mostly_isolated and set(labels) == set(examples.labels))
    recipes = _candidates(free=free, one_by_one=bool(len(start.pseudo_examples.without)))
    result = _cross_validate(fitter, recipes, training_set, rows)
    reject_below = _reject_below(result.best, result.right) if result.scored.any() else bundle.info.reject_below
    excluded = excluded_evidence(start.out_of_fold)[result.first] if only else None
    return FewshotHead(
        bundle.info.learning_digest,
        bundle.info.name,
        labels,
        only,
        examples,
        fitter.fit(result.recipe),
        result.recipe,
        start.prior,
        result.temperature,
        reject_below,
        1 - FALSE_REJECTS,
        _novelty(examples, rows.photos, result, excluded, familiar, stats),
        photo_counts(examples.labels, examples.targets, rows.photos),
        float(result.right.mean()) if result.scored.any() else None,
        float((result.best >= reject_below).mean()) if result.scored.any() else None,
    )


def _folded(examples: Examples, labels: tuple[str, ...], stats: EmbeddingStats) -> FoldedExamples:
    """The examples with targets as indices into `labels`, near duplicates as one photo, and a fold for each row."""
    targets = np.array([labels.index(label) for label in examples.labels], np.int64)[examples.targets]
    embeddings = examples.embeddings.astype(np.float64)
    photos = group_near_duplicates(embeddings, targets, examples.photos, examples.isolated, stats.covariance().trace)
    return FoldedExamples(embeddings, examples.probabilities.astype(np.float64), targets, photos, _folds(targets, photos))


def _folds(targets: Ints, photos: Ints) -> Ints:
    """The fold of each row. Photos of one label are dealt out in turn, so that no fold takes all of a label where that can be avoided."""
    _, first, photo_of = np.unique(photos, return_index=True, return_inverse=True)
    by_label = np.argsort(targets[first], kind="stable")
    folds = np.empty(len(first), np.int64)
    folds[by_label] = np.arange(len(first)) % min(len(first), MOST_FOLDS)
    return folds[photo_of]


def _candidates(*, free: bool, one_by_one: bool) -> Recipes:
    """Groups of recipes, the most cautious group first. free: whether the bundle may be trusted less. one_by_one: each recipe is a group."""
    prior_weights, penalties = (PRIOR_WEIGHTS, (KEEP_PENALTY, LOW_KEEP_PENALTY)) if free else (PRIOR_WEIGHTS[:1], (KEEP_PENALTY,))
    groups = [
        [HeadRecipe(prior_weight, std_nats, penalty) for std_nats, penalty in itertools.product(WEIGHT_STDS_NATS, penalties)]
        for prior_weight in prior_weights
    ]
    # A looser head fits pseudo-examples, which are all alike, better and the taught photos worse: it needs a reason, too.
    return [[recipe] for recipe in itertools.chain(*groups)] if one_by_one else groups


def _cross_validate(fitter: HeadFitter, recipes: Recipes, training_set: TrainingSet, rows: FoldedExamples) -> _CrossValidation:
    """Choose the recipe and its temperature on left-out photos."""
    logits = {recipe: fitter.out_of_fold_logits(recipe, rows.folds) for recipe in itertools.chain(*recipes)}
    first = np.unique(rows.photos, return_index=True)[1]
    scored = _has_another(rows.targets[first])
    if scored.any():
        training_set = replace(training_set, weights=training_set.weights * np.isin(rows.photos, rows.photos[first[scored]]))
    temperatures = {recipe: _temperature(each, training_set) for recipe, each in logits.items()}
    losses = {recipe: _losses(each / temperatures[recipe], training_set) for recipe, each in logits.items()}
    recipe = _choose(recipes, losses, training_set, rows.photos)
    posteriors = softmax(logits[recipe], temperatures[recipe])[first]
    best, right = posteriors.max(axis=1)[scored], (posteriors.argmax(axis=1) == rows.targets[first])[scored]
    return _CrossValidation(recipe, temperatures[recipe], first, posteriors, scored, best, right)


def _has_another(targets: Ints) -> npt.NDArray[np.bool_]:
    """Whether each photo's label has another photo: only then says leaving it out anything. targets: the label of each photo."""
    return np.bincount(targets)[targets] > 1


def _choose(recipes: Recipes, losses: Mapping[HeadRecipe, Float64Array], training_set: TrainingSet, photos: Ints) -> HeadRecipe:
    """The recipe of the first group with the least mean loss, or one of a later group that is better by STANDARD_ERRORS standard errors.

    losses: of each row, in nats. photos: the photo of each row; standard errors are over photos.
    """
    share = training_set.weights / training_set.weights.sum()
    chosen, *later = (min(group, key=lambda recipe: float(share @ losses[recipe])) for group in recipes)
    for recipe in later:
        gain = losses[chosen] - losses[recipe]
        mean = float(share @ gain)
        if mean > STANDARD_ERRORS * np.linalg.norm(np.bincount(photos, share * (gain - mean))):
            chosen = recipe
    return chosen


def _losses(scaled: Float64Array, training_set: TrainingSet) -> Float64Array:
    """Negative log likelihood of each row's label, in nats. scaled: logits over the temperature, rows x labels."""
    return np.asarray(np.logaddexp.reduce(scaled, axis=1) - scaled[np.arange(len(scaled)), training_set.targets], np.float64)


def _mean_loss(logits: Float64Array, training_set: TrainingSet, temperature: float) -> float:
    return float(training_set.weights @ _losses(logits / temperature, training_set) / training_set.weights.sum())


def _temperature(logits: Float64Array, training_set: TrainingSet) -> float:
    """The temperature of the highest likelihood on left-out photos: golden-section search over its logarithm (Guo et al. 2017)."""
    low, high = math.log(LEAST_TEMPERATURE), math.log(MOST_TEMPERATURE)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(24):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if _mean_loss(logits, training_set, math.exp(left)) < _mean_loss(logits, training_set, math.exp(right)):
            high = right
        else:
            low = left
    return round(math.exp((low + high) / 2), 3)


def _reject_below(best: Float64Array, right: npt.NDArray[np.bool_]) -> float:
    """The least probability, in hundredths, above which at least WANTED_RIGHT of the photos are named right."""
    for hundredths in range(round(100 * LEAST_REJECTION), round(100 * MOST_REJECTION)):
        accepted = best >= hundredths / 100
        if accepted.any() and right[accepted].mean() >= WANTED_RIGHT:
            return hundredths / 100
    return MOST_REJECTION


def _novelty(
    examples: Examples, photos: Ints, result: _CrossValidation, excluded: Float64Array | None, familiar: NoveltyModel | None, stats: EmbeddingStats
) -> NoveltyModel:
    """The novelty model of the new head. Where some photos have no second one of their label, it takes over the calibration of `familiar`.

    photos: of each row, near duplicates as one. excluded: `excluded_evidence` of each photo, None where no label was left out. familiar: the
    bundle's novelty model.
    """
    kept = familiar if excluded is None else None
    prototypes = _prototypes(examples, kept)
    if result.scored.all() or familiar is None:
        distances = _distances_to_others(examples, photos, result.first, kept)
        return fit_novelty(prototypes, distances, head_doubts(result.posteriors), excluded)
    return adapt_novelty(familiar, prototypes, None if excluded is None else stats.mean_pair_distance, excluded)


def _prototypes(examples: Examples, familiar: NoveltyModel | None) -> Float64Array:
    """The taught photos, beside the prototypes of the bundle where these stay."""
    own = normalize(examples.embeddings[np.unique(examples.photos, return_index=True)[1]])
    return own if familiar is None else np.concatenate([own, familiar.prototypes.astype(np.float64)])


def _distances_to_others(examples: Examples, groups: Ints, first: Ints, familiar: NoveltyModel | None) -> Float64Array:
    """The distance of photos to the nearest photo that is no near duplicate: one for each row number in `first`. groups: of each row."""
    shown = np.unique(examples.photos, return_index=True)[1]
    one_each, own = normalize(examples.embeddings[first]), normalize(examples.embeddings[shown])
    far = 1 - np.where(groups[first, np.newaxis] == groups[shown], -1.0, one_each @ own.T).max(axis=1)
    return far if familiar is None else np.minimum(far, prototype_distances(one_each, familiar.prototypes))
