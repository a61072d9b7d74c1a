"""Changes of light and view are no items: no gate moves, the fault `camera` names the cause, and the bin goes on by itself."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from device.events import Cleared, Fault, ItemInterrupted, ItemRejected, ItemSorted, Jam
from device.gates import Position
from device.simulation.items import VirtualItem, shipped_items
from device.sorting.control_steps import SortingSettings
from device.vision.inference.bundle import Bundle
from device.vision.inference.preprocess import Pixels
from tests.device.virtual import Bench, BenchSetup

pytestmark = pytest.mark.slow

Benches = Callable[..., Bench]
Sees = Callable[[Pixels], Pixels]


def times(*gains: float) -> Sees:
    return lambda pixels: np.clip(pixels * np.array(gains), 0, 255).astype(np.uint8)


def knocked(pixels: Pixels) -> Pixels:
    """The camera points elsewhere: at a patterned wall."""
    rng = np.random.default_rng(4)
    wall = cv2.resize(rng.integers(40, 220, (9, 12, 3), dtype=np.uint8), pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.addWeighted(wall, 0.8, pixels, 0.2, 0), np.uint8)


DARK, OVEREXPOSED, LIGHT, VIEW = "the view is dark", "the view is overexposed", "the light is not what it was", "nearly all of the view has changed"
CHANGES: dict[str, tuple[Sees, str]] = {
    "a dead lamp": (times(0.04), DARK),
    "black": (times(0), DARK),
    "a fifth darker": (times(0.8), LIGHT),
    "half the light": (times(0.5), LIGHT),
    "white balance": (times(1.08, 1, 0.92), LIGHT),
    "overexposed": (times(1.6), OVEREXPOSED),
    "a camera that was knocked": (knocked, VIEW),
}


@pytest.fixture
def bench(tiny_bundle: Bundle, tmp_path: Path) -> Iterator[Benches]:
    """`bench("can", "can")`: a bin into which things of these kinds are thrown one after the other, once `throws` says so."""
    opened: list[Bench] = []

    def make(*kinds: str, **more: Any) -> Bench:
        by_kind = {thing.name: thing for thing in shipped_items()}
        opened.append(Bench(tiny_bundle, tmp_path / "state", [by_kind[kind] for kind in kinds], BenchSetup(**more)))
        opened[-1].throws = False
        assert opened[-1].live(5, until=lambda: opened[-1].sorter.mode == "ready")
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def done(bin_: Bench) -> int:
    return len(bin_.recorded(ItemSorted)) + len(bin_.recorded(ItemRejected))


def sorts_one(bin_: Bench) -> bool:
    """Throw one thing in. Whether it falls through a gate and is recorded once."""
    before, thrown, fallen = done(bin_), len(bin_.thrown), len(bin_.landed)
    bin_.throws = True
    came = bin_.live(10, until=lambda: len(bin_.thrown) > thrown)
    bin_.throws = False
    return came and bin_.live(20, until=lambda: done(bin_) > before) and bin_.live(3) is False and len(bin_.landed) == fallen + 1


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_light_or_view_is_a_fault_and_then_learned(bench: Benches, change: str) -> None:
    bin_ = bench("drinks-can", "drinks-can")
    bin_.sees, cause = CHANGES[change]
    bin_.live(30, frame_s=0.2)
    (fault,) = bin_.recorded(Fault)
    assert fault.fault == "camera" and cause in fault.message
    assert not bin_.opened and not bin_.recorded(Jam) and done(bin_) == 0
    if cause in (DARK, OVEREXPOSED):
        assert bin_.sorter.mode == "fault", "what shows nothing is not learned"
    else:
        assert bin_.sorter.mode == "ready", "what stays is learned"
        assert sorts_one(bin_)
    bin_.sees = lambda pixels: pixels
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "ready")
    assert sorts_one(bin_)
    assert not bin_.recorded(Jam) and len(bin_.recorded(Fault)) == len(bin_.recorded(Cleared))


@pytest.mark.parametrize("change", ["a dead lamp", "half the light", "a fifth darker", "a camera that was knocked"])
def test_an_item_lying_there_when_the_light_changes_is_recorded_once(bench: Benches, change: str) -> None:
    bin_ = bench("drinks-can")
    bin_.throws = True
    assert bin_.live(10, until=lambda: bool(bin_.thrown))
    bin_.sees = CHANGES[change][0]
    bin_.live(6)
    bin_.sees = lambda pixels: pixels
    assert bin_.live(40, until=lambda: len(bin_.landed) == 1 and bin_.sorter.mode == "ready")
    bin_.live(5)
    assert done(bin_) + len(bin_.recorded(ItemInterrupted)) == 1 and not bin_.recorded(Jam) and bin_.sorter.mode == "ready"


@pytest.mark.parametrize("change", ["black", "a camera that was knocked"])
def test_no_gate_opens_again_for_an_item_that_cannot_be_seen(bench: Benches, change: str) -> None:
    bin_ = bench("drinks-can", sticks=lambda _: True)
    bin_.throws = True
    assert bin_.live(20, until=lambda: bool(bin_.opened))
    (gate,) = (bin_.gates[name] for name in bin_.opened)
    bin_.live(SortingSettings().drop_s - 1)
    bin_.sees = CHANGES[change][0]
    assert bin_.live(5, until=lambda: gate.position is Position.CLOSED)
    assert not bin_.live(5, until=lambda: gate.opening(bin_.now_s) > 0)
    assert [fault.fault for fault in bin_.recorded(Fault)] == ["camera"] and not bin_.recorded(Jam)


@pytest.mark.parametrize("change", ["half the light", "a camera that was knocked"])
def test_an_item_thrown_in_while_learning_is_not_learned(bench: Benches, change: str) -> None:
    bin_ = bench("drinks-can", "drinks-can")
    bin_.sees = CHANGES[change][0]
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "fault")
    bin_.live(3)
    bin_.sees = with_disc(bin_.sees)
    bin_.live(1)
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "sorting"), "the item is seen against the new look"


def with_disc(sees: Sees) -> Sees:
    """The same with something on the tray."""

    def seen(pixels: Pixels) -> Pixels:
        return np.asarray(cv2.circle(sees(pixels).copy(), (300, 250), 70, (170, 30, 40), cv2.FILLED), np.uint8)

    return seen


def test_a_thing_removed_while_learning_leaves_no_ghost(bench: Benches) -> None:
    bin_ = bench("drinks-can")
    bin_.sees = with_disc(knocked)
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "fault")
    bin_.live(3)
    bin_.sees = knocked
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "ready")
    bin_.live(5)
    assert not bin_.opened and bin_.sorter.mode == "ready"


@pytest.mark.parametrize("change", ["half the light", "a camera that was knocked"])
def test_an_item_that_jams_first_after_learning_waits_for_a_hand(bench: Benches, change: str) -> None:
    bin_ = bench("drinks-can")
    bin_.sees = CHANGES[change][0]
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "fault")
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "ready"), "the new look is learned"
    empty_look = bin_.sees
    bin_.sees = with_disc(empty_look)
    assert bin_.live(30, until=lambda: bool(bin_.recorded(Jam)))
    bin_.live(40, frame_s=0.4)
    assert bin_.sorter.fault is not None and bin_.sorter.fault.fault == "jam", "the item is not taken for the tray"
    bin_.sees = empty_look
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "ready")
    assert [event.fault for event in bin_.recorded(Cleared)] == ["camera", "jam"]


def test_a_thing_learned_with_a_new_view_leaves_no_jam_once_removed(bench: Benches) -> None:
    bin_ = bench("drinks-can")
    bin_.sees = with_disc(knocked)
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "fault")
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "ready"), "the thing is learned with the new look"
    bin_.sees = knocked
    assert bin_.live(60, until=lambda: bool(bin_.recorded(Jam)))
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "ready"), "nothing lies there that a hand could take"


@pytest.mark.parametrize("gain", [0.85, 0.9, 1.12])
def test_an_item_removed_as_the_light_steps_is_not_sorted(bench: Benches, gain: float) -> None:
    bin_ = bench("drinks-can")
    bin_.throws = True
    assert bin_.live(20, until=lambda: any(gate.opening(bin_.now_s) > 0 for gate in bin_.gates.values()))
    bin_.bin.take_away()
    bin_.throws = False
    bin_.live(0.12)
    bin_.sees = times(gain, gain, gain)
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "ready")
    assert done(bin_) == 0 and not bin_.landed
    assert [event.reason for event in bin_.recorded(ItemInterrupted)] == ["removed"]


def test_a_dark_tray_is_not_learned_at_the_start(tiny_bundle: Bundle, tmp_path: Path) -> None:
    bin_ = Bench(tiny_bundle, tmp_path / "state", [])
    bin_.sees = CHANGES["a dead lamp"][0]
    bin_.live(20)
    assert [DARK in fault.message for fault in bin_.recorded(Fault)] == [True]
    bin_.sees = lambda pixels: pixels
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "ready")
    bin_.close()


@pytest.mark.parametrize("ramp_s", [20.0, 180.0])
def test_slowly_changing_light_is_no_item(bench: Benches, ramp_s: float) -> None:
    bin_ = bench("drinks-can")
    began_s = bin_.now_s

    def dims(pixels: Pixels) -> Pixels:
        along = min(1.0, (bin_.now_s - began_s) / ramp_s)
        return times(1 - 0.45 * along, 1 - 0.5 * along, 1 - 0.55 * along)(pixels)

    bin_.sees = dims
    bin_.live(ramp_s, frame_s=ramp_s / 300)
    bin_.live(20, frame_s=0.2)
    assert not bin_.opened and not bin_.recorded(Jam) and done(bin_) == 0
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "ready")
    assert sorts_one(bin_)


def test_a_flickering_lamp_moves_no_gate_and_is_a_fault(bench: Benches) -> None:
    bin_ = bench("drinks-can")
    bin_.lamp_flickers = True
    bin_.live(40, frame_s=0.2)
    assert [fault.fault for fault in bin_.recorded(Fault)] == ["camera"]
    assert not bin_.opened and done(bin_) == 0
    bin_.lamp_flickers = False
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "ready")
    assert sorts_one(bin_)


def test_an_item_that_covers_most_of_the_view_is_an_item(tiny_bundle: Bundle, tmp_path: Path, painted: Callable[..., Pixels]) -> None:
    """70 % of the view, of one colour."""
    cv2.imwrite(str(tmp_path / "sheet.png"), cv2.cvtColor(painted("glass", 48, 64), cv2.COLOR_RGB2BGR))
    bin_ = Bench(tiny_bundle, tmp_path / "state", [VirtualItem("sheet", "glass", tmp_path / "sheet.png", None)])
    assert bin_.live(20, until=lambda: bool(bin_.recorded(ItemSorted)))
    assert not bin_.recorded(Fault)
    bin_.close()


@pytest.mark.parametrize("change", ["a fifth darker", "half the light", "white balance", "a camera that was knocked"])
def test_an_item_thrown_in_during_the_fault_leaves_through_a_gate(bench: Benches, change: str) -> None:
    bin_ = bench("drinks-can", "drinks-can")
    bin_.sees = CHANGES[change][0]
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "fault")
    bin_.throws = True
    bin_.live(4)
    bin_.throws = False
    assert bin_.live(60, until=lambda: len(bin_.landed) == 1 and bin_.sorter.mode == "ready")
    bin_.live(2)
    assert done(bin_) + len(bin_.recorded(ItemInterrupted)) == 1 and not bin_.recorded(Jam)
    assert sorts_one(bin_), "and the next one as ever"
