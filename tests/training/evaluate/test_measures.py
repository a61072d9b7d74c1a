"""Measures against hand calculations and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_fscore_support, recall_score, top_k_accuracy_score

from converter.common.accuracy import Predictions
from training.evaluate.measures import confused_pairs, entropy_bits, mean_of_labels, per_label, proportion, share_if_any, top_k


def drawn(seed: int, photos: int = 120, labels: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that favour the true label a little, and the true labels."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, labels, photos)
    logits = rng.normal(size=(photos, labels)) + 1.2 * np.eye(labels)[targets]
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True), targets


def test_a_proportion_has_n_and_a_wilson_interval() -> None:
    found = proportion(8, 10)
    assert (found.share, found.right, found.n) == (0.8, 8, 10)
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert str(found) == "0.8000 (8 of 10, 95 % interval 0.490 to 0.943)"
    assert share_if_any(0, 0) is None


@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k_matches_scikit_learn(k: int) -> None:
    probabilities, targets = drawn(1)
    found = top_k(probabilities, targets, k)
    assert found.share == pytest.approx(top_k_accuracy_score(targets, probabilities, k=k, labels=range(5)))
    assert found.n == 120


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_top_k_rises_with_k_to_1(seed: int) -> None:
    probabilities, targets = drawn(seed, 30, 4)
    shares = [top_k(probabilities, targets, k).share for k in (1, 2, 3, 4)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert shares[0] == (probabilities.argmax(axis=1) == targets).mean()


def test_precision_recall_and_f1_match_scikit_learn() -> None:
    probabilities, targets = drawn(2)
    named = probabilities.argmax(axis=1)
    found = per_label(probabilities, targets, list("abcde"))
    precision, recall, f1, support = precision_recall_fscore_support(targets, named)
    assert [entry.precision.share for entry in found if entry.precision] == pytest.approx(list(precision))
    assert [entry.recall.share for entry in found if entry.recall] == pytest.approx(list(recall))
    assert [entry.f1 for entry in found] == pytest.approx(list(f1))
    assert [entry.n for entry in found] == list(support)
    assert mean_of_labels([entry.f1 for entry in found]) == pytest.approx(f1_score(targets, named, average="macro"))
    recalls = [entry.recall.share for entry in found if entry.recall]
    assert mean_of_labels(recalls) == pytest.approx(recall_score(targets, named, average="macro"))


def test_a_label_without_photos_or_predictions_has_none() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.7, 0.2, 0.1]])
    never, missing = per_label(probabilities, np.array([0, 1]), ["a", "b", "c"])[1:]
    assert never.precision is None and never.recall == proportion(0, 1) and never.f1 == 0.0
    assert missing.precision is None and missing.recall is None and missing.f1 is None and missing.entropy_bits is None
    assert mean_of_labels([1.0, None, 0.0]) == 0.5


def test_entropy_is_0_when_certain_and_largest_when_uniform() -> None:
    rows = np.array([[1.0, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]])
    assert entropy_bits(rows) == pytest.approx([0, 2, 1])


def test_confused_pairs_sum_to_all_mistakes() -> None:
    confusion = np.array([[5, 2, 0], [4, 7, 1], [0, 0, 3]])
    first, second = confused_pairs(confusion, ["towel", "pad", "router"])
    assert (first.first, first.second, first.first_as_second, first.second_as_first) == ("towel", "pad", 2, 4)
    assert (second.first, second.second, second.total) == ("pad", "router", 1)
    probabilities, targets = drawn(3)
    answers = Predictions(np.log(probabilities), targets)
    assert sum(pair.total for pair in confused_pairs(answers.confusion(), list("abcde"))) == (~answers.right).sum()
