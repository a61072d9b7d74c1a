"""The choice of a bin: expected cost, thresholds, hazards, several things, closed bins."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.common.arrays import Float64Array
from device.policy import decision
from device.policy.decision import Choice, Evidence, SuspectedHazard
from device.policy.rules import RulePack, find_rules, read_rules

LABELS = ("cardboard", "glass", "metal", "paper", "plastic", "trash")
TRASHNET = read_rules(find_rules("trashnet"), LABELS)
BINS = tuple(TRASHNET.bins)


def sure(**shares: float) -> Float64Array:
    """Probabilities of the labels named; what is left goes to all labels evenly."""
    rest = (1 - sum(shares.values())) / len(LABELS)
    return np.array([shares.get(label, 0) + rest for label in LABELS])


def decide(posterior: Float64Array, labels: tuple[str, ...], rules: RulePack, *, unknown: bool = False, **more: Any) -> Choice:
    """Choose a bin for an item of which nothing but its posterior is known."""
    return decision.decide(Evidence(posterior, unknown=unknown), labels, rules, **more)


def pack(tmp_path: Path, bins: dict[str, list[str]], cost: str = "", top: str = "") -> RulePack:
    text = 'name = "test"\nversion = "1"\nresidual = "rest"\n' + top
    text += "".join(f"[bins.{name}]\nlabels = {labels}\n" for name, labels in {"rest": [], **bins}.items())
    (tmp_path / "pack.toml").write_text(text + cost, encoding="utf-8")
    return read_rules(tmp_path / "pack.toml", tuple(label for labels in bins.values() for label in labels))


@st.composite
def posteriors(draw: st.DrawFn, labels: int = len(LABELS)) -> Float64Array:
    weights = draw(st.lists(st.integers(0, 1000), min_size=labels, max_size=labels).filter(any))
    return np.array(weights) / sum(weights)


def test_an_unknown_item_goes_to_the_residual_bin() -> None:
    choice = decide(sure(metal=0.99), LABELS, TRASHNET, reject_below=0.5, unknown=True)
    assert (choice.bin, choice.label, choice.reason) == (TRASHNET.residual, "metal", "unknown")


def test_a_clear_item_goes_to_its_bin() -> None:
    choice = decide(sure(metal=0.97), LABELS, TRASHNET, reject_below=0.5)
    assert (choice.bin, choice.label, choice.reason) == ("metal", "metal", "confident")
    assert choice.p == pytest.approx(0.975) and choice.p_bin == pytest.approx(0.975)
    assert choice.expected_cost == pytest.approx(5 * 0.005 * 1.0)


def test_labels_of_one_bin_count_together() -> None:
    choice = decide(sure(cardboard=0.4, paper=0.35, trash=0.2), LABELS, TRASHNET, reject_below=0.6)
    assert (choice.bin, choice.label, choice.reason) == ("paper", "cardboard", "confident")
    assert choice.p_bin > 0.75 > choice.p


def test_a_bin_may_win_without_the_likeliest_label() -> None:
    choice = decide(sure(metal=0.34, cardboard=0.33, paper=0.33), LABELS, TRASHNET, reject_below=0.5)
    assert (choice.bin, choice.label) == ("paper", "metal")


def test_recognised_trash_is_no_rejection() -> None:
    choice = decide(sure(trash=0.9), LABELS, TRASHNET, reject_below=0.5)
    assert (choice.bin, choice.reason) == ("trash", "confident")


def test_an_unsure_item_goes_to_the_residual_bin() -> None:
    choice = decide(sure(metal=0.5), LABELS, TRASHNET, reject_below=0.6)
    assert (choice.bin, choice.label, choice.reason) == ("trash", "metal", "unsure")
    assert decide(sure(metal=0.58), LABELS, TRASHNET, reject_below=0.6).bin == "metal"


def test_guessed_trash_is_unsure() -> None:
    assert decide(sure(trash=0.3), LABELS, TRASHNET, reject_below=0.6).reason == "unsure"


def test_a_costly_mistake_tips_the_choice_to_the_residual_bin() -> None:
    doubtful = sure(paper=0.7, glass=0.3)
    choice = decide(doubtful, LABELS, TRASHNET, reject_below=0.5)
    assert (choice.bin, choice.reason) == ("trash", "unsure")
    assert choice.expected_cost == pytest.approx(0.4)
    assert decide(sure(paper=0.7, metal=0.3), LABELS, TRASHNET, reject_below=0.5).bin == "paper"


def test_a_fair_chance_of_a_hazard_is_enough_for_its_bin() -> None:
    labels = ("厨余垃圾_薯条", "有害垃圾_药片")
    four = read_rules(find_rules("four-bins"), labels)
    assert decide(np.array([0.7, 0.3]), labels, four, reject_below=0.5).bin == "hazardous"
    assert decide(np.array([0.99, 0.01]), labels, four, reject_below=0.5).bin == "kitchen"


@pytest.fixture
def guarded(tmp_path: Path) -> Callable[[str], RulePack]:
    """`guarded("above = 0.1")`: TrashNet's pack with metal as a hazard, and these lines in its [hazard]."""

    def make(lines: str) -> RulePack:
        text = find_rules("trashnet").read_text(encoding="utf-8").replace("[bins.paper]", f'hazards = ["metal"]\n[hazard]\n{lines}\n[bins.paper]')
        (tmp_path / "guarded.toml").write_text(text, encoding="utf-8")
        return read_rules(tmp_path / "guarded.toml", LABELS)

    return make


def test_a_hazard_is_held_above_the_bound_only(guarded: Callable[[str], RulePack]) -> None:
    rules = guarded("above = 0.2")
    choice = decide(sure(glass=0.7, metal=0.25), LABELS, rules, reject_below=0.5)
    assert (choice.bin, choice.held, choice.reason, choice.label) == ("", True, "hazard", "glass")
    assert choice.hazard is not None and choice.hazard.label == "metal" and choice.hazard.p == pytest.approx(0.25 + 0.05 / 6)
    below = decide(sure(glass=0.8, metal=0.15), LABELS, rules, reject_below=0.5)
    assert (below.bin, below.held, below.reason, below.hazard) == ("glass", False, "confident", None)


def test_a_hazard_goes_to_the_bin_that_the_pack_names(guarded: Callable[[str], RulePack]) -> None:
    choice = decide(sure(glass=0.7, metal=0.25), LABELS, guarded('into = "trash"'), reject_below=0.5)
    assert (choice.bin, choice.held, choice.reason) == ("trash", False, "hazard")
    assert choice.expected_cost == pytest.approx(0.4 * (1 - 0.05 / 6))


def test_a_hazard_in_its_own_bin_is_sorted_and_reported(guarded: Callable[[str], RulePack]) -> None:
    choice = decide(sure(metal=0.97), LABELS, guarded('into = "metal"'), reject_below=0.5)
    assert (choice.bin, choice.reason) == ("metal", "confident")
    assert choice.hazard == SuspectedHazard("metal", pytest.approx(0.975))


@pytest.mark.parametrize("more", [{"unknown": True}, {"reject_below": 0.99}])
def test_unknown_and_unsure_items_may_be_hazards(guarded: Callable[[str], RulePack], more: dict[str, Any]) -> None:
    choice = decide(sure(metal=0.5, glass=0.4), LABELS, guarded("above = 0.1"), **({"reject_below": 0.5} | more))
    assert (choice.held, choice.reason) == (True, "hazard")


def test_the_label_prior_rules_out_no_hazard(guarded: Callable[[str], RulePack]) -> None:
    """Where the owner lists the labels that occur, a hazard among the others has no share; the frames alone say what it is."""
    before_prior, here = sure(metal=0.6, glass=0.3), sure(glass=1.0)
    choice = decision.decide(Evidence(here, before_prior), LABELS, guarded("above = 0.3"), reject_below=0.5)
    assert choice.held and choice.hazard is not None and choice.hazard.label == "metal"


def test_a_hazard_whose_bin_is_closed_is_held(guarded: Callable[[str], RulePack]) -> None:
    """Safe mode closes every bin but the residual one."""
    closed = dict.fromkeys(BINS, "safe_mode")
    assert decide(sure(metal=0.97), LABELS, guarded('into = "metal"'), reject_below=0.5, closed=closed).held
    assert decide(sure(metal=0.97), LABELS, guarded('into = "trash"'), reject_below=0.5, closed=closed).bin == "trash"


def test_probabilities_of_all_hazards_add_up(tmp_path: Path) -> None:
    labels = ("厨余垃圾_薯条", "有害垃圾_药片", "有害垃圾_干电池")
    four = read_rules(find_rules("four-bins"), labels)
    choice = decide(np.array([0.86, 0.06, 0.08]), labels, four, reject_below=0.5)
    assert (choice.bin, choice.reason) == ("hazardous", "hazard")
    assert choice.hazard == SuspectedHazard("有害垃圾_干电池", pytest.approx(0.14))
    assert decide(np.array([0.96, 0.02, 0.02]), labels, four, reject_below=0.5).bin == "kitchen"


def test_pieces_for_two_bins_are_several_things() -> None:
    evidence = Evidence(sure(metal=0.98), pieces=(sure(metal=0.98), sure(glass=0.98)))
    choice = decision.decide(evidence, LABELS, TRASHNET, reject_below=0.5)
    assert (choice.bin, choice.label, choice.reason) == ("trash", "metal", "several")
    unknown = decision.decide(replace(evidence, unknown=True), LABELS, TRASHNET, reject_below=0.5)
    assert unknown.reason == "several", "of two things together, the whole is like nothing known"


@pytest.mark.parametrize("other", [{"metal": 0.98}, {"glass": 0.6, "metal": 0.3}, {}])
def test_pieces_that_may_share_a_bin_are_one_thing(other: dict[str, float]) -> None:
    evidence = Evidence(sure(metal=0.98), pieces=(sure(metal=0.9), sure(**other)))
    choice = decision.decide(evidence, LABELS, TRASHNET, reject_below=0.5)
    assert (choice.bin, choice.reason) == ("metal", "confident")


@pytest.mark.parametrize(("gap", "reason"), [(0.0, "several"), (0.05, "confident"), (0.2, "several")])
def test_near_pieces_need_a_higher_probability(gap: float, reason: str) -> None:
    evidence = Evidence(sure(metal=0.98), pieces=(sure(metal=0.95), sure(glass=0.9, metal=0.05)), gap=gap)
    assert decision.decide(evidence, LABELS, TRASHNET, reject_below=0.5).reason == reason


def test_two_things_for_one_bin_go_together() -> None:
    evidence = Evidence(sure(paper=0.98), pieces=(sure(paper=0.98), sure(cardboard=0.98)))
    assert decision.decide(evidence, LABELS, TRASHNET, reject_below=0.5).bin == "paper"


def test_several_things_may_go_to_the_cheapest_bin(tmp_path: Path) -> None:
    """A wet thing among the dry ones costs much, a dry one among the wet ones little."""
    cost = "[cost]\nresidual = 0.9\n[cost.belongs_in.wet]\ndry = 9.0\n[cost.belongs_in.dry]\nwet = 0.1\n"
    rules = pack(tmp_path, {"wet": ["peel"], "dry": ["can"]}, cost, 'several = "least_cost"\n')
    evidence = Evidence(np.array([0.02, 0.98]), pieces=(np.array([0.02, 0.98]), np.array([0.98, 0.02])))
    choice = decision.decide(evidence, ("peel", "can"), rules, reject_below=0.5)
    assert (choice.bin, choice.reason) == ("wet", "several")
    assert choice.expected_cost == pytest.approx(0.1)
    assert decision.decide(evidence, ("peel", "can"), rules, reject_below=0.5, closed={"wet": "safe_mode"}).bin == "rest"


def test_a_hazard_in_one_of_two_pieces_is_a_hazard(guarded: Callable[[str], RulePack]) -> None:
    evidence = Evidence(sure(glass=0.98), pieces=(sure(glass=0.98), sure(metal=0.98)))
    choice = decision.decide(evidence, LABELS, guarded("above = 0.2"), reject_below=0.5)
    assert choice.held and choice.hazard is not None and choice.hazard.label == "metal"


@settings(max_examples=100)
@given(posterior=posteriors(2), above=st.floats(0.01, 0.99), into=st.sampled_from(["", "rest", "x"]), unknown=st.booleans())
def test_no_hazard_above_the_bound_goes_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, posterior: Float64Array, above: float, into: str, unknown: bool
) -> None:
    text = f'[hazard]\nabove = {above!r}\ninto = "{into}"\n'
    rules = pack(tmp_path_factory.getbasetemp(), {"x": ["a"], "y": ["b"]}, text, 'hazards = ["b"]\n')
    choice = decide(posterior, ("a", "b"), rules, reject_below=0.5, unknown=unknown)
    assert (choice.hazard is not None) == (posterior[1] > above)
    assert choice.hazard is None or choice.bin == into
    assert choice.hazard is not None or not choice.held


def test_items_for_a_closed_bin_go_to_the_residual_bin_with_its_reason() -> None:
    choice = decide(sure(metal=0.97), LABELS, TRASHNET, reject_below=0.5, closed={"metal": "safe_mode"})
    assert (choice.bin, choice.label, choice.reason) == ("trash", "metal", "safe_mode")
    assert decide(sure(glass=0.97), LABELS, TRASHNET, reject_below=0.5, closed={"metal": "safe_mode"}).bin == "glass"


def test_an_unsure_item_stays_unsure_if_its_bin_is_closed() -> None:
    assert decide(sure(metal=0.4), LABELS, TRASHNET, reject_below=0.6, closed={"metal": "safe_mode"}).reason == "unsure"


@settings(max_examples=100)
@given(posterior=posteriors(), order=st.permutations(range(len(LABELS))), reject_below=st.floats(0, 1))
def test_the_order_of_the_labels_does_not_matter(posterior: Float64Array, order: list[int], reject_below: float) -> None:
    here = decide(posterior, LABELS, TRASHNET, reject_below=reject_below)
    there = decide(posterior[order], tuple(LABELS[index] for index in order), TRASHNET, reject_below=reject_below)
    assert (here.bin, here.reason, here.p, here.p_bin) == (there.bin, there.reason, there.p, there.p_bin)


@settings(max_examples=100)
@given(posterior=posteriors(), closed=st.dictionaries(st.sampled_from(BINS), st.just("safe_mode")), reject_below=st.floats(0, 1))
def test_a_closed_bin_is_never_chosen(posterior: Float64Array, closed: dict[str, str], reject_below: float) -> None:
    choice = decide(posterior, LABELS, TRASHNET, reject_below=reject_below, closed=closed)
    assert choice.bin == "trash" or choice.bin not in closed
    assert choice.bin == "trash" or choice.reason == "confident"
    assert choice.reason != "safe_mode" or choice.bin == "trash"


@settings(max_examples=100)
@given(posterior=posteriors(), reject_below=st.floats(0, 1))
def test_a_confident_choice_has_the_least_expected_cost(posterior: Float64Array, reject_below: float) -> None:
    choice = decide(posterior, LABELS, TRASHNET, reject_below=reject_below)
    shares = {name: sum(p for label, p in zip(LABELS, posterior, strict=True) if TRASHNET.bin_of(label) == name) for name in BINS}
    costs = {into: sum(share * TRASHNET.cost(belongs, into) for belongs, share in shares.items()) for into in BINS}
    assert choice.expected_cost == pytest.approx(costs[choice.bin])
    if choice.reason == "confident":
        assert choice.expected_cost <= min(costs.values()) + 1e-12
        assert max(shares.values()) >= reject_below - 1e-12
    assert choice.p_bin == pytest.approx(max(shares.values())) and choice.p == posterior.max()


@settings(max_examples=50)
@given(posterior=posteriors(3), reject_below=st.floats(0, 0.999))
def test_a_pack_with_one_bin_for_all_labels_always_picks_it(
    tmp_path_factory: pytest.TempPathFactory, posterior: Float64Array, reject_below: float
) -> None:
    one = pack(tmp_path_factory.getbasetemp(), {"all": ["a", "b", "c"]})
    choice = decide(posterior, ("a", "b", "c"), one, reject_below=reject_below)
    assert (choice.bin, choice.reason) == ("all", "confident")


@settings(max_examples=50)
@given(posterior=posteriors(3), power=st.integers(-8, 8))
def test_only_the_ratios_of_costs_matter(tmp_path_factory: pytest.TempPathFactory, posterior: Float64Array, power: int) -> None:
    bins, labels = {"x": ["a"], "y": ["b"], "z": ["c"]}, ("a", "b", "c")
    chosen = []
    for scale in (1.0, 2.0**power):
        cost = f"[cost]\nwrong = {1.0 * scale}\nresidual = {0.4 * scale}\n[cost.belongs_in.x]\ny = {3.0 * scale}\n"
        chosen.append(decide(posterior, labels, pack(tmp_path_factory.getbasetemp(), bins, cost), reject_below=0.3))
    assert (chosen[0].bin, chosen[0].reason) == (chosen[1].bin, chosen[1].reason)
    assert chosen[1].expected_cost == pytest.approx(chosen[0].expected_cost * 2.0**power)


@settings(max_examples=100)
@given(posterior=posteriors(), low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_stricter_threshold_only_rejects_more(posterior: Float64Array, low: float, high: float) -> None:
    lenient, strict = (decide(posterior, LABELS, TRASHNET, reject_below=value) for value in sorted((low, high)))
    assert strict.bin == lenient.bin or strict.reason == "unsure"
