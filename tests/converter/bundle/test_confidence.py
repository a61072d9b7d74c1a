"""Temperature and rejection threshold."""

import numpy as np
import pytest

from converter.bundle.confidence import LEAST_REJECTION, MOST_REJECTION, WANTED_RIGHT, choose_reject_below, choose_temperature
from converter.common.accuracy import Predictions
from device.vision.inference.classifier import softmax


def drawn(temperature: float, n: int = 1000) -> Predictions:
    """Logits that are calibrated at `temperature`: the labels are drawn from their probabilities."""
    rng = np.random.default_rng(8)
    logits = rng.normal(0, 4, (n, 4))
    chances = softmax(logits, temperature)
    return Predictions(logits, np.array([rng.choice(4, p=row) for row in chances]))


@pytest.mark.parametrize("true", [0.5, 2.0])
def test_the_true_temperature_is_found(true: float) -> None:
    assert choose_temperature(drawn(true)) == pytest.approx(true, rel=0.15)


def test_a_temperature_that_does_not_help_is_not_used() -> None:
    assert choose_temperature(drawn(1.0, n=10)) == 1.0


def test_the_threshold_is_the_lowest_that_is_accurate_enough() -> None:
    answers = drawn(1.0)
    threshold = choose_reject_below(answers, 1.0)
    best = softmax(answers.logits, 1.0).max(axis=1)
    assert LEAST_REJECTION < threshold < MOST_REJECTION
    assert answers.right[best >= threshold].mean() >= WANTED_RIGHT > answers.right[best >= threshold - 0.01].mean()


def test_the_threshold_stays_within_its_bounds() -> None:
    logits = np.tile([4.0, 0.0], (50, 1))
    assert choose_reject_below(Predictions(logits, np.zeros(50, int)), 1.0) == LEAST_REJECTION
    assert choose_reject_below(Predictions(logits, np.ones(50, int)), 1.0) == MOST_REJECTION
