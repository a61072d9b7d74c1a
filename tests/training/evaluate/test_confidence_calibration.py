"""Reliability and temperature."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from converter.common.accuracy import Predictions
from device.vision.inference.classifier import softmax
from training.evaluate.confidence_calibration import calibrate, cross_fit, reliability


def overconfident(times: float, photos: int = 600) -> Predictions:
    """Logits that are calibrated when divided by `times`."""
    rng = np.random.default_rng(4)
    honest = rng.normal(0, 1.5, (photos, 4))
    drawn = (softmax(honest, 1.0).cumsum(axis=1) > rng.random((photos, 1))).argmax(axis=1)
    return Predictions(honest * times, drawn)


def test_expected_calibration_error_matches_a_hand_calculation() -> None:
    rows = np.array([[0.9, 0.1]] * 4 + [[0.55, 0.45]] * 2)
    found = reliability(rows, np.array([0, 0, 0, 1, 0, 1]))
    assert found.ece == pytest.approx((4 * abs(0.9 - 0.75) + 2 * abs(0.55 - 0.5)) / 6)
    assert [(entry.accuracy.right, entry.accuracy.n) for entry in found.bins] == [(1, 2), (3, 4)]
    assert found.nll == pytest.approx(log_loss([0, 0, 0, 1, 0, 1], rows, labels=[0, 1]))


@settings(max_examples=30)
@given(st.lists(st.floats(0.34, 1.0), min_size=1, max_size=40), st.integers(0, 99))
def test_every_photo_is_in_the_bin_of_its_confidence(confidences: list[float], seed: int) -> None:
    rows = np.array([[p, (1 - p) / 2, (1 - p) / 2] for p in confidences])
    found = reliability(rows, np.random.default_rng(seed).integers(0, 3, len(rows)))
    assert sum(entry.accuracy.n for entry in found.bins) == len(rows) == found.n
    assert all(entry.low <= entry.confidence + 1e-12 and entry.confidence <= entry.high + 1e-12 for entry in found.bins)
    assert 0 <= found.ece <= 1


def test_a_confidence_on_an_edge_is_in_the_bin_below_it() -> None:
    edge = float(np.linspace(0, 1, 16)[9])
    (found,) = reliability(np.array([[edge, 1 - edge]]), np.array([0])).bins
    assert found.high == edge


def test_a_temperature_calibrates_overconfident_predictions() -> None:
    found = calibrate(overconfident(5), None)
    assert found.source == "fitted"
    assert found.temperature == pytest.approx(5, rel=0.15)
    assert found.after.ece < found.before.ece / 3
    assert found.after.nll < found.before.nll
    assert found.after.n == found.before.n == 600


def test_a_bundle_is_judged_by_its_own_temperature() -> None:
    answers = overconfident(2)
    found = calibrate(answers, 3.0)
    assert (found.temperature, found.source) == (3.0, "bundle")
    assert found.after.nll == pytest.approx(answers.nll(3.0))
    assert found.before.nll == pytest.approx(answers.nll())


def test_no_photo_is_judged_by_a_temperature_fitted_on_it() -> None:
    answers = overconfident(3, photos=40)
    before = cross_fit(answers)
    spoiled = answers.logits.copy()
    spoiled[7] *= -9
    after = cross_fit(Predictions(spoiled, answers.targets))
    by_label = np.argsort(answers.targets, kind="stable").tolist()
    fold = by_label[by_label.index(7) % 5 :: 5]
    others = [index for index in fold if index != 7]
    np.testing.assert_array_equal(after[others], before[others])
    assert not np.allclose(np.delete(after, fold, axis=0), np.delete(before, fold, axis=0))


def test_a_single_photo_gets_no_temperature() -> None:
    answers = Predictions(np.array([[2.0, 0.0]]), np.array([0]))
    np.testing.assert_allclose(cross_fit(answers), softmax(answers.logits, 1.0))
