"""What a bundle takes new labels for, from few photos in several views."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.vision.kinship import Floats, kinship, kinship_to_others, likeness

OLD = 4


@st.composite
def seen(draw: st.DrawFn) -> tuple[Floats, np.ndarray, np.ndarray]:
    """Probabilities, labels and photos of views: three new labels, 5 to 7, with one to five photos each, in two views."""
    targets = np.repeat([5, 6, 7], [2 * draw(st.integers(1, 5)) for _ in range(3)])
    powers = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).dirichlet(np.full(OLD, 0.4), len(targets))
    return powers, targets, np.arange(len(targets)) // 2


NEW = np.array([5, 6, 7])


@given(seen())
def test_kin_are_shares_and_what_could_be_anything_is_any_of_the_new_labels(views: tuple[Floats, np.ndarray, np.ndarray]) -> None:
    kin = kinship(*views, NEW)
    assert kin.shape == (3, OLD) and kin.min() > 0
    np.testing.assert_allclose(kin.sum(axis=1), 1)
    np.testing.assert_allclose(likeness(np.full((1, OLD), 1 / OLD), kin), 1 / 3)
    np.testing.assert_allclose(likeness(views[0], kin).sum(axis=1), 1)


@given(seen())
def test_a_photo_says_nothing_about_itself(views: tuple[Floats, np.ndarray, np.ndarray]) -> None:
    probabilities, targets, photos = views
    apart = kinship_to_others(*views, NEW)
    for view, photo in enumerate(photos):
        left = photos != photo
        np.testing.assert_allclose(apart[view], kinship(probabilities[left], targets[left], photos[left], NEW))


def test_an_item_is_likelier_of_the_label_whose_photos_were_taken_for_the_same() -> None:
    can, pet = [0.1, 0.1, 0.7, 0.1], [0.1, 0.1, 0.2, 0.6]
    kin = kinship(np.array([can] * 5 + [pet] * 5), np.repeat([5, 6], 5), np.arange(10), NEW[:2])
    of_can, of_pet = likeness(np.array([can]), kin)[0]
    assert of_can > 0.6 > 0.4 > of_pet


def test_a_photo_counts_once_however_many_views_it_has() -> None:
    one, other = [0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]
    alike = kinship(np.array([one, other]), np.array([5, 5]), np.array([0, 1]), NEW[:1])
    twice = kinship(np.array([one, one, other, other]), np.full(4, 5), np.array([0, 0, 1, 1]), NEW[:1])
    assert twice == pytest.approx(alike)
