"""Carry the bundle's probabilities over to new labels, from few photos with several crops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.common.arrays import Float64Array
from device.vision.fewshot.label_transfer import certainty_gap, claim_shares, label_affinity, label_affinity_without_own, split_posterior

OLD = 4


@st.composite
def seen(draw: st.DrawFn) -> tuple[Float64Array, np.ndarray, np.ndarray]:
    """Probabilities, labels and photos of rows: three new labels, 5 to 7, with one to five photos each, two crops of each."""
    targets = np.repeat([5, 6, 7], [2 * draw(st.integers(1, 5)) for _ in range(3)])
    powers = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).dirichlet(np.full(OLD, 0.4), len(targets))
    return powers, targets, np.arange(len(targets)) // 2


NEW = np.array([5, 6, 7])


@given(seen())
def test_label_affinity_rows_are_probabilities(views: tuple[Float64Array, np.ndarray, np.ndarray]) -> None:
    kin = label_affinity(*views, NEW)
    assert kin.shape == (3, OLD) and kin.min() > 0
    np.testing.assert_allclose(kin.sum(axis=1), 1)


@given(seen())
def test_affinity_without_own_ignores_the_photo_itself(views: tuple[Float64Array, np.ndarray, np.ndarray]) -> None:
    probabilities, targets, photos = views
    apart = label_affinity_without_own(*views, NEW)
    for view, photo in enumerate(photos):
        left = photos != photo
        np.testing.assert_allclose(apart[view], label_affinity(probabilities[left], targets[left], photos[left], NEW))


@given(views=seen(), others=st.lists(st.floats(0, 9), min_size=OLD, max_size=OLD), here=st.floats(0, 1))
def test_new_labels_gain_what_old_ones_lose(views: tuple[Float64Array, np.ndarray, np.ndarray], others: list[float], here: float) -> None:
    probabilities, targets, _ = views
    shares = claim_shares(label_affinity(*views, NEW), np.bincount(targets)[NEW] / 2.0, np.array(others))
    assert shares.min() >= 0 and shares.sum(axis=0).max() <= 1 + 1e-9
    all_stay = np.arange(OLD)
    powers = np.exp(split_posterior(probabilities, all_stay, shares, np.full(len(targets), here)))
    np.testing.assert_allclose(powers.sum(axis=1), 1, atol=1e-4)
    elsewhere = np.exp(split_posterior(probabilities, all_stay, shares, np.zeros(len(targets))))
    np.testing.assert_allclose(elsewhere[:, :OLD], np.maximum(probabilities, 1e-6), rtol=1e-6)


def test_an_item_is_likelier_of_the_label_with_similar_photos() -> None:
    can, pet = [0.1, 0.1, 0.7, 0.1], [0.1, 0.1, 0.2, 0.6]
    kin = label_affinity(np.array([can] * 5 + [pet] * 5), np.repeat([5, 6], 5), np.arange(10), NEW[:2])
    shares = claim_shares(kin, np.array([5.0, 5.0]), np.ones(OLD))
    powers = np.exp(split_posterior(np.array([can]), np.arange(OLD), shares, np.ones(1)))[0]
    assert powers.argmax() == OLD and powers[OLD] > 1.5 * powers[OLD + 1]


@given(seen())
def test_certainty_gap_is_never_positive(views: tuple[Float64Array, np.ndarray, np.ndarray]) -> None:
    probabilities, targets, _ = views
    kin = label_affinity(*views, NEW)
    found = certainty_gap(probabilities, kin)
    assert found.shape == (len(targets), 3) and np.isfinite(found).all() and found.max() <= 1e-9
    np.testing.assert_allclose(certainty_gap(probabilities, np.repeat(kin[np.newaxis], len(targets), axis=0)), found)
    np.testing.assert_allclose(certainty_gap(np.full((1, OLD), 1 / OLD), kin), 0, atol=1e-9)
    np.testing.assert_allclose(certainty_gap(probabilities, np.eye(1, OLD)), 0, atol=1e-9)


def test_a_sure_item_is_unlikely_of_a_label_with_uncertain_photos() -> None:
    anything, metal = [0.25, 0.25, 0.25, 0.25], [0.02, 0.02, 0.94, 0.02]
    kin = label_affinity(np.array([anything] * 5 + [metal] * 5), np.repeat([5, 6], 5), np.arange(10), NEW[:2], 0.5)
    toy, can = certainty_gap(np.array([metal]), kin)[0]
    assert toy < 3 * can < -0.5


def test_a_taught_old_label_gives_up_only_its_photos_share() -> None:
    metal = np.array([[0.0, 0.0, 1.0, 0.0]])
    kin = label_affinity(np.repeat(metal, 8, axis=0), np.full(8, 5), np.arange(8), NEW[:1])
    shares = claim_shares(kin, np.array([8.0]), 8 * metal[0])
    assert 0.4 < shares[0, 2] < 0.5


def test_a_photo_weighs_the_same_however_many_crops_it_has() -> None:
    one, other = [0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]
    alike = label_affinity(np.array([one, other]), np.array([5, 5]), np.array([0, 1]), NEW[:1])
    twice = label_affinity(np.array([one, one, other, other]), np.full(4, 5), np.array([0, 0, 1, 1]), NEW[:1])
    assert twice == pytest.approx(alike)
