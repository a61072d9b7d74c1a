from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.decision import decide
from device.rules import RulePack, find_rules, read_rules
from device.vision.classifier import Floats

LABELS = ("cardboard", "glass", "metal", "paper", "plastic", "trash")
TRASHNET = read_rules(find_rules("trashnet"), LABELS)
BINS = tuple(TRASHNET.bins)


def sure(**shares: float) -> Floats:
    """Probabilities of the labels named; what is left goes to all labels evenly."""
    rest = (1 - sum(shares.values())) / len(LABELS)
    return np.array([shares.get(label, 0) + rest for label in LABELS])


def pack(tmp_path: Path, bins: dict[str, list[str]], cost: str = "") -> RulePack:
    text = 'name = "test"\nversion = "1"\nresidual = "rest"\n'
    text += "".join(f"[bins.{name}]\nlabels = {labels}\n" for name, labels in {"rest": [], **bins}.items())
    (tmp_path / "pack.toml").write_text(text + cost, encoding="utf-8")
    return read_rules(tmp_path / "pack.toml", tuple(label for labels in bins.values() for label in labels))


@st.composite
def posteriors(draw: st.DrawFn, labels: int = len(LABELS)) -> Floats:
    weights = draw(st.lists(st.integers(0, 1000), min_size=labels, max_size=labels).filter(any))
    return np.array(weights) / sum(weights)


def test_an_unknown_item_goes_to_the_residual_bin_however_sure_the_network_is() -> None:
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


def test_a_bin_may_win_without_holding_the_likeliest_label() -> None:
    choice = decide(sure(metal=0.34, cardboard=0.33, paper=0.33), LABELS, TRASHNET, reject_below=0.5)
    assert (choice.bin, choice.label) == ("paper", "metal")


def test_trash_that_is_recognised_is_no_rejection() -> None:
    choice = decide(sure(trash=0.9), LABELS, TRASHNET, reject_below=0.5)
    assert (choice.bin, choice.reason) == ("trash", "confident")


def test_an_unsure_item_goes_to_the_residual_bin() -> None:
    choice = decide(sure(metal=0.5), LABELS, TRASHNET, reject_below=0.6)
    assert (choice.bin, choice.label, choice.reason) == ("trash", "metal", "unsure")
    assert decide(sure(metal=0.58), LABELS, TRASHNET, reject_below=0.6).bin == "metal"


def test_trash_that_is_only_guessed_is_unsure() -> None:
    assert decide(sure(trash=0.3), LABELS, TRASHNET, reject_below=0.6).reason == "unsure"


def test_a_costly_mistake_is_left_to_the_residual_bin() -> None:
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


def test_what_belongs_in_a_closed_bin_goes_to_the_residual_bin_and_says_why() -> None:
    choice = decide(sure(metal=0.97), LABELS, TRASHNET, reject_below=0.5, closed={"metal": "safe_mode"})
    assert (choice.bin, choice.label, choice.reason) == ("trash", "metal", "safe_mode")
    assert decide(sure(glass=0.97), LABELS, TRASHNET, reject_below=0.5, closed={"metal": "safe_mode"}).bin == "glass"


def test_a_doubtful_item_is_unsure_even_where_its_bin_is_closed() -> None:
    assert decide(sure(metal=0.4), LABELS, TRASHNET, reject_below=0.6, closed={"metal": "safe_mode"}).reason == "unsure"


@settings(max_examples=100)
@given(posterior=posteriors(), order=st.permutations(range(len(LABELS))), reject_below=st.floats(0, 1))
def test_the_order_of_the_labels_does_not_matter(posterior: Floats, order: list[int], reject_below: float) -> None:
    here = decide(posterior, LABELS, TRASHNET, reject_below=reject_below)
    there = decide(posterior[order], tuple(LABELS[index] for index in order), TRASHNET, reject_below=reject_below)
    assert (here.bin, here.reason, here.p, here.p_bin) == (there.bin, there.reason, there.p, there.p_bin)


@settings(max_examples=100)
@given(posterior=posteriors(), closed=st.dictionaries(st.sampled_from(BINS), st.just("safe_mode")), reject_below=st.floats(0, 1))
def test_a_closed_bin_is_never_chosen_and_the_residual_bin_always_may_be(posterior: Floats, closed: dict[str, str], reject_below: float) -> None:
    choice = decide(posterior, LABELS, TRASHNET, reject_below=reject_below, closed=closed)
    assert choice.bin == "trash" or choice.bin not in closed
    assert choice.bin == "trash" or choice.reason == "confident"
    assert choice.reason != "safe_mode" or choice.bin == "trash"


@settings(max_examples=100)
@given(posterior=posteriors(), reject_below=st.floats(0, 1))
def test_no_other_bin_would_have_cost_less_unless_the_item_was_rejected(posterior: Floats, reject_below: float) -> None:
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
def test_a_pack_with_all_labels_in_one_bin_always_picks_it(tmp_path_factory: pytest.TempPathFactory, posterior: Floats, reject_below: float) -> None:
    one = pack(tmp_path_factory.getbasetemp(), {"all": ["a", "b", "c"]})
    choice = decide(posterior, ("a", "b", "c"), one, reject_below=reject_below)
    assert (choice.bin, choice.reason) == ("all", "confident")


@settings(max_examples=50)
@given(posterior=posteriors(3), power=st.integers(-8, 8))
def test_only_the_ratios_of_costs_matter(tmp_path_factory: pytest.TempPathFactory, posterior: Floats, power: int) -> None:
    bins, labels = {"x": ["a"], "y": ["b"], "z": ["c"]}, ("a", "b", "c")
    chosen = []
    for scale in (1.0, 2.0**power):
        cost = f"[cost]\nwrong = {1.0 * scale}\nresidual = {0.4 * scale}\n[cost.belongs_in.x]\ny = {3.0 * scale}\n"
        chosen.append(decide(posterior, labels, pack(tmp_path_factory.getbasetemp(), bins, cost), reject_below=0.3))
    assert (chosen[0].bin, chosen[0].reason) == (chosen[1].bin, chosen[1].reason)
    assert chosen[1].expected_cost == pytest.approx(chosen[0].expected_cost * 2.0**power)


@settings(max_examples=100)
@given(posterior=posteriors(), low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_stricter_threshold_only_ever_rejects_more(posterior: Floats, low: float, high: float) -> None:
    lenient, strict = (decide(posterior, LABELS, TRASHNET, reject_below=value) for value in sorted((low, high)))
    assert strict.bin == lenient.bin or strict.reason == "unsure"
