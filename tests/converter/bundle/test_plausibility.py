"""Remarks on labels in another order and on networks at chance, and none on good networks."""

import numpy as np
import pytest

from converter.bundle.plausibility import plausibility_remarks
from converter.common.accuracy import Predictions, mcnemar_p

LABELS = ("battery", "can", "jar", "tin")


def answers(right: float, photos: int = 80, order: tuple[int, ...] = (0, 1, 2, 3), seed: int = 0) -> Predictions:
    """Predictions of which a share `right` is right and the others are guesses. Output i stands for label `order[i]`."""
    rng = np.random.default_rng(seed)
    targets = np.arange(photos) % len(LABELS)
    named = np.where(rng.random(photos) < right, np.argsort(order)[targets], rng.integers(0, len(LABELS), photos))
    return Predictions(np.eye(len(LABELS))[named] * 4.0, targets)


def test_a_good_network_has_no_remark() -> None:
    assert not list(plausibility_remarks(answers(0.9), LABELS))


@pytest.mark.parametrize("order", [(1, 0, 3, 2), (3, 0, 1, 2)])
def test_labels_in_another_order_are_named(order: tuple[int, ...]) -> None:
    (line,) = plausibility_remarks(answers(0.8, order=order), LABELS)
    assert f"in the order {', '.join(LABELS[number] for number in order)}: is the file of labels in another order?" in line


def test_a_network_at_chance_is_remarked() -> None:
    (line,) = plausibility_remarks(answers(0.0), LABELS)
    assert "no better than to say" in line


def test_random_guesses_are_not_taken_for_another_order() -> None:
    lines = [line for seed in range(200) for line in plausibility_remarks(answers(0.0, photos=40, seed=seed), LABELS)]
    assert lines and not [line for line in lines if "another order" in line]


def test_always_predicting_the_most_frequent_label_is_chance() -> None:
    targets = np.array([0] * 60 + [1] * 20)
    (line,) = plausibility_remarks(Predictions(np.tile([1.0, 0.0], (80, 1)), targets), LABELS[:2])
    assert "right on 0.75 of 80 photos, no better than to say battery always (0.75)" in line


def test_p_values_are_those_of_mcnemars_exact_test() -> None:
    one, other = np.array([True] * 6 + [False, True]), np.array([False] * 6 + [False, True])
    assert mcnemar_p(one, other) == pytest.approx(2 / 2**6)
    assert mcnemar_p(one, one) == 1.0
