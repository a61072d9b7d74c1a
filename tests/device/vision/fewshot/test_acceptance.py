"""What a taught head accepts: thresholds from left-out photos and from what holds elsewhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.vision.fewshot.acceptance import LEAST_REJECTION, MOST_REJECTION, raised, rejection_threshold, temperature

Photo = tuple[float, bool, int]
PHOTOS = st.lists(st.tuples(st.floats(0.3, 1), st.booleans(), st.integers(0, 9)), max_size=30)
"""highest probability, whether the name is right, and the sequence"""


def threshold(photos: list[Photo]) -> float:
    best, right, sequences = zip(*photos, strict=True) if photos else ((), (), ())
    return rejection_threshold(np.array(best, float), np.array(right, bool), np.array(sequences, int))


@given(photos=PHOTOS, more=st.lists(st.tuples(st.floats(0.3, 1), st.just(True), st.integers(10, 40)), max_size=30))
def test_more_sequences_that_are_named_right_never_raise_the_threshold(photos: list[Photo], more: list[Photo]) -> None:
    assert threshold(photos + more) <= threshold(photos)


@given(photos=PHOTOS, more=st.lists(st.tuples(st.floats(0.3, 1), st.just(False), st.integers(10, 40)), max_size=30))
def test_more_mistakes_never_lower_the_threshold_below_them(photos: list[Photo], more: list[Photo]) -> None:
    least = min([p for p, _, _ in more], default=1.0)
    assert threshold(photos + more) >= min(threshold(photos), int(100 * least) / 100)


def test_the_threshold_starts_at_what_holds_elsewhere() -> None:
    assert threshold([]) == 0.6
    assert threshold([(0.99, True, number) for number in range(40)]) == LEAST_REJECTION
    assert threshold([(0.99, False, number) for number in range(40)]) == MOST_REJECTION
    assert threshold([(0.8, False, number) for number in range(4)]) == 0.81


def test_frames_of_one_item_count_once() -> None:
    many = [(0.9, False, 3)] * 25
    assert threshold(many) == threshold(many[:1])
    assert raised(1.0, np.full(25, 9.0), np.full(25, 3)) == raised(1.0, np.array([9.0]), np.array([3]))


NUMBERS = st.lists(st.tuples(st.floats(-50, 50), st.integers(0, 15)), max_size=40)


@given(tolerance=st.floats(-5, 5), found=NUMBERS, more=NUMBERS)
def test_no_further_photo_lowers_a_tolerance(tolerance: float, found: list[tuple[float, int]], more: list[tuple[float, int]]) -> None:
    before, after = (
        raised(tolerance, np.array([value for value, _ in values], float), np.array([sequence for _, sequence in values], int))
        for values in (found, found + more)
    )
    assert after >= before >= tolerance
    assert after <= max([tolerance, *(value for value, _ in found + more)])


def test_many_sequences_raise_a_tolerance_wholly_and_one_raises_it_little() -> None:
    numbers = np.arange(20)
    assert raised(2.0, np.full(20, 6.0), numbers) == pytest.approx(6.0)
    assert raised(2.0, np.where(numbers == 7, 6.0, 0.0), numbers) == pytest.approx(2.5)


@pytest.mark.parametrize(("sure", "expected"), [(True, (0.5, 1.0)), (False, (1.0, 8.0))])
def test_few_sequences_leave_the_temperature_near_1(sure: bool, expected: tuple[float, float]) -> None:
    logits = np.tile([[2.0, 0.0]], (40, 1))
    targets, weights = np.zeros(40, np.int64), np.ones(40)
    if not sure:
        targets[:20] = 1
    found = [temperature(logits, targets, weights, sequences) for sequences in (0, 2, 10, 40)]
    assert found[0] == 1.0
    assert sorted(found, reverse=sure) == found
    assert expected[0] <= min(found) and max(found) <= expected[1]
    assert abs(np.log(found[1])) < abs(np.log(found[3])) / 2
