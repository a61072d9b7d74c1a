"""Draws: how often an epoch shows the photos of each label and place."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.data.photos import Photo
from training.fit.draws import Draws, draw_shares

CELLS = {("metal", ""): 40, ("metal", "belt"): 300, ("glass", ""): 60, ("glass", "litter"): 12, ("trash", ""): 5}


def photos_of(cells: dict[tuple[str, str], int]) -> list[Photo]:
    return [Photo(f"{label}/{place}{i}.jpg", label, Path("x"), place=place) for (label, place), n in cells.items() for i in range(n)]


def shares_by(photos: list[Photo], shares: np.ndarray, key: str) -> dict[str, float]:
    found: Counter[str] = Counter()
    for photo, share in zip(photos, shares, strict=True):
        found[getattr(photo, key)] += share
    return dict(found)


def test_without_balance_each_photo_is_drawn_equally_often() -> None:
    photos = photos_of(CELLS)
    np.testing.assert_allclose(draw_shares(photos, 0.0, {}), 1 / len(photos))


def test_full_balance_shows_each_label_and_its_places_equally_often() -> None:
    photos = photos_of(CELLS)
    shares = draw_shares(photos, 1.0, {})
    assert shares_by(photos, shares, "label") == pytest.approx({"metal": 1 / 3, "glass": 1 / 3, "trash": 1 / 3})
    assert shares_by(photos, shares, "place") == pytest.approx({"": 1 / 6 + 1 / 6 + 1 / 3, "belt": 1 / 6, "litter": 1 / 6})


def test_a_factor_shows_a_place_less_and_leaves_labels_as_they_are() -> None:
    photos = photos_of(CELLS)
    shares = draw_shares(photos, 1.0, {"belt": 0.25, "data": 1.0})
    assert shares_by(photos, shares, "label") == pytest.approx({"metal": 1 / 3, "glass": 1 / 3, "trash": 1 / 3})
    assert shares_by(photos, shares, "place")["belt"] == pytest.approx(1 / 3 * 0.25 / 1.25)


def test_places_of_factor_zero_are_never_drawn() -> None:
    photos = photos_of(CELLS)
    shares = draw_shares(photos, 0.5, {"litter": 0.0})
    drawn = {photos[index].place for index in Draws(shares, 400).draw(np.random.default_rng(0))}
    assert drawn == {"", "belt"}


def test_factors_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="places: expected a factor above 0"):
        draw_shares(photos_of({("metal", "belt"): 3}), 1.0, {"belt": 0.0})


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=40), st.integers(1, 300), st.integers(0, 9))
def test_each_photo_is_drawn_its_share_of_times(weights: list[float], count: int, seed: int) -> None:
    shares = np.array(weights) / sum(weights)
    times = np.bincount(Draws(shares, count).draw(np.random.default_rng(seed)), minlength=len(shares))
    assert times.sum() == count
    assert (np.abs(times - shares * count) < 1 + 1e-6).all()
