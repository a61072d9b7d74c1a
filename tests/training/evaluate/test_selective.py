"""Risk against coverage, and thresholds."""

import numpy as np
import pytest
from scipy.stats import binom

from training.evaluate import selective as module
from training.evaluate.selective import risk_coverage, thin_curve


def rows(confidences: list[float]) -> np.ndarray:
    return np.array([[p, 1 - p] for p in confidences])


def test_the_curve_goes_from_the_most_certain_photo_to_all() -> None:
    found = risk_coverage(rows([0.7, 0.9, 0.6, 0.8]), np.array([1, 0, 0, 0]), wanted_error=0.3)
    assert [(point.threshold, point.coverage.share, point.risk.right) for point in found.curve] == [
        (0.9, 0.25, 0),
        (0.8, 0.5, 0),
        (0.7, 0.75, 1),
        (0.6, 1.0, 1),
    ]
    assert found.aurc == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)
    assert found.n == 4


@pytest.mark.parametrize(("wanted", "coverage"), [(0.26, 1.0), (0.1, 0.5)])
def test_the_largest_coverage_within_the_error_is_reached(wanted: float, coverage: float) -> None:
    found = risk_coverage(rows([0.7, 0.9, 0.6, 0.8]), np.array([1, 0, 0, 0]), wanted_error=wanted)
    assert found.reached is not None
    assert found.reached.coverage.share == coverage


def test_equal_probabilities_are_accepted_together() -> None:
    found = risk_coverage(rows([0.9, 0.9, 0.9, 0.6]), np.array([0, 1, 0, 0]), wanted_error=0.02)
    assert [point.coverage.right for point in found.curve] == [3, 4]
    assert found.reached is None


def test_a_guarantee_needs_enough_photos() -> None:
    few, enough = (risk_coverage(rows([0.99 - 1e-4 * i for i in range(n)]), np.zeros(n, int), wanted_error=0.02) for n in (148, 149))
    assert few.promised is None
    assert enough.promised is not None and enough.promised.coverage.share == 1.0


def test_guarantees_hold_in_more_than_19_of_20_draws() -> None:
    rng = np.random.default_rng(1)
    broken = 0
    for _ in range(200):
        confidence = rng.uniform(0.5, 1, 400)
        wrong = rng.random(400) > confidence
        found = risk_coverage(rows(confidence.tolist()), wrong.astype(int), wanted_error=0.15)
        if found.promised is not None:
            true_risk = (1 - found.promised.threshold) / 2
            broken += true_risk > 0.15
    assert broken <= 20


def test_the_binomial_test_is_exact() -> None:
    for errors, n, rate in ((0, 10, 0.1), (3, 50, 0.02), (7, 300, 0.05)):
        assert module._chance_of_so_few(errors, n, rate) == pytest.approx(binom.cdf(errors, n, rate))


def test_a_thinned_curve_keeps_its_ends() -> None:
    curve = risk_coverage(rows(np.linspace(0.5, 0.99, 700).tolist()), np.zeros(700, int), wanted_error=0.02).curve
    thin = thin_curve(curve, 50)
    assert len(thin) == 50
    assert (thin[0], thin[-1]) == (curve[0], curve[-1])
    assert thin_curve(thin, 50) == thin
