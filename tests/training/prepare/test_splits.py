"""Pictures shared out over splits and folds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.prepare.splits import share_out

SHARES = st.lists(st.integers(1, 10), min_size=2, max_size=5).map(lambda weights: [weight / sum(weights) for weight in weights])
GROUPS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), min_size=1, max_size=60)
"""for each group its label and size"""


def laid_out(groups: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Group and label of each picture, shuffled."""
    pictures = np.array([(number, label) for number, (label, size) in enumerate(groups) for _ in range(size)])
    return tuple(np.random.default_rng(len(groups)).permutation(pictures).T)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), min_size=1, max_size=200), SHARES, st.integers(0, 5))
@settings(max_examples=60)
def test_no_group_straddles_and_every_picture_has_a_part(pictures: list[tuple[int, int]], shares: list[float], seed: int) -> None:
    groups, labels = np.array(pictures).T
    parts = share_out(groups, labels, shares, seed)
    assert len(parts) == len(pictures)
    assert set(parts.tolist()) <= set(range(len(shares)))
    for group in set(groups.tolist()):
        assert len(set(parts[groups == group].tolist())) == 1


@given(GROUPS, SHARES, st.integers(0, 5))
@settings(max_examples=60)
def test_a_part_exceeds_its_share_by_less_than_one_group(sizes: list[tuple[int, int]], shares: list[float], seed: int) -> None:
    groups, labels = laid_out(sizes)
    parts = share_out(groups, labels, shares, seed)
    for label in set(labels.tolist()):
        largest = max(size for own, size in sizes if own == label)
        for part, share in enumerate(shares):
            of_label = int(((labels == label) & (parts == part)).sum())
            assert of_label - share * int((labels == label).sum()) < largest


@given(GROUPS, st.integers(0, 5))
@settings(max_examples=30)
def test_parts_depend_on_pictures_and_seed_not_on_label_numbers(sizes: list[tuple[int, int]], seed: int) -> None:
    groups, labels = laid_out(sizes)
    parts = share_out(groups, labels, [0.7, 0.3], seed)
    assert np.array_equal(share_out(groups.copy(), labels * 7 + 3, [0.7, 0.3], seed), parts)


def test_seeds_draw_different_parts() -> None:
    groups, labels = np.arange(60), np.zeros(60, np.int64)
    drawn = {tuple(share_out(groups, labels, [0.5, 0.5], seed).tolist()) for seed in range(6)}
    assert len(drawn) == 6


@pytest.mark.parametrize("shares", [[0.85, 0.15], [0.7, 0.15, 0.15], [0.9, 0.05, 0.05]])
def test_single_pictures_are_shared_out_to_the_nearest_whole(shares: list[float]) -> None:
    labels = np.repeat([0, 1, 2], [200, 60, 40])
    parts = share_out(np.arange(300), labels, shares, 1)
    for label in range(3):
        counts = np.bincount(parts[labels == label], minlength=len(shares))
        assert np.abs(counts - np.array(shares) * (labels == label).sum()).max() <= 1


def test_one_picture_is_for_training_the_second_for_validation() -> None:
    labels = np.array([0] * 50 + [1] + [2, 2] + [3] * 30)
    parts = share_out(np.arange(len(labels)), labels, [0.85, 0.15], 4)
    assert parts[labels == 1].tolist() == [0]
    assert sorted(parts[labels == 2].tolist()) == [0, 1]


def test_single_pictures_of_many_labels_spread_over_the_folds() -> None:
    parts = share_out(np.arange(40), np.arange(40), [0.25] * 4, 0)
    assert np.bincount(parts).tolist() == [10, 10, 10, 10]
