"""Near duplicates are grouped, exact copies are found."""

from random import Random

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from device.vision.fewshot.near_duplicates import (
    FRAME_DISTANCE,
    ITEM_DISTANCE,
    SEQUENCE_DISTANCE,
    exact_copies,
    group_near_duplicates,
    group_sequences,
)

TRACE = 0.5
"""makes the threshold on squared distances equal to the constants"""


def groups(places: list[float], *, targets: list[int] | None = None, isolated: list[bool] | None = None) -> list[int]:
    """The groups of photos with one crop and one feature each, numbered from 0."""
    n = len(places)
    rows = np.sqrt(FRAME_DISTANCE) * np.array(places)[:, np.newaxis]
    found = group_near_duplicates(rows, np.array(targets or [0] * n), np.arange(n), np.array(isolated or [False] * n), TRACE)
    return [int(group) for group in found]


def test_grouping_of_near_duplicates_is_transitive() -> None:
    assert groups([0.0, 5.0, 0.9, 1.8, 5.9, 9.0]) == [0, 1, 0, 0, 1, 5]


def test_only_photos_of_one_label_and_kind_are_grouped() -> None:
    assert groups([0.0, 0.0, 0.0, 0.0], targets=[0, 1, 0, 1], isolated=[False, False, True, False]) == [0, 1, 2, 1]


def test_isolated_items_are_grouped_over_longer_distances_than_whole_frames() -> None:
    between = float(np.sqrt((FRAME_DISTANCE + ITEM_DISTANCE) / 2 / FRAME_DISTANCE))
    assert groups([0.0, between], isolated=[True, True]) == [0, 0]
    assert groups([0.0, between]) == [0, 1]


def test_a_sequence_joins_photos_that_differ_more_than_near_duplicates() -> None:
    rows = np.sqrt(SEQUENCE_DISTANCE) * np.array([0.0, 0.9, 1.8, 5.0, 5.0])[:, np.newaxis]
    shown = rows, np.array([0, 0, 0, 0, 1]), np.arange(5), np.zeros(5, np.bool_), TRACE
    assert group_near_duplicates(*shown).tolist() == [0, 1, 2, 3, 4]
    assert group_sequences(*shown).tolist() == [0, 0, 0, 3, 4]


def test_a_photo_is_compared_by_the_mean_of_its_crops() -> None:
    views = np.sqrt(FRAME_DISTANCE) * np.array([[3.0], [-3.0], [3.5], [-3.5], [3.0], [3.0]])
    photos = np.array([4, 4, 7, 7, 9, 9])
    assert group_near_duplicates(views, np.zeros(6, np.int64), photos, np.zeros(6, np.bool_), TRACE).tolist() == [4, 4, 4, 4, 9, 9]


@given(st.lists(st.tuples(st.floats(-20, 20), st.integers(0, 2)), min_size=1, max_size=15), st.randoms(use_true_random=False))
def test_grouping_does_not_depend_on_the_order_of_photos(photos: list[tuple[float, int]], random: Random) -> None:
    order = list(range(len(photos)))
    random.shuffle(order)
    plain = groups([place for place, _ in photos], targets=[label for _, label in photos])
    shuffled = groups([photos[i][0] for i in order], targets=[photos[i][1] for i in order])
    together = {frozenset(i for i in order if plain[i] == group) for group in plain}
    assert {frozenset(i for place, i in enumerate(order) if shuffled[place] == group) for group in shuffled} == together


def test_a_copy_has_all_crops_of_an_earlier_photo_of_its_label() -> None:
    embeddings: npt.NDArray[np.float16] = np.array([[1], [2], [1], [2], [1], [3], [2], [1], [1], [2]], np.float16)
    photos = np.repeat(np.arange(5), 2)
    targets = np.repeat([0, 0, 0, 0, 1], 2)
    assert exact_copies(embeddings, targets, photos).tolist() == [False] * 2 + [True] * 2 + [False] * 6
