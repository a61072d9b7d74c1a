"""Measures of predictions for labelled photos."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.common.accuracy import Predictions, agreement, kl_divergence
from device.common.statistics import wilson_interval

ANSWERS = Predictions(np.array([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), np.array([0, 1, 0, 0]))


def test_accuracy_recall_and_confusion_agree() -> None:
    assert ANSWERS.accuracy == 0.75
    assert ANSWERS.recall() == [2 / 3, 1.0, None]
    assert ANSWERS.confusion().tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_nll_matches_the_softmax() -> None:
    by_hand = -np.mean([np.log(np.exp(v) / (np.exp(v) + np.exp(u) + 1)) for v, u in ((2, 0), (3, 0), (0, 1), (1, 0))])
    assert ANSWERS.nll() == pytest.approx(by_hand)
    assert Predictions(2 * ANSWERS.logits, ANSWERS.targets).nll(2.0) == pytest.approx(ANSWERS.nll())


def test_agreement_counts_equal_predictions() -> None:
    other = Predictions(ANSWERS.logits[:, [1, 0, 2]], ANSWERS.targets)
    assert agreement(ANSWERS, ANSWERS) == 1.0
    assert agreement(ANSWERS, other) == 0.0


@pytest.mark.parametrize(("right", "n", "low", "high"), [(0, 10, 0.0, 0.2775), (95, 100, 0.8882, 0.9785), (10, 10, 0.7225, 1.0)])
def test_wilson_intervals_match_published_values(right: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(right, n) == pytest.approx((low, high), abs=1e-4)


@settings(max_examples=50)
@given(st.lists(st.lists(st.floats(-20, 20), min_size=3, max_size=3), min_size=1, max_size=5), st.floats(-5, 5))
def test_divergence_is_zero_for_equal_probabilities_and_never_negative(rows: list[list[float]], shift: float) -> None:
    logits = np.array(rows)
    assert kl_divergence(logits, logits + shift) == pytest.approx(0, abs=1e-9)
    assert kl_divergence(logits, logits[:, ::-1]) >= -1e-12
