"""What a person asks for from afar: a pause, a gate to try, the empty tray learned anew, a fault cleared. Never a gate on a hand or under an item."""

from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from device.events import Cleared, Fault, ItemInterrupted, ItemSorted
from device.gates import Position
from device.policy.rules import default_rules
from device.sorting.manual_control import NotDone
from device.vision.inference.preprocess import Pixels
from tests.device.virtual import Bench

pytestmark = pytest.mark.slow

Benches = Callable[..., Bench]


def arm(pixels: Pixels) -> Pixels:
    """A sleeve that comes in over the upper border, and a hand at its end."""
    seen = pixels.copy()
    cv2.line(seen, (420, -20), (400, 150), (40, 50, 90), 90)
    cv2.circle(seen, (398, 180), 45, (205, 160, 135), cv2.FILLED)
    return seen


def board(pixels: Pixels) -> Pixels:
    """Something flat lies on the tray for good."""
    seen = pixels.copy()
    seen[150:330, 200:440] = (30, 160, 40)
    return seen


def all_closed(bin_: Bench) -> bool:
    return all(gate.position is Position.CLOSED for gate in bin_.gates.values())


def ready(bin_: Bench) -> None:
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "ready")


def test_while_paused_an_item_stays_on_the_tray(bench: Benches) -> None:
    bin_ = bench("glass", "paper")
    bin_.sorter.manual.paused = True
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "paused")
    bin_.live(20)
    assert len(bin_.thrown) == 1 and not bin_.landed and not bin_.opened
    assert (bin_.sorter.mode, bin_.events) == ("paused", [])
    bin_.sorter.manual.paused = False
    assert bin_.live(60, until=lambda: len(bin_.landed) == 2)


def test_a_pause_amid_an_item_begins_after_it(bench: Benches) -> None:
    bin_ = bench("glass", "paper")
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "sorting")
    bin_.sorter.manual.paused = True
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "paused")
    assert [event.label for event in bin_.recorded(ItemSorted)] == ["glass"]
    assert all_closed(bin_)
    bin_.live(10)
    assert len(bin_.landed) == 1


def test_a_pause_outlasts_a_fault(bench: Benches) -> None:
    bin_ = bench("glass")
    bin_.sorter.manual.paused = True
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "paused")
    bin_.camera_works = False
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "fault")
    bin_.camera_works = True
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "paused")
    assert not bin_.landed


def test_a_pause_in_a_gate_fault_leaves_the_item_for_later(bench: Benches) -> None:
    bin_ = bench("glass")
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "sorting")
    bin_.gates["glass"].break_wire()
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "fault")
    bin_.sorter.manual.paused = True
    bin_.gates["glass"].mend()
    assert bin_.live(60, until=lambda: bin_.sorter.mode == "paused")
    assert [event.reason for event in bin_.recorded(ItemInterrupted)] == ["fault"]
    bin_.live(10)
    assert not bin_.landed
    bin_.sorter.manual.paused = False
    assert bin_.live(30, until=lambda: len(bin_.landed) == 1)


@pytest.mark.parametrize("paused", [False, True])
def test_a_gate_that_is_tried_opens_and_closes_once(bench: Benches, paused: bool) -> None:
    bin_ = bench()
    bin_.sorter.manual.paused = paused
    bin_.live(20, until=lambda: bin_.sorter.mode == ("paused" if paused else "ready"))
    tried = bin_.sorter.manual.test_gate("metal")
    assert bin_.live(10, until=tried.done)
    assert tried.result() is None
    assert (bin_.opened, all_closed(bin_), bin_.events) == ({"metal"}, True, [])


@pytest.mark.parametrize("there", ["an arm", "an item"])
def test_no_gate_is_tried_on_an_item_or_a_hand(bench: Benches, there: str) -> None:
    bin_ = bench("glass")
    bin_.sorter.manual.paused = True
    bin_.throws = there == "an item"
    bin_.live(10, until=lambda: bin_.sorter.mode == "paused")
    bin_.live(5)
    bin_.sees = arm if there == "an arm" else bin_.sees
    bin_.live(1)
    tried = bin_.sorter.manual.test_gate("metal")
    assert bin_.live(10, until=tried.done)
    with pytest.raises(NotDone, match="stays closed"):
        tried.result()
    assert not bin_.opened


def test_a_hand_that_reaches_in_meanwhile_holds_the_tried_gate_open(bench: Benches) -> None:
    bin_ = bench()
    ready(bin_)
    tried = bin_.sorter.manual.test_gate("metal")
    assert bin_.live(10, until=lambda: bin_.gates["metal"].position is Position.OPEN)
    bin_.sees = arm
    bin_.live(3)
    assert bin_.gates["metal"].position is Position.OPEN and not tried.done()
    bin_.sees = lambda pixels: pixels
    assert bin_.live(10, until=tried.done)
    assert all_closed(bin_)


def test_a_gate_that_does_not_move_when_tried_is_a_fault(bench: Benches) -> None:
    bin_ = bench()
    ready(bin_)
    bin_.gates["metal"].break_wire()
    tried = bin_.sorter.manual.test_gate("metal")
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "fault")
    with pytest.raises(NotDone, match="metal"):
        tried.result()
    assert [event.fault for event in bin_.recorded(Fault)] == ["gate"]


def test_a_cancelled_request_is_not_carried_out(bench: Benches) -> None:
    bin_ = bench("glass")
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "sorting")
    assert bin_.sorter.manual.test_gate("metal").cancel()
    bin_.live(20)
    assert bin_.opened == {"glass"}


def test_relearning_takes_what_lies_there_for_the_tray(bench: Benches) -> None:
    bin_ = bench("glass")
    bin_.throws = False
    ready(bin_)
    bin_.sorter.manual.paused = True
    bin_.sees = board
    bin_.live(5)
    learned = bin_.sorter.manual.relearn()
    assert bin_.live(20, until=learned.done), (bin_.sorter.mode, bin_.sorter.fault, bin_.events)
    assert learned.result() is None
    bin_.sorter.manual.paused = False
    bin_.live(10)
    assert bin_.sorter.mode == "ready" and not bin_.opened, "the board is no item"
    bin_.throws = True
    assert bin_.live(30, until=lambda: bool(bin_.recorded(ItemSorted)))


@pytest.mark.parametrize("view", ["flickers", "dark", "arm"])
def test_an_unusable_view_is_not_learned(bench: Benches, view: str) -> None:
    bin_ = bench()
    ready(bin_)
    bin_.sorter.manual.paused = True
    bin_.live(1)
    learned = bin_.sorter.manual.relearn()
    bin_.lamp_flickers = view == "flickers"
    bin_.sees = {"dark": lambda pixels: pixels // 40, "arm": arm}.get(view, bin_.sees)
    assert bin_.live(30, until=learned.done)
    with pytest.raises(NotDone):
        learned.result()


def test_a_jam_ends_where_a_person_says_that_the_tray_is_empty(bench: Benches) -> None:
    bin_ = bench("glass", "paper", sticks=lambda thing: "glass" in thing.name)
    assert bin_.live(60, until=lambda: bin_.sorter.mode == "fault")
    bin_.sorter.try_again(tray_is_empty=False)
    bin_.live(20)
    assert bin_.sorter.mode == "fault"
    bin_.throws = False
    bin_.sorter.try_again(tray_is_empty=True)
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "ready")
    assert [event.fault for event in bin_.recorded(Cleared)] == ["jam"]


def test_a_held_hazard_goes_only_with_a_persons_word(bench: Benches, tmp_path: Path) -> None:
    text = default_rules().read_text(encoding="utf-8").replace("[bins.paper]", 'hazards = ["glass"]\n[hazard]\ninto = ""\n[bins.paper]')
    (tmp_path / "guarded.toml").write_text(text, encoding="utf-8")
    bin_ = bench("glass", rules=tmp_path / "guarded.toml")
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "fault")
    bin_.sorter.try_again(tray_is_empty=False)
    bin_.live(20)
    assert bin_.sorter.mode == "fault"
    bin_.sorter.try_again(tray_is_empty=True)
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "ready"), (bin_.sorter.mode, bin_.sorter.fault, bin_.events)
    assert not bin_.opened


def test_a_fault_is_tried_again_at_once_when_asked(bench: Benches) -> None:
    bin_ = bench()
    ready(bin_)
    bin_.gates["metal"].break_wire()
    bin_.sorter.manual.test_gate("metal")
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "fault")
    bin_.live(45)
    bin_.gates["metal"].mend()
    bin_.sorter.try_again(tray_is_empty=False)
    assert bin_.live(5, until=lambda: bin_.sorter.mode == "ready")
