"""Lessons: which photos of a place are taught, and which are asked about."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.left_out.lessons import draw_lesson

PHOTOS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=60)
"""label and group of each photo; a group may hold photos of several labels"""


@given(photos=PHOTOS, shots=st.integers(1, 8), seed=st.integers(0, 99))
def test_no_group_is_taught_and_asked_about(photos: list[tuple[int, int]], shots: int, seed: int) -> None:
    targets, groups = np.array(photos).T
    lesson = draw_lesson(targets, groups, shots, np.random.default_rng(seed))
    if lesson is None:
        return
    labels, counts = np.unique(targets[lesson.taught], return_counts=True)
    assert len(labels) >= 2
    assert set(counts) == {shots}
    assert len(set(lesson.taught)) == len(lesson.taught)
    assert not set(groups[lesson.taught]) & set(groups[lesson.asked])
    assert set(targets[lesson.asked]) <= set(labels)


def test_taught_photos_come_from_many_groups_but_half_are_left() -> None:
    targets, groups = np.repeat([0, 1], 40), np.repeat(np.arange(16), 5)
    few, many = (draw_lesson(targets, groups, shots, np.random.default_rng(1)) for shots in (3, 10))
    assert few is not None and len(np.unique(groups[few.taught])) == 6
    assert many is not None and len(np.unique(groups[many.taught])) == 8
    assert len(many.asked) == 40


def test_a_label_with_too_few_photos_is_left_out() -> None:
    targets = np.repeat([0, 1, 2], [10, 10, 4])
    lesson = draw_lesson(targets, np.arange(24), 5, np.random.default_rng(0))
    assert lesson is not None
    assert set(targets[lesson.taught]) == set(targets[lesson.asked]) == {0, 1}


def test_one_item_alone_cannot_be_taught_and_asked_about() -> None:
    assert draw_lesson(np.repeat([0, 1], 10), np.repeat([0, 1], 10), 2, np.random.default_rng(0)) is None
