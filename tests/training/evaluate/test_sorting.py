"""The choice of bins and its cost."""

import numpy as np
import pytest

from device.policy.decision import Evidence, decide
from device.policy.rules import find_rules, read_rules
from device.vision.inference.classifier import softmax
from training.evaluate.sorting import measure_sorting

LABELS = ("cardboard", "glass", "metal", "paper", "plastic", "trash")
PACK = read_rules(find_rules("trashnet"), LABELS)


def sure(*named: str) -> np.ndarray:
    return 0.96 * np.eye(6)[[LABELS.index(label) for label in named]] + 0.04 / 6


def targets(*labels: str) -> np.ndarray:
    return np.array([LABELS.index(label) for label in labels])


def test_costs_and_flows_follow_the_rule_pack() -> None:
    rows = np.concatenate([sure("cardboard", "paper", "paper", "metal"), np.full((1, 6), 1 / 6)])
    found = measure_sorting(rows, targets("paper", "paper", "glass", "metal", "plastic"), LABELS, PACK, 0.5)
    assert found.decided.right.right == 3, "cardboard and paper share a bin, and the unsure item is no bin's own"
    assert found.decided.mean_cost == pytest.approx((0 + 0 + 3.0 + 0 + 0.4) / 5)
    assert found.contamination is not None and (found.contamination.right, found.contamination.n) == (1, 4)
    bins = {entry.bin: entry for entry in found.bins}
    assert bins["paper"].purity is not None and bins["paper"].purity.share == pytest.approx(2 / 3)
    assert bins["plastic"].residual is not None and bins["plastic"].residual.share == 1.0
    assert bins["trash"].right is None and bins["trash"].residual is None
    assert bins["glass"].purity is None
    assert np.array(found.flows).sum() == 5


def test_all_residual_costs_what_the_pack_says() -> None:
    found = measure_sorting(sure("glass", "trash"), targets("glass", "trash"), LABELS, PACK, 0.5)
    assert found.all_residual.mean_cost == pytest.approx(0.2)
    assert found.all_residual.right.right == 1
    assert found.decided.mean_cost == 0.0
    assert [entry.residual for entry in found.bins if entry.bin == "trash"] == [None], "what belongs there is not lost"


def test_decisions_match_the_device() -> None:
    rng = np.random.default_rng(0)
    rows = softmax(rng.normal(0, 2, (200, 6)), 1.0)
    truth = rng.integers(0, 6, 200)
    found = measure_sorting(rows, truth, LABELS, PACK, 0.7)
    names = list(PACK.bins)
    flows = np.zeros((len(names), len(names)), int)
    for row, target in zip(rows, truth, strict=True):
        chosen = decide(Evidence(row), LABELS, PACK, reject_below=0.7).bin
        flows[names.index(PACK.bin_of(LABELS[target])), names.index(chosen)] += 1
    assert found.flows == flows.tolist()
    assert found.decided.right.right == np.trace(flows)
