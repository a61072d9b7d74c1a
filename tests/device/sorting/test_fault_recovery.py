"""Faults of gates, camera, ledger and runtime, and jams: each is recorded once, and over once its cause is gone."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from device.events import Cleared, Fault, ItemInterrupted, ItemSorted, Jam
from device.simulation.items import VirtualItem
from device.sorting.control_steps import SortingSettings
from device.vision.inference.bundle import Bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.runtime import RuntimeFault, load_runtime
from tests.device.virtual import Bench

Benches = Callable[..., Bench]


def test_a_jam_is_over_once_the_item_is_removed(bench: Benches) -> None:
    def sticks(thing: VirtualItem) -> bool:
        return thing.label == "glass"

    bin_ = bench("glass", "paper", sticks=sticks)
    assert bin_.live(60, until=lambda: bin_.sorter.mode == "fault")
    (jam,) = bin_.recorded(Jam)
    settings = SortingSettings()
    assert jam.bin == "glass"
    assert jam.waited_s > settings.drop_s * settings.tries
    bin_.live(30)
    assert bin_.sorter.mode == "fault", "it waits for a hand, however long"
    bin_.bin.take_away()
    assert bin_.live(30, until=lambda: bool(bin_.recorded(ItemSorted)))
    assert [event.fault for event in bin_.recorded(Cleared)] == ["jam"]
    assert [event.reason for event in bin_.recorded(ItemInterrupted)] == ["fault"]
    assert [event.label for event in bin_.recorded(ItemSorted)] == ["paper"]


@pytest.mark.slow
def test_a_camera_fault_during_a_jam_does_not_end_the_jam(bench: Benches) -> None:
    bin_ = bench("glass", "paper", sticks=lambda thing: thing.label == "glass")
    assert bin_.live(60, until=lambda: bin_.sorter.mode == "fault")
    bin_.camera_works = False
    bin_.live(20)
    bin_.camera_works = True
    bin_.live(60)
    assert [event.fault for event in bin_.recorded(Fault)] == ["jam", "camera"]
    assert [event.fault for event in bin_.recorded(Cleared)] == ["camera"]
    assert bin_.sorter.fault is not None and bin_.sorter.fault.fault == "jam"
    assert len(bin_.recorded(Jam)) == len(bin_.recorded(ItemInterrupted)) == 1
    bin_.bin.take_away()
    assert bin_.live(60, until=lambda: bool(bin_.recorded(ItemSorted)))
    assert [event.fault for event in bin_.recorded(Cleared)] == ["camera", "jam"]


@pytest.mark.parametrize("trouble", ["jam", "seize", "break_wire"])
def test_a_gate_that_does_not_move_is_a_fault_until_it_does(bench: Benches, trouble: str) -> None:
    bin_ = bench("glass", "paper")
    gate = bin_.gates["glass"]
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "sorting")
    gate.jam(0.2) if trouble == "jam" else getattr(gate, trouble)()
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "fault")
    assert bin_.recorded(Fault)[0].fault == "gate"
    gate.mend()
    assert bin_.live(60, until=lambda: len(bin_.recorded(ItemSorted)) == 2)
    assert [event.fault for event in bin_.recorded(Cleared)] == ["gate"]
    assert not bin_.recorded(ItemInterrupted)
    assert [event.label for event in bin_.recorded(ItemSorted)] == ["glass", "paper"], "the item still lay there, and was sorted in the end"


@pytest.mark.slow
def test_a_gate_fault_is_recorded_once_however_often_retried(bench: Benches) -> None:
    bin_ = bench("glass")
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "sorting")
    bin_.gates["glass"].seize()
    bin_.live(600, frame_s=1.0)
    assert [type(event) for event in bin_.events] == [Fault]
    assert bin_.sorter.mode == "fault"
    bin_.gates["glass"].mend()
    assert bin_.live(90, until=lambda: bool(bin_.recorded(Cleared)))
    assert [type(event) for event in bin_.events] == [Fault, ItemSorted, Cleared]
    assert [landed.bin for landed in bin_.landed] == ["glass"]


def test_a_fallen_item_counts_though_the_gate_does_not_close(bench: Benches) -> None:
    bin_ = bench("glass", "paper")
    gate = bin_.gates["glass"]
    assert bin_.live(20, until=lambda: gate.opening(bin_.now_s) > 0.99)
    gate.jam(0.9)
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "fault")
    assert [event.label for event in bin_.recorded(ItemSorted)] == ["glass"]
    gate.mend()
    assert bin_.live(90, until=lambda: len(bin_.recorded(ItemSorted)) == 2)
    assert not bin_.recorded(ItemInterrupted)


def test_an_item_gone_when_the_gate_works_again_was_interrupted(bench: Benches) -> None:
    bin_ = bench("glass", "paper")
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "sorting")
    bin_.gates["glass"].seize()
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "fault")
    bin_.bin.take_away()
    assert bin_.live(60, until=lambda: bool(bin_.recorded(ItemSorted)))
    assert [event.label for event in bin_.recorded(ItemSorted)] == ["paper"]
    assert [(event.label, event.reason) for event in bin_.recorded(ItemInterrupted)] == [("glass", "fault")]


def test_a_gate_fault_names_every_gate_that_fails(bench: Benches) -> None:
    bin_ = bench("glass")
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "sorting")
    bin_.gates["glass"].break_wire()
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "fault")
    assert [event.message for event in bin_.recorded(Fault)] == ["gate glass: its drive does not answer"]
    bin_.gates["glass"].mend()
    bin_.gates["paper"].break_wire()
    bin_.gates["trash"].break_wire()
    for name in ("paper", "trash"):
        bin_.gates[name].release()  # its position is unknown now, so it is closed again
    bin_.live(30)
    assert bin_.sorter.fault is not None
    assert bin_.sorter.fault.message == "gate paper: its drive does not answer; gate trash: its drive does not answer"


def test_a_gate_fault_during_a_camera_fault_is_recorded_at_once(bench: Benches) -> None:
    bin_ = bench("glass")
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "sorting")
    bin_.camera_works = False
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "fault")
    bin_.gates["glass"].break_wire()
    bin_.gates["glass"].release()
    bin_.live(30)
    assert [event.fault for event in bin_.recorded(Fault)] == ["camera", "gate"]
    newest, oldest = bin_.sorter.faults
    assert (newest.fault, newest.message) == ("gate", "gate glass: its drive does not answer")
    assert oldest.fault == "camera" and "is the camera plugged in?" in oldest.message
    bin_.camera_works = True
    bin_.gates["glass"].mend()
    assert bin_.live(90, until=lambda: bin_.sorter.fault is None and bin_.sorter.mode == "ready")
    assert sorted(event.fault for event in bin_.recorded(Cleared)) == ["camera", "gate"]


def test_a_silent_camera_is_a_fault_until_it_gives_frames(bench: Benches) -> None:
    bin_ = bench("glass")
    assert bin_.live(5, until=lambda: bin_.sorter.mode == "ready")
    bin_.camera_works = False
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "fault")
    assert "is the camera plugged in?" in bin_.recorded(Fault)[0].message
    bin_.live(30)
    assert bin_.sorter.mode == "fault"
    bin_.camera_works = True
    assert bin_.live(30, until=lambda: bool(bin_.recorded(ItemSorted)))
    assert [event.fault for event in bin_.recorded(Cleared)] == ["camera"]


def test_the_first_frame_may_be_late_unless_the_camera_reports_an_error(bench: Benches) -> None:
    slow = bench("glass")
    slow.camera_works = False
    slow.live(10)
    assert not slow.recorded(Fault), "exposure and focus settle first"
    slow.live(5)
    assert [event.message for event in slow.recorded(Fault)] == ["no frame for 12 s: is the camera plugged in?"]
    slow.close()
    broken = bench("glass")
    broken.camera_works, broken.camera_says = False, "camera 0: only 0 found"
    broken.live(5)
    assert [event.message for event in broken.recorded(Fault)] == ["camera 0: only 0 found"]


def test_a_camera_fault_names_the_latest_cause(bench: Benches) -> None:
    bin_ = bench("glass")
    assert bin_.live(5, until=lambda: bin_.sorter.mode == "ready")
    bin_.camera_works, bin_.camera_says = False, "camera /dev/video0: permission denied"
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "fault")
    assert [event.message for event in bin_.recorded(Fault)] == ["camera /dev/video0: permission denied"]
    bin_.camera_says = "camera /dev/video0: no such device"
    bin_.live(30)
    assert bin_.sorter.fault is not None
    assert bin_.sorter.fault.message == "camera /dev/video0: no such device", "the state follows the cause"
    assert len(bin_.recorded(Fault)) == 1, "and it is still one fault"
    bin_.camera_works = True
    assert bin_.live(30, until=lambda: bool(bin_.recorded(Cleared)))


def test_a_view_that_is_never_still_is_one_camera_fault(bench: Benches) -> None:
    bin_ = bench("glass")
    bin_.lamp_flickers = True
    bin_.live(300, frame_s=1.0)
    (fault,) = bin_.recorded(Fault)
    assert fault.fault == "camera" and "does something move there, or the lamp flicker?" in fault.message
    assert not bin_.recorded(Cleared)
    bin_.lamp_flickers = False
    assert bin_.live(60, until=lambda: bin_.sorter.mode == "ready")
    assert len(bin_.recorded(Cleared)) == 1


def test_refused_events_are_stored_in_order_once_there_is_room(bench: Benches) -> None:
    bin_ = bench("glass", "paper")
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "sorting")
    bin_.disk.works = False
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "fault")
    assert bin_.sorter.fault is not None and bin_.sorter.fault.fault == "ledger"
    bin_.live(30)
    assert not bin_.recorded(ItemSorted)
    bin_.disk.works = True
    assert bin_.live(60, until=lambda: len(bin_.recorded(ItemSorted)) == 2)
    kinds = [type(event) for event in bin_.events]
    assert kinds == [ItemSorted, Fault, Cleared, ItemSorted]


class GoesAway:
    """An interpreter whose device is unplugged after so many pictures."""

    def __init__(self, interpreter: Any, pictures: int) -> None:
        self._interpreter, self._left = interpreter, pictures

    def invoke(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("Node number 0 (EdgeTpuDelegateForCustomOp) failed to invoke.")
        self._interpreter.invoke()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._interpreter, name)


def unplugged_after(bundle: Bundle, pictures: int) -> Classifier:
    whole = load_runtime(bundle)
    return Classifier(bundle, dataclasses.replace(whole, interpreter=GoesAway(whole.interpreter, pictures)))


def degraded(bundle: Bundle) -> Callable[[str], Classifier]:
    return lambda why: Classifier(bundle, load_runtime(bundle, degraded=why))


def test_the_spare_runtime_judges_the_same_item(bench: Benches, tiny_bundle: Bundle) -> None:
    bin_ = bench("glass", "metal", classifier=unplugged_after(tiny_bundle, 0), open_spare=degraded(tiny_bundle))
    assert bin_.live(60, until=lambda: len(bin_.recorded(ItemSorted)) == 2)
    assert [(fault.fault, "failed to invoke" in fault.message) for fault in bin_.recorded(Fault)] == [("classifier", True)]
    assert [cleared.fault for cleared in bin_.recorded(Cleared)] == ["classifier"]
    assert [event.label for event in bin_.recorded(ItemSorted)] == ["glass", "metal"]
    assert "failed to invoke" in bin_.judge.classifier.runtime.degraded


@pytest.mark.parametrize("has_spare", [False, True], ids=["no other runtime", "the other runtime fails too"])
def test_without_a_runtime_left_the_sorter_gives_up(bench: Benches, tiny_bundle: Bundle, has_spare: bool) -> None:
    spare = (lambda why: unplugged_after(tiny_bundle, 0)) if has_spare else None
    bin_ = bench("glass", classifier=unplugged_after(tiny_bundle, 0), open_spare=spare)
    with pytest.raises(RuntimeFault, match="failed to invoke"):
        bin_.live(60)
    bin_.live(0.0)
    assert [fault.fault for fault in bin_.recorded(Fault)] == ["classifier"] * (1 + has_spare)
    assert not bin_.landed, "nothing moved"
