"""Fit a few-shot head: choose its recipe by cross-validation, calibrate it, and learn what counts as unknown."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float64Array
from device.vision.fewshot.acceptance import losses, raised, rejection_threshold, temperature
from device.vision.fewshot.examples import Examples, photo_counts
from device.vision.fewshot.fewshot_head import FewshotHead, kept_columns, labels_after_teaching
from device.vision.fewshot.linear_head import HeadFitter, HeadRecipe, Ints, TrainingSet, balanced_weights
from device.vision.fewshot.near_duplicates import group_near_duplicates, group_sequences
from device.vision.fewshot.prior import FoldedExamples, excluded_evidence, fit_prior
from device.vision.inference.bundle import Bundle
from device.vision.inference.classifier import softmax
from device.vision.inference.embedding_stats import EmbeddingStats
from device.vision.inference.novelty import (
    DISTANCE_SPREAD,
    DISTANCE_TO_ANY,
    DISTANCE_TO_TAUGHT,
    NoveltyModel,
    expected_novelty,
    head_doubts,
    normalize,
    prototype_distances,
)

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
FALSE_REJECTS = 0.05
"""share of known items that may be taken for unknown"""
USUAL_EXCLUDED = 1.0
"""least `NoveltyModel.usual`, nats"""


@dataclass(frozen=True, eq=False)
class _CrossValidation:
    """What the left-out photos say about the chosen recipe. Near duplicates are one photo.

    first: the first row of each photo that counts, one of a label with at least two sequences. sequences: of each of them. posteriors: photos x
    labels, by a head that was fitted without the photo's sequence. best, right: the highest probability, and whether it names the right label.
    """

    recipe: HeadRecipe
    temperature: float
    first: npt.NDArray[np.intp]
    sequences: Ints
    posteriors: Float64Array
    best: Float64Array
    right: npt.NDArray[np.bool_]


def teach(examples: Examples, bundle: Bundle, stats: EmbeddingStats, familiar: NoveltyModel | None, *, only: bool) -> FewshotHead:
    """Fit a head to taught photos. Raises TeachingError where fewer than two labels would be left.

    familiar: the bundle's novelty model, if it has one. only: leave out labels of the bundle that were not taught.

    Near duplicates count as one photo. Recipes are compared by the log likelihood of left-out photos; all crops of a photo are left out together.
    What the head accepts is set from left-out sequences (see `acceptance`).
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
    result = _cross_validate(fitter, _choose_recipe(fitter, recipes, training_set, rows), training_set, rows)
    reject_below = rejection_threshold(result.best, result.right, result.sequences)
    excluded = excluded_evidence(start.out_of_fold)[result.first] if only else None
    novelty, unknown = _novelty(examples, rows, result, excluded, familiar, stats)
    accepted = (result.best >= reject_below) & (unknown <= 1 - FALSE_REJECTS)
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
        novelty,
        photo_counts(examples.labels, examples.targets, rows.photos),
        photo_counts(examples.labels, examples.targets, rows.sequences),
        _share(result.right),
        _share(accepted),
        _share(result.right[accepted]),
    )


def _share(flags: npt.NDArray[np.bool_]) -> float | None:
    """The share that is true, None of none."""
    return float(flags.mean()) if len(flags) else None


def _folded(examples: Examples, labels: tuple[str, ...], stats: EmbeddingStats) -> FoldedExamples:
    """The examples with targets as indices into `labels`, near duplicates as one photo, and a sequence and folds for each row."""
    targets = np.array([labels.index(label) for label in examples.labels], np.int64)[examples.targets]
    embeddings, trace = examples.embeddings.astype(np.float64), stats.covariance().trace
    photos = group_near_duplicates(embeddings, targets, examples.photos, examples.isolated, trace)
    sequences = group_sequences(embeddings, targets, photos, examples.isolated, trace)
    # Where a label has one sequence only, its photos are left out one by one, so that every fold knows every label.
    together = np.where(_has_another(targets, sequences), sequences, photos)
    folds = _folds(targets, photos), MOST_FOLDS + _folds(targets, together)
    return FoldedExamples(embeddings, examples.probabilities.astype(np.float64), targets, photos, sequences, *folds)


def _folds(targets: Ints, groups: Ints) -> Ints:
    """The fold of each row. Groups of one label are dealt out in turn, so that no fold takes all of a label where that can be avoided."""
    _, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
    by_label = np.argsort(targets[first], kind="stable")
    folds = np.empty(len(first), np.int64)
    folds[by_label] = np.arange(len(first)) % min(len(first), MOST_FOLDS)
    return folds[group_of]


def _candidates(*, free: bool, one_by_one: bool) -> Recipes:
    """Groups of recipes, the most cautious group first. free: whether the bundle may be trusted less. one_by_one: each recipe is a group."""
    prior_weights, penalties = (PRIOR_WEIGHTS, (KEEP_PENALTY, LOW_KEEP_PENALTY)) if free else (PRIOR_WEIGHTS[:1], (KEEP_PENALTY,))
    groups = [
        [HeadRecipe(prior_weight, std_nats, penalty) for std_nats, penalty in itertools.product(WEIGHT_STDS_NATS, penalties)]
        for prior_weight in prior_weights
    ]
    # A looser head fits pseudo-examples, which are all alike, better and the taught photos worse: it needs a reason, too.
    return [[recipe] for recipe in itertools.chain(*groups)] if one_by_one else groups


def _choose_recipe(fitter: HeadFitter, recipes: Recipes, training_set: TrainingSet, rows: FoldedExamples) -> HeadRecipe:
    """The recipe by left-out photos. Which recipe is better, photos of one sequence tell as well."""
    another = _has_another(rows.targets, rows.photos)
    weights = training_set.weights * (another if another.any() else 1.0)
    logits = {recipe: fitter.out_of_fold_logits(recipe, rows.folds) for recipe in itertools.chain(*recipes)}
    scaled = {recipe: each / temperature(each, rows.targets, weights, math.inf) for recipe, each in logits.items()}
    return _choose(recipes, {recipe: losses(each, rows.targets) for recipe, each in scaled.items()}, weights, rows.photos)


def _cross_validate(fitter: HeadFitter, recipe: HeadRecipe, training_set: TrainingSet, rows: FoldedExamples) -> _CrossValidation:
    """Judge sequences that are left out, and fit the temperature to them."""
    logits = fitter.out_of_fold_logits(recipe, rows.sequence_folds)
    counted = _has_another(rows.targets, rows.sequences)
    fitted = temperature(logits[counted], rows.targets[counted], training_set.weights[counted], len(np.unique(rows.sequences[counted])))
    first = np.unique(rows.photos, return_index=True)[1]
    first = first[counted[first]]
    posteriors = softmax(logits[first], fitted)
    best, right = posteriors.max(axis=1), posteriors.argmax(axis=1) == rows.targets[first]
    return _CrossValidation(recipe, fitted, first, rows.sequences[first], posteriors, best, right)


def _has_another(targets: Ints, groups: Ints) -> npt.NDArray[np.bool_]:
    """Whether each row's label has another group of rows: only then says leaving it out anything."""
    first = np.unique(groups, return_index=True)[1]
    return np.asarray(np.bincount(targets[first])[targets] > 1, np.bool_)


def _choose(recipes: Recipes, scored: Mapping[HeadRecipe, Float64Array], weights: Float64Array, photos: Ints) -> HeadRecipe:
    """The recipe of the first group with the least mean loss, or one of a later group that is better by STANDARD_ERRORS standard errors.

    scored: the loss of each row, in nats. weights: of the rows. photos: of the rows; standard errors are over photos.
    """
    share = weights / weights.sum()
    chosen, *later = (min(group, key=lambda recipe: float(share @ scored[recipe])) for group in recipes)
    for recipe in later:
        gain = scored[chosen] - scored[recipe]
        mean = float(share @ gain)
        if mean > STANDARD_ERRORS * np.linalg.norm(np.bincount(photos, share * (gain - mean))):
            chosen = recipe
    return chosen


def _novelty(
    examples: Examples,
    rows: FoldedExamples,
    result: _CrossValidation,
    excluded: Float64Array | None,
    familiar: NoveltyModel | None,
    stats: EmbeddingStats,
) -> tuple[NoveltyModel, Float64Array]:
    """The novelty model of the new head, and the score of each left-out photo by it.

    excluded: `excluded_evidence` of each left-out photo, None where no label was left out. familiar: the bundle's novelty model.
    """
    kept = familiar.prototypes.astype(np.float64) if excluded is None and familiar is not None else None
    usual = math.inf if excluded is None else raised(USUAL_EXCLUDED, excluded, result.sequences)
    apart, middle = stats.mean_pair_distance, DISTANCE_TO_TAUGHT if kept is None else DISTANCE_TO_ANY
    elsewhere = expected_novelty(_prototypes(examples, kept), middle * apart, DISTANCE_SPREAD * apart, usual)
    doubt = head_doubts(result.posteriors)
    parts = _distances_to_others(examples, rows.sequences, result.first, kept), doubt, np.zeros(len(doubt)) if excluded is None else excluded
    bound = elsewhere.strangeness_at(1 - FALSE_REJECTS)
    novelty = elsewhere.tolerating(raised(bound, elsewhere.strangeness(*parts), result.sequences) - bound)
    return novelty, novelty.scores(*parts)


def _prototypes(examples: Examples, kept: Float64Array | None) -> Float64Array:
    """The taught photos, beside the prototypes of the bundle where these stay."""
    own = normalize(examples.embeddings[np.unique(examples.photos, return_index=True)[1]])
    return own if kept is None else np.concatenate([own, kept])


def _distances_to_others(examples: Examples, sequences: Ints, first: Ints, kept: Float64Array | None) -> Float64Array:
    """The distance of photos to the nearest one of another sequence: one for each row number in `first`. sequences: of each row. kept: prototypes of
    the bundle that stay.
    """
    shown = np.unique(examples.photos, return_index=True)[1]
    one_each, own = normalize(examples.embeddings[first]), normalize(examples.embeddings[shown])
    far = 1 - np.where(sequences[first, np.newaxis] == sequences[shown], -1.0, one_each @ own.T).max(axis=1)
    return far if kept is None else np.minimum(far, prototype_distances(one_each, kept))
