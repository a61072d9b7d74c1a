"""Suspected hazards: recorded, held or sent to their bin, and never learned as a part of the tray."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.adaptation.label_prior import SiteSettings
from device.events import Cleared, Fault, Hazard, ItemInterrupted, ItemRejected, ItemSorted
from device.policy.rules import default_rules
from device.simulation.items import VirtualItem
from device.vision.inference.bundle import Bundle
from device.vision.inference.preprocess import Pixels
from tests.device.sorting.conftest import taught_as
from tests.device.virtual import Bench, BenchSetup, photos

pytestmark = pytest.mark.slow

Benches = Callable[..., Bench]


@pytest.fixture
def guarded(tmp_path: Path) -> Callable[..., Path]:
    """`guarded("glass", into="")`: TrashNet's pack with that label as a hazard."""

    def make(hazard: str, into: str) -> Path:
        text = default_rules().read_text(encoding="utf-8")
        head = f'hazards = ["{hazard}"]\n[hazard]\ninto = "{into}"\n'
        (tmp_path / "guarded.toml").write_text(text.replace("[bins.paper]", f"{head}[bins.paper]"), encoding="utf-8")
        return tmp_path / "guarded.toml"

    return make


def test_a_taught_hazard_is_held(bench: Benches, tiny_bundle: Bundle, painted: Callable[..., Pixels], tmp_path: Path) -> None:
    text = default_rules().read_text(encoding="utf-8").replace('labels = ["trash"]', 'labels = ["trash", "battery"]')
    (tmp_path / "pack.toml").write_text(text.replace("[bins.paper]", 'taught = ["battery"]\nhazards = ["battery"]\n[bins.paper]'), encoding="utf-8")
    bin_ = bench("metal", teaching=taught_as({"metal": "battery"}, tiny_bundle, painted), rules=tmp_path / "pack.toml")
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "fault")
    assert [(event.label, event.bin) for event in bin_.recorded(Hazard)] == [("battery", "")]


def test_a_held_hazard_stays_a_fault_until_removed(bench: Benches, guarded: Callable[..., Path]) -> None:
    bin_ = bench("glass", "paper", rules=guarded("glass", into=""))
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "fault")
    (hazard,) = bin_.recorded(Hazard)
    assert (hazard.label, hazard.bin) == ("glass", "") and hazard.p > 0.5
    (fault,) = bin_.recorded(Fault)
    assert fault.fault == "hazard" and "may be glass" in fault.message
    bin_.live(60, frame_s=0.5)
    assert bin_.sorter.mode == "fault" and not bin_.landed, "it waits for a hand, however long"
    assert all(gate.opening(bin_.now_s) == 0 for gate in bin_.gates.values())
    bin_.bin.take_away()
    assert bin_.live(30, until=lambda: bool(bin_.recorded(ItemSorted)))
    assert [event.fault for event in bin_.recorded(Cleared)] == ["hazard"]
    assert [event.label for event in bin_.recorded(ItemSorted)] == ["paper"]
    assert len(bin_.recorded(Hazard)) == 1 and not bin_.recorded(ItemInterrupted)
    assert [sample.note.reason for sample in bin_.offered] == ["hazard", "confident"], "a held hazard is offered for labelling"


def test_a_hazard_is_recorded_before_its_gate_opens(bench: Benches, guarded: Callable[..., Path]) -> None:
    bin_ = bench("glass", "paper", rules=guarded("glass", into="trash"))
    assert bin_.live(20, until=lambda: bool(bin_.recorded(Hazard)))
    assert all(gate.opening(bin_.now_s) == 0 for gate in bin_.gates.values())
    assert bin_.live(30, until=lambda: bool(bin_.recorded(ItemSorted)))
    (hazard,), (rejected,) = bin_.recorded(Hazard), bin_.recorded(ItemRejected)
    assert (hazard.bin, hazard.item) == ("trash", rejected.item)
    assert (rejected.bin, rejected.label, rejected.reason) == ("trash", "glass", "hazard")
    assert [landed.bin for landed in bin_.landed] == ["trash", "paper"]
    assert not bin_.recorded(Fault)
    assert bin_.ledger.totals()["trash"].hazards == 1


def test_the_label_prior_rules_out_no_hazard(bench: Benches, guarded: Callable[..., Path]) -> None:
    bin_ = bench("glass", rules=guarded("glass", into=""), site=SiteSettings(labels=("metal", "paper")))
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "fault")
    assert [event.label for event in bin_.recorded(Hazard)] == ["glass"]


def test_a_hazard_is_held_in_safe_mode(bench: Benches, guarded: Callable[..., Path]) -> None:
    bin_ = bench("glass", rules=guarded("glass", into="glass"), residual_only=True)
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "fault")
    assert [event.bin for event in bin_.recorded(Hazard)] == [""] and not bin_.landed


def knocked(pixels: Pixels) -> Pixels:
    """The camera points at a patterned wall; what lies on the tray shows through."""
    wall = cv2.resize(np.random.default_rng(4).integers(40, 220, (9, 12, 3), dtype=np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.addWeighted(wall, 0.8, pixels, 0.2, 0), np.uint8)


@pytest.mark.parametrize("taken_after_s", [5.0, 40.0])
def test_a_held_hazard_is_not_learned_with_a_new_view(
    tiny_bundle: Bundle, painted: Callable[..., Pixels], guarded: Callable[..., Path], taken_after_s: float, tmp_path: Path
) -> None:
    hazard = dataclasses.replace(photos(tmp_path, painted, ["glass"])[0], size_cm=14.0)
    bin_ = Bench(tiny_bundle, tmp_path / "state", [hazard], BenchSetup(rules=guarded("glass", into="")))
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "fault")
    bin_.sees = knocked
    bin_.live(taken_after_s, frame_s=0.2)
    assert bin_.sorter.mode == "fault" and not bin_.recorded(Cleared)
    bin_.bin.take_away()
    assert bin_.live(40, until=lambda: bin_.sorter.mode == "ready")
    assert [event.fault for event in bin_.recorded(Cleared)] == ["camera", "hazard"] and not bin_.opened
    bin_.close()


def after_a_power_cut(hazard: VirtualItem, tiny_bundle: Bundle, state: Path, pack: Path, *, knock: bool) -> Bench:
    """A bin that starts again, the hazard still on its tray, after the power failed while it was held."""
    first = Bench(tiny_bundle, state, [hazard], BenchSetup(rules=pack))
    assert first.live(20, until=lambda: first.sorter.mode == "fault")
    first.cut_power()
    stored = {"detector": first.detector.copy(), "background": first.background.copy()}
    second = Bench(tiny_bundle, state, [hazard], BenchSetup(rules=pack, first_after_s=0.0, **stored))
    second.sees = knocked if knock else second.sees
    return second


@pytest.mark.parametrize("knock", [False, True], ids=["same view", "camera knocked"])
def test_a_held_hazard_stays_held_after_a_power_cut(
    tiny_bundle: Bundle, painted: Callable[..., Pixels], guarded: Callable[..., Path], tmp_path: Path, knock: bool
) -> None:
    hazard = dataclasses.replace(photos(tmp_path, painted, ["glass"])[0], size_cm=14.0)
    bin_ = after_a_power_cut(hazard, tiny_bundle, tmp_path / "state", guarded("glass", into=""), knock=knock)
    bin_.live(40, frame_s=0.2)
    assert bin_.sorter.fault is not None and "hazard" in [event.fault for event in bin_.recorded(Fault)]
    assert "hazard" not in [event.fault for event in bin_.recorded(Cleared)] and not bin_.opened
    bin_.bin.take_away()
    assert bin_.live(40, until=lambda: bin_.sorter.mode == "ready")
    assert [event.fault for event in bin_.recorded(Cleared)] == (["camera"] if knock else []) + ["hazard"]
    bin_.live(5)
    assert bin_.sorter.mode == "ready" and not bin_.opened
    bin_.close()


def test_a_hazard_removed_while_the_power_was_off_is_over_at_once(
    tiny_bundle: Bundle, painted: Callable[..., Pixels], guarded: Callable[..., Path], tmp_path: Path
) -> None:
    hazard = dataclasses.replace(photos(tmp_path, painted, ["glass"])[0], size_cm=14.0)
    bin_ = after_a_power_cut(hazard, tiny_bundle, tmp_path / "state", guarded("glass", into=""), knock=False)
    bin_.throws = False
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "ready")
    assert [event.fault for event in bin_.recorded(Fault)] == [event.fault for event in bin_.recorded(Cleared)] == ["hazard"]
    bin_.close()


def test_a_clean_restart_releases_a_held_hazard(bench: Benches, guarded: Callable[..., Path]) -> None:
    first = bench("glass", rules=guarded("glass", into=""))
    assert first.live(20, until=lambda: first.sorter.mode == "fault")
    first.close()
    second = bench("paper", rules=guarded("glass", into=""))
    assert second.live(30, until=lambda: bool(second.recorded(ItemSorted)))
    assert not second.recorded(Fault)
