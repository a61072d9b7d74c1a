"""Tell items at the taught site from others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.common.arrays import Float64Array
from device.vision.fewshot.domain import FittedDomain, domain_shift, fit_domain
from device.vision.inference.covariance import LowRankCovariance

FEATURES = 40
RNG = np.random.default_rng(0)
MEANS = RNG.normal(size=(3, FEATURES))
TRAINING = LowRankCovariance(0.3 * RNG.normal(size=(4, FEATURES)), RNG.uniform(0.05, 0.2, FEATURES))
COVARIANCE = TRAINING.strong.T @ TRAINING.strong + np.diag(TRAINING.rest)
SHIFT = RNG.normal(0, 1.0, FEATURES)
SURE = np.eye(3)
"""probabilities of a bundle that is never wrong"""


def photos(targets: np.ndarray, seed: int, *, shift: float) -> Float64Array:
    drawn: Float64Array = np.random.default_rng(seed).multivariate_normal(np.zeros(FEATURES), COVARIANCE, len(targets))
    return MEANS[targets] + shift * SHIFT + drawn


def learned(embeddings: Float64Array, targets: np.ndarray, of_photo: np.ndarray | None = None) -> FittedDomain:
    return fit_domain(TRAINING, MEANS, embeddings, SURE[targets], targets, np.arange(len(targets)) if of_photo is None else of_photo)


@pytest.mark.parametrize("count", [3, 10])
def test_items_at_the_site_differ_from_training_photos_of_any_label(count: int) -> None:
    taught = np.repeat([0, 1], count)
    found = learned(photos(taught, 1, shift=1.0), taught)
    everything = np.repeat(np.arange(3), 100)
    assert (found.direction.in_domain(photos(everything, 2, shift=1.0), SURE[everything]) > 0.5).mean() > 0.9
    assert (found.direction.in_domain(photos(everything, 3, shift=0.0), SURE[everything]) > 0.5).mean() < 0.02
    found_shift = domain_shift(MEANS, photos(taught, 1, shift=1.0), SURE[taught], taught, np.arange(len(taught)))
    assert np.corrcoef(found_shift, SHIFT)[0, 1] > 0.6


@pytest.mark.parametrize("labels", [1, 2, 3])
def test_fewer_taught_labels_give_a_smaller_domain_shift(labels: int) -> None:
    taught = np.arange(labels)
    found = domain_shift(MEANS, MEANS[taught] + SHIFT, SURE[taught], taught, taught)
    np.testing.assert_allclose(found, SHIFT * labels / (labels + 1))


def test_photos_like_training_photos_give_no_domain() -> None:
    taught = np.repeat([0, 1, 2], 5)
    found = learned(photos(taught, 4, shift=0.0), taught)
    assert found.out_of_fold.max() < 0.5
    assert (found.direction.in_domain(photos(np.repeat([0, 1, 2], 50), 5, shift=0.0), SURE[np.repeat([0, 1, 2], 50)]) > 0.5).mean() < 0.02


@given(st.lists(st.integers(1, 4), min_size=2, max_size=8), st.integers(0, 2**32 - 1))
def test_a_photo_does_not_influence_its_own_domain_probability(views: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    of_photo = rng.integers(0, 3, len(views))
    of_view = np.repeat(np.arange(len(views)), views)
    embeddings = photos(of_photo[of_view], seed, shift=0.6)
    found = learned(embeddings, of_photo[of_view], of_view)
    assert ((found.out_of_fold >= 0) & (found.out_of_fold <= 1)).all()
    last = of_view == of_view[-1]
    moved = np.where(last[:, np.newaxis], embeddings + 0.5 * SHIFT, embeddings)
    again = learned(moved, of_photo[of_view], of_view)
    ahead, ahead_moved = (np.log(each.out_of_fold[last]) - np.log1p(-each.out_of_fold[last]) for each in (found, again))
    gained = ahead_moved - ahead
    np.testing.assert_allclose(gained, gained[0], atol=1e-4)


def test_a_single_photo_is_never_judged_to_be_in_domain() -> None:
    found = learned(photos(np.array([1]), 6, shift=1.0), np.array([1]))
    assert found.out_of_fold[0] < 0.01
