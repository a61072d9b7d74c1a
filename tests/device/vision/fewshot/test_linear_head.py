"""Fit linear heads: the fitted head has the least cost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.bundle.embedding_stats import fit_embedding_stats
from device.common.arrays import Float64Array
from device.vision.fewshot.linear_head import (
    BIAS_STD_NATS,
    MOST_SPANNING,
    HeadFitter,
    HeadRecipe,
    LinearHead,
    TrainingSet,
    balanced_weights,
    spanning_rows,
)
from device.vision.inference.embedding_stats import EmbeddingStats

FEATURES, LABELS, KEEP = 30, 3, 5.0


def stats_of(rng: np.random.Generator) -> EmbeddingStats:
    targets = np.repeat(np.arange(LABELS), 40)
    return fit_embedding_stats(
        (rng.gamma(1, 1, (LABELS, FEATURES))[targets] + rng.normal(0, 0.5, (120, FEATURES))).astype(np.float32), targets, LABELS
    )


def training_set_of(rng: np.random.Generator, photos: int) -> TrainingSet:
    before = np.log(rng.dirichlet(np.ones(LABELS), photos))
    return TrainingSet(rng.gamma(1, 1, (photos, FEATURES)), before, rng.integers(LABELS, size=photos), rng.uniform(0.5, 2, photos))


def cost(head: LinearHead, training_set: TrainingSet, stats: EmbeddingStats, loose: float) -> float:
    """The cost that `HeadFitter.fit` minimizes, computed with full matrices."""
    means, shares = stats.means.astype(np.float64), stats.counts / stats.counts.sum()
    middle = shares @ means
    directions = stats.directions.astype(np.float64)
    within = directions.T @ np.diag(stats.variances.astype(np.float64)) @ directions + np.diag(stats.rest.astype(np.float64))
    covariance = within + (means - middle).T @ np.diag(shares) @ (means - middle)
    logits = head.logits(training_set.embeddings, training_set.before)
    losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(logits)), training_set.targets]
    length = float((head.weights**2).sum()) * np.trace(covariance) / loose**2
    shift = float(((head.bias + head.weights @ training_set.embeddings.mean(axis=0)) ** 2).sum()) / BIAS_STD_NATS**2
    changed = float(((head.weights @ middle + head.bias) ** 2).sum() + np.trace(head.weights @ covariance @ head.weights.T))
    return float(training_set.weights @ losses) + (length + shift + KEEP * changed) / 2


@pytest.mark.parametrize("loose", [1.0, 4.0])
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), photos=st.integers(2, 40) | st.just(MOST_SPANNING + 100), step=st.sampled_from([0.3, 0.03]))
def test_no_nearby_head_has_a_lower_cost(loose: float, seed: int, photos: int, step: float) -> None:
    rng = np.random.default_rng(seed)
    stats, training_set = stats_of(rng), training_set_of(rng, photos)
    found = HeadFitter(stats, training_set).fit(HeadRecipe(1.0, loose, KEEP))
    least = cost(found, training_set, stats, loose)
    for _ in range(5):
        moved = LinearHead(
            found.weights + step * rng.normal(size=found.weights.shape), found.bias + step * rng.normal(size=LABELS), found.prior_weight
        )
        assert least < cost(moved, training_set, stats, loose)
    assert least < cost(LinearHead(np.zeros_like(found.weights), np.zeros(LABELS), 1.0), training_set, stats, loose)


@given(counts=st.lists(st.integers(1, 60), min_size=1, max_size=6), most=st.integers(6, 200))
def test_spanning_rows_are_shared_evenly_among_labels(counts: list[int], most: int) -> None:
    targets = np.repeat(np.arange(len(counts)), counts)
    few = spanning_rows(targets, most)
    assert (np.diff(few) > 0).all() and few[0] == 0 and len(few) <= most
    kept = np.bincount(targets[few], minlength=len(counts))
    assert len(few) == len(targets) or np.minimum(counts, kept.max() + 1).sum() > most
    assert all(own == count or own == kept.max() for own, count in zip(kept, counts, strict=True))


def test_left_out_photos_do_not_influence_their_own_logits() -> None:
    rng = np.random.default_rng(4)
    stats, training_set = stats_of(rng), training_set_of(rng, 12)
    folds = np.arange(12) % 4
    otherwise = np.where(folds == 2, (training_set.targets + 1) % LABELS, training_set.targets)
    relabelled = TrainingSet(training_set.embeddings, training_set.before, otherwise, training_set.weights)
    logits: list[Float64Array] = [
        HeadFitter(stats, each).out_of_fold_logits(HeadRecipe(1.0, 4.0, KEEP), folds) for each in (training_set, relabelled)
    ]
    np.testing.assert_allclose(logits[0][folds == 2], logits[1][folds == 2], atol=1e-9)
    assert np.abs(logits[0][folds != 2] - logits[1][folds != 2]).max() > 0.1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=20))
def test_labels_weigh_the_same_and_photos_within_a_label_too(photos: list[tuple[int, int]]) -> None:
    targets = np.array([label for label, views in photos for _ in range(views)])
    numbers = np.array([number for number, (_, views) in enumerate(photos) for _ in range(views)])
    weights = balanced_weights(targets, numbers)
    assert weights.sum() == pytest.approx(len(photos))
    of_label = [weights[targets == label].sum() for label in np.unique(targets)]
    assert of_label == pytest.approx([of_label[0]] * len(of_label))
