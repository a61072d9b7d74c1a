"""Conformal sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.vision.inference.classifier import softmax
from training.evaluate.conformal import conformal_sets, least_probability


def drawn(seed: int, photos: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 6, photos)
    return softmax(rng.normal(size=(photos, 6)) + 1.5 * np.eye(6)[targets], 1.0), targets


def test_the_least_probability_is_the_finite_sample_quantile() -> None:
    of_truth = np.arange(1, 10) / 10
    rows = np.column_stack([of_truth, 1 - of_truth])
    targets = np.zeros(9, int)
    assert least_probability(rows, targets, 0.1) == pytest.approx(0.1)
    assert least_probability(rows, targets, 0.25) == pytest.approx(0.2)
    assert least_probability(rows, targets, 0.05) == 0.0, "nine photos can promise no 95 %"


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_conformal_sets_have_the_promised_coverage(alpha: float) -> None:
    found = conformal_sets(*drawn(0, 3000), alpha)
    assert found.coverage.share == pytest.approx(1 - alpha, abs=0.02)
    assert found.coverage.n == 3000


@settings(max_examples=20)
@given(st.integers(0, 999), st.integers(1, 60))
def test_set_sizes_sum_to_the_number_of_photos(seed: int, photos: int) -> None:
    found = conformal_sets(*drawn(seed, photos), 0.1)
    assert sum(found.sizes) == photos
    assert sum(size * count for size, count in enumerate(found.sizes)) == pytest.approx(found.mean_size * photos)


def test_a_higher_coverage_needs_larger_sets() -> None:
    rows, targets = drawn(3, 400)
    sizes = [conformal_sets(rows, targets, alpha).mean_size for alpha in (0.3, 0.1, 0.02)]
    assert sizes == sorted(sizes)
