"""The label prior: shares that the owner gives, shares that the bin learns, and probabilities reweighted with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.adaptation.label_prior import MOST_CHANGE, WINDOW_ITEMS, LabelPrior, SiteError, SiteSettings, estimate_shares, label_shares, reweight
from device.common.arrays import Float64Array

LABELS = ("can", "glass", "pet")
USUAL = np.array([0.2, 0.5, 0.3])

weights = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(lambda drawn: np.array(drawn) / sum(drawn))


def stream(mix: Float64Array, count: int, seed: int = 0, separation: float = 2.0) -> Float64Array:
    """Calibrated probabilities, under USUAL, of items whose labels are drawn from `mix`: one Gaussian a label on the corners of a triangle."""
    rng = np.random.default_rng(seed)
    corners = separation * np.eye(3)
    seen = corners[rng.choice(3, count, p=mix)] + rng.normal(size=(count, 3))
    likelihood = np.exp(-((seen[:, np.newaxis] - corners) ** 2).sum(axis=2) / 2) * USUAL
    return np.divide(likelihood, likelihood.sum(axis=1, keepdims=True))


@given(weights)
def test_calibration_shares_leave_probabilities_unchanged(p: Float64Array) -> None:
    assert reweight(p, USUAL, USUAL) == pytest.approx(p, abs=1e-8)


@given(weights, weights)
def test_absent_labels_get_zero_and_the_others_keep_their_ratios(p: Float64Array, usual: Float64Array) -> None:
    found = reweight(p, usual, label_shares(("can", "pet"), LABELS, usual))
    assert found[1] == 0
    assert found[0] / found[2] == pytest.approx(p[0] / p[2])
    assert found.sum() == pytest.approx(1)


def test_frequencies_may_be_in_any_unit() -> None:
    assert label_shares({"can": 30, "pet": 10}, LABELS, USUAL) == pytest.approx([0.75, 0, 0.25])
    assert label_shares((), LABELS, USUAL) == pytest.approx(USUAL)


@given(weights, st.floats(0, 0.5))
def test_others_share_is_divided_among_unnamed_labels(usual: Float64Array, others: float) -> None:
    found = label_shares({"pet": 3}, LABELS, usual, others)
    assert found.sum() == pytest.approx(1)
    assert found[2] == pytest.approx(1 - others)
    assert found[0] * usual[1] == pytest.approx(found[1] * usual[0])


def test_a_share_for_others_lets_a_sure_unnamed_label_win() -> None:
    surely_glass, rather_glass = np.array([0.004, 0.99, 0.006]), np.array([0.1, 0.7, 0.2])
    strict, wise = (LabelPrior(LABELS, USUAL, SiteSettings(labels=("can", "pet"), others=others)) for others in (0.0, 0.02))
    assert [int(strict.apply_prior(p).argmax()) for p in (surely_glass, rather_glass)] == [2, 2]
    assert [int(wise.apply_prior(p).argmax()) for p in (surely_glass, rather_glass)] == [1, 2]


def test_others_without_named_labels_is_refused() -> None:
    with pytest.raises(SiteError, match=r"others: 0\.02 .* no labels are named"):
        label_shares((), LABELS, USUAL, 0.02)
    with pytest.raises(SiteError, match=r"others: 0\.02 .* no labels are named"):
        SiteSettings(others=0.02)
    assert label_shares(LABELS, LABELS, USUAL, 0.02) == pytest.approx(USUAL)


def test_an_unknown_label_is_named_in_the_error() -> None:
    with pytest.raises(SiteError, match=r"labels: tin: .*can, glass, pet"):
        label_shares(("tin",), LABELS, USUAL)


@given(weights, st.integers(0, 100))
def test_true_shares_are_estimated_within_bounds(mix: Float64Array, seed: int) -> None:
    found = estimate_shares(stream(mix, 4000, seed), USUAL, USUAL)
    bounded = np.clip(mix, USUAL / MOST_CHANGE, USUAL * MOST_CHANGE)
    assert found == pytest.approx(bounded / bounded.sum(), abs=0.06)


def test_a_learned_prior_raises_accuracy() -> None:
    mix, rng = np.array([0.8, 0.05, 0.15]), np.random.default_rng(1)
    truth = rng.choice(3, 2000, p=mix)
    seen = 1.5 * np.eye(3)[truth] + rng.normal(size=(2000, 3))
    likelihood = np.exp(-((seen[:, np.newaxis] - 1.5 * np.eye(3)) ** 2).sum(axis=2) / 2) * USUAL
    p = likelihood / likelihood.sum(axis=1, keepdims=True)
    prior = LabelPrior(LABELS, USUAL, SiteSettings(learn=True))
    for row in p[:200]:
        prior.observe(row)
    before, after = (p[200:].argmax(axis=1) == truth[200:]).mean(), (prior.apply_prior(p[200:]).argmax(axis=1) == truth[200:]).mean()
    assert after > before + 0.05


@given(st.lists(weights, min_size=1, max_size=50), weights)
def test_estimated_shares_stay_within_bounds(items: list[Float64Array], expected: Float64Array) -> None:
    found = estimate_shares(np.stack(items), USUAL, expected)
    assert found.sum() == pytest.approx(1)
    assert (found >= expected / MOST_CHANGE - 1e-9).all() and (found <= expected * MOST_CHANGE + 1e-9).all()


def test_a_label_the_owner_left_out_is_never_learned() -> None:
    prior = LabelPrior(LABELS, USUAL, SiteSettings(labels=("can", "pet"), learn=True))
    for row in stream(np.array([0.0, 1.0, 0.0]), 300):
        prior.observe(row)
    assert prior.shares["glass"] == 0


def test_shares_stay_fixed_without_learn() -> None:
    prior = LabelPrior(LABELS, USUAL, SiteSettings(labels={"can": 3, "pet": 1}))
    for row in stream(np.array([0.0, 0.0, 1.0]), 100):
        prior.observe(row)
    assert prior.shares == {"can": 0.75, "glass": 0, "pet": 0.25}


def test_learned_shares_survive_a_restart_and_old_items_drop_out() -> None:
    before, after = (LabelPrior(LABELS, USUAL, SiteSettings(learn=True)) for _ in range(2))
    for row in stream(np.array([0.9, 0.05, 0.05]), WINDOW_ITEMS + 50):
        before.observe(row)
    after.restore(before.export())
    assert after.shares == before.shares
    assert len(after.export()) == WINDOW_ITEMS
    with pytest.raises(ValueError, match="3 labels"):
        after.restore(np.ones((4, 2)))
