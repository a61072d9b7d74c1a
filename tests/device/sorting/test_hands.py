"""While an arm reaches into the view no gate opens or closes on it; after a while that is the fault `obstruction`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device.events import Cleared, Fault, ItemInterrupted, ItemRejected, ItemSorted, Jam
from device.gates import Position
from device.simulation.items import shipped_items
from device.vision.inference.bundle import Bundle
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.occupancy import PresenceSettings
from tests.device.virtual import Bench, BenchSetup

pytestmark = pytest.mark.slow

Benches = Callable[..., Bench]


def arm(pixels: Pixels) -> Pixels:
    """A sleeve that comes in over the upper border, and a hand at its end."""
    seen = pixels.copy()
    cv2.line(seen, (420, -20), (400, 150), (40, 50, 90), 90)
    cv2.circle(seen, (398, 180), 45, (205, 160, 135), cv2.FILLED)
    return seen


def nothing(pixels: Pixels) -> Pixels:
    return pixels


@pytest.fixture
def bench(tiny_bundle: Bundle, tmp_path: Path) -> Iterator[Benches]:
    """`bench(2)`: a bin into which two cans are thrown one after the other."""
    opened: list[Bench] = []

    def make(cans: int, **more: Any) -> Bench:
        can = next(thing for thing in shipped_items() if thing.name == "drinks-can")
        opened.append(Bench(tiny_bundle, tmp_path / "state", [can] * cans, BenchSetup(**more)))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def done(bin_: Bench) -> int:
    return len(bin_.recorded(ItemSorted)) + len(bin_.recorded(ItemRejected))


def open_gates(bin_: Bench) -> list[str]:
    return [name for name, gate in bin_.gates.items() if gate.position is not Position.CLOSED]


def test_an_arm_before_judging_holds_the_gates_and_is_a_fault(bench: Benches) -> None:
    bin_ = bench(1)
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "sorting")
    bin_.sees = arm
    bin_.live(25)
    assert not bin_.opened
    assert [fault.fault for fault in bin_.recorded(Fault)] == ["obstruction"]
    bin_.sees = nothing
    assert bin_.live(20, until=lambda: done(bin_) == 1)
    assert [event.fault for event in bin_.recorded(Cleared)] == ["obstruction"] and len(bin_.landed) == 1


def test_an_arm_keeps_a_gate_shut_that_is_about_to_open(bench: Benches) -> None:
    bin_ = bench(1)
    bin_.disk.before_intents = lambda: setattr(bin_, "sees", arm)
    bin_.live(9)
    assert not bin_.opened and not bin_.recorded(Fault)
    bin_.disk.before_intents = lambda: None
    bin_.sees = nothing
    assert bin_.live(20, until=lambda: done(bin_) == 1)


def test_an_open_gate_stays_open_while_an_arm_reaches_in(bench: Benches) -> None:
    bin_ = bench(1, sticks=lambda _: True)
    assert bin_.live(20, until=lambda: any(gate.opening(bin_.now_s) > 0.3 for gate in bin_.gates.values()))
    bin_.sees = arm
    bin_.live(40)
    assert [bin_.gates[name].position for name in open_gates(bin_)] == [Position.OPEN], "longer than a gate may stay open otherwise"
    assert [fault.fault for fault in bin_.recorded(Fault)] == ["obstruction"]
    bin_.bin.take_away()
    bin_.sees = nothing
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "ready")
    assert not open_gates(bin_) and not bin_.recorded(Jam)


def test_a_closing_gate_reopens_for_an_arm(bench: Benches) -> None:
    bin_ = bench(1)
    assert bin_.live(20, until=lambda: any(gate.position is Position.CLOSING for gate in bin_.gates.values()) and done(bin_) == 1)
    for gate in bin_.gates.values():
        gate.jam(0.5)  # a slow one: half open still when the arm comes
    bin_.sees = arm
    bin_.live(0.9)
    for gate in bin_.gates.values():
        gate.mend()
    bin_.live(3)
    assert [bin_.gates[name].position for name in open_gates(bin_)] == [Position.OPEN]
    bin_.sees = nothing
    assert bin_.live(5, until=lambda: bin_.sorter.mode == "ready")
    assert not open_gates(bin_) and not bin_.recorded(Fault)


def test_a_gate_fault_is_not_retried_while_an_arm_reaches_in(bench: Benches) -> None:
    bin_ = bench(1)
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "sorting")
    for gate in bin_.gates.values():
        gate.seize()
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "fault")
    bin_.sees = arm
    for gate in bin_.gates.values():
        gate.mend()
    bin_.live(3)
    stood = {name: gate.opening(bin_.now_s) for name, gate in bin_.gates.items()}
    bin_.live(30)
    assert {name: gate.opening(bin_.now_s) for name, gate in bin_.gates.items()} == stood
    bin_.sees = nothing
    assert bin_.live(60, until=lambda: bin_.sorter.mode == "ready")
    assert not open_gates(bin_)


def test_obstruction_is_over_though_the_jam_is_not(bench: Benches) -> None:
    bin_ = bench(1, sticks=lambda _: True)
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "fault")
    bin_.sees = arm
    bin_.live(15)
    assert [fault.fault for fault in bin_.recorded(Fault)] == ["jam", "obstruction"]
    bin_.sees = nothing
    assert bin_.live(20, until=lambda: bool(bin_.recorded(Cleared)))
    assert bin_.sorter.fault is not None and bin_.sorter.fault.fault == "jam" and "reaches in" not in bin_.sorter.fault.message


def test_a_hand_learned_with_the_tray_leaves_no_ghost(tiny_bundle: Bundle, tmp_path: Path) -> None:
    bin_ = Bench(tiny_bundle, tmp_path / "state", [])
    bin_.sees = lambda pixels: cv2.line(pixels.copy(), (320, -20), (310, 80), (205, 160, 135), 40)  # type: ignore[assignment,return-value]
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "ready")
    bin_.live(3)
    bin_.sees = nothing
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "fault")
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "ready")
    bin_.live(5)
    assert bin_.sorter.mode == "ready" and not bin_.opened
    bin_.close()


def test_a_resting_hand_is_never_learned(bench: Benches) -> None:
    bin_ = bench(1)
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "sorting")
    bin_.sees = arm
    bin_.live(90, frame_s=0.4)
    assert bin_.sorter.mode == "fault" and not bin_.opened


def test_an_item_that_flies_in_over_the_border_is_no_arm(bench: Benches) -> None:
    bin_ = bench(2)
    assert bin_.live(40, until=lambda: done(bin_) == 2)
    assert not bin_.recorded(Fault)


@pytest.mark.parametrize("border", [(), ("left", "right", "bottom")])
def test_a_side_that_is_not_watched_holds_no_gate(bench: Benches, border: tuple[str, ...]) -> None:
    bin_ = bench(1, presence=PresenceSettings(border=border))  # type: ignore[arg-type]
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "sorting")
    bin_.sees = arm
    assert bin_.live(10, until=lambda: bool(bin_.opened))


@given(visits=st.lists(st.tuples(st.floats(0.05, 6), st.floats(0.4, 15)), max_size=4))
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_arm_at_any_time_starts_a_gate_or_loses_an_item(
    visits: list[tuple[float, float]], tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> None:
    can = next(thing for thing in shipped_items() if thing.name == "drinks-can")
    bin_ = Bench(tiny_bundle, tmp_path_factory.mktemp("state"), [can] * 3)
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "ready")
    for after_s, stays_s in visits:
        bin_.live(after_s)
        bin_.sees = arm
        bin_.live(0.35)
        shut = {name for name, gate in bin_.gates.items() if gate.position is Position.CLOSED}
        bin_.live(stays_s)
        assert {name for name in shut if bin_.gates[name].opening(bin_.now_s) > 0} == set()
        bin_.sees = nothing
    assert bin_.live(90, until=lambda: len(bin_.landed) == 3 and bin_.sorter.mode == "ready")
    bin_.live(2)
    ended = [event.item for event in bin_.events if isinstance(event, ItemSorted | ItemRejected | ItemInterrupted)]
    assert len(ended) == len(set(ended)) and len(ended) >= 3 and not bin_.recorded(Jam)
    assert len(bin_.recorded(Fault)) == len(bin_.recorded(Cleared))
    bin_.close()
