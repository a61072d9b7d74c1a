"""Mixup and CutMix: targets match the mixed pictures."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.fit.mixup import Batch, cutmix, mixup


def batch(size: int) -> Batch:
    """Four plain pictures of different labels and brightnesses."""
    inputs = np.stack([np.full((size, size, 3), value, np.float32) for value in (-1.0, -0.5, 0.5, 1.0)])
    return Batch(inputs, np.eye(4, dtype=np.float32), np.array([1, 2, 3, 4], np.float32))


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), alpha=st.floats(0.05, 4.0), size=st.sampled_from([16, 32]), how=st.sampled_from([mixup, cutmix]))
def test_mixed_brightness_matches_the_mixed_targets(
    seed: int, alpha: float, size: int, how: Callable[[Batch, float, np.random.Generator], Batch]
) -> None:
    mixed = how(batch(size), alpha, np.random.default_rng(seed))
    np.testing.assert_allclose(mixed.targets.sum(axis=1), 1.0, rtol=1e-5)
    wanted = mixed.targets @ np.array([-1.0, -0.5, 0.5, 1.0])
    np.testing.assert_allclose(mixed.inputs.mean(axis=(1, 2, 3)), wanted, atol=1e-4)
    np.testing.assert_allclose(mixed.weights, mixed.targets @ np.array([1.0, 2.0, 3.0, 4.0]), rtol=1e-4)


def test_cutmix_pastes_one_rectangle_into_a_copy() -> None:
    before = batch(32)
    mixed = cutmix(before, 1.0, np.random.default_rng(3))
    assert set(np.unique(mixed.inputs[0])) <= {-1.0, 1.0}
    np.testing.assert_array_equal(before.inputs, batch(32).inputs)
    assert mixed.targets[0].max() < 1 or mixed.inputs[0].std() == pytest.approx(0)
