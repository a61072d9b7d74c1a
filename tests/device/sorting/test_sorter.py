"""The life of an item, from the tray to the ledger, with everything real but time, light and gravity."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from converter.bundle.embedding_stats import fit_embedding_stats
from device.adaptation.label_prior import SiteSettings
from device.events import Cleared, Fault, Hazard, ItemInterrupted, ItemRejected, ItemSorted, Jam
from device.policy.rules import default_rules
from device.simulation.items import VirtualItem, shipped_items
from device.sorting.control_steps import SortingSettings
from device.sorting.empty_reference import EmptyReference
from device.vision.fewshot.fewshot_head import EmbeddedPhoto, FewshotHead, examples_of, teach
from device.vision.inference.bundle import Bundle, default_bundle, read_bundle
from device.vision.inference.classifier import Classifier, Outputs
from device.vision.inference.preprocess import Pixels
from device.vision.inference.runtime import RuntimeFault, load_runtime
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.isolate import paint
from tests.device.virtual import Bench, BenchSetup, photos

Benches = Callable[..., Bench]
SIDE_PX = 160


@pytest.fixture
def bench(tiny_bundle: Bundle, tmp_path: Path, painted: Callable[..., Pixels]) -> Iterator[Benches]:
    """`bench("glass", "paper")`: a bin into which these labels are thrown one after the other."""
    opened: list[Bench] = []

    def make(*labels: str, **more: Any) -> Bench:
        things = photos(tmp_path, painted, labels)
        opened.append(Bench(tiny_bundle, tmp_path / "state", things, BenchSetup(**more)))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def test_every_item_falls_into_the_bin_that_its_event_names(bench: Benches) -> None:
    labels = ("glass", "paper", "metal", "cardboard", "plastic", "trash")
    bin_ = bench(*labels)
    assert bin_.live(60, until=lambda: len(bin_.recorded(ItemSorted)) == len(labels))
    events = bin_.recorded(ItemSorted)
    assert [event.label for event in events] == list(labels)
    assert [event.bin for event in events] == [bin_.rules.bin_of(label) for label in labels]
    assert [landed.bin for landed in bin_.landed] == [event.bin for event in events]
    assert len({event.item for event in events}) == len(labels)
    assert [event.seq for event in events] == sorted(event.seq for event in events)
    assert bin_.live(5, until=lambda: bin_.sorter.mode == "ready")


def taught_as(renamed: dict[str, str], tiny_bundle: Bundle, painted: Callable[..., Pixels]) -> FewshotHead:
    """Teach each label's colour under another name."""
    classifier, rng = Classifier(tiny_bundle), np.random.default_rng(0)

    def outputs(label: str) -> Outputs:
        noisy = painted(label, 48, 64) * rng.uniform(0.85, 1) + rng.normal(0, 6, (48, 64, 3))
        mask = np.zeros((48, 64), np.uint8)
        mask[4:44, 5:59] = 255
        return classifier.outputs(paint(np.clip(noisy, 0, 255).astype(np.uint8), mask, tiny_bundle.info.ground))

    labels = tiny_bundle.info.labels
    trained = [(number, outputs(label)) for number, label in enumerate(labels) for _ in range(12)]
    reference = fit_embedding_stats(np.stack([made.embedding for _, made in trained]), np.array([number for number, _ in trained]), len(labels))
    shown = [EmbeddedPhoto(renamed.get(label, label), [outputs(label)], isolated=True) for label in labels for _ in range(8)]
    return teach(examples_of(shown, tiny_bundle), tiny_bundle, reference, None, only=False)


def test_a_taught_hazard_is_held(bench: Benches, tiny_bundle: Bundle, painted: Callable[..., Pixels], tmp_path: Path) -> None:
    text = default_rules().read_text(encoding="utf-8").replace('labels = ["trash"]', 'labels = ["trash", "battery"]')
    (tmp_path / "pack.toml").write_text(text.replace("[bins.paper]", 'taught = ["battery"]\nhazards = ["battery"]\n[bins.paper]'), encoding="utf-8")
    bin_ = bench("metal", teaching=taught_as({"metal": "battery"}, tiny_bundle, painted), rules=tmp_path / "pack.toml")
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "fault")
    assert [(event.label, event.bin) for event in bin_.recorded(Hazard)] == [("battery", "")]


def test_a_bin_is_always_at_the_place_that_it_was_taught_at(bench: Benches, tiny_bundle: Bundle, painted: Callable[..., Pixels]) -> None:
    """What is metal on training photos was taught as glass here, and looks the same."""
    bin_ = bench("metal", teaching=taught_as({"metal": "glass", "glass": "metal"}, tiny_bundle, painted))
    assert bin_.live(20, until=lambda: bool(bin_.recorded(ItemSorted)))
    (event,) = bin_.recorded(ItemSorted)
    assert event.label == "glass"


def test_an_item_that_could_be_anything_goes_to_the_residual_bin(bench: Benches) -> None:
    bin_ = bench("")
    assert bin_.live(20, until=lambda: bool(bin_.recorded(ItemRejected)))
    (event,) = bin_.recorded(ItemRejected)
    assert (event.bin, event.reason) == (bin_.rules.residual, "unsure")
    assert event.frames == SortingSettings().burst
    assert [landed.bin for landed in bin_.landed] == [bin_.rules.residual]


def test_a_clear_item_is_judged_by_fewer_frames_than_an_unclear_one(bench: Benches) -> None:
    bin_ = bench("glass", sorting=SortingSettings(decided_above=0.6))
    assert bin_.live(20, until=lambda: bool(bin_.recorded(ItemSorted)))
    assert bin_.recorded(ItemSorted)[0].frames < SortingSettings().burst


def test_in_safe_mode_everything_goes_to_the_residual_bin(bench: Benches) -> None:
    bin_ = bench("glass", residual_only=True)
    assert bin_.live(20, until=lambda: bool(bin_.recorded(ItemRejected)))
    (event,) = bin_.recorded(ItemRejected)
    assert (event.label, event.bin, event.reason) == ("glass", bin_.rules.residual, "safe_mode")


def test_after_safe_mode_items_go_where_they_belong(bench: Benches) -> None:
    bin_ = bench("glass", "paper", residual_only=True)
    assert bin_.live(20, until=lambda: bool(bin_.recorded(ItemRejected)))
    assert bin_.sorter.safe_mode
    bin_.sorter.leave_safe_mode()
    assert not bin_.sorter.safe_mode
    assert bin_.live(20, until=lambda: bool(bin_.recorded(ItemSorted)))
    assert bin_.recorded(ItemSorted)[0].bin == "paper"


@pytest.fixture
def guarded(tmp_path: Path) -> Callable[..., Path]:
    """`guarded("glass", into="")`: TrashNet's pack with that label as a hazard."""

    def make(hazard: str, into: str) -> Path:
        text = default_rules().read_text(encoding="utf-8")
        head = f'hazards = ["{hazard}"]\n[hazard]\ninto = "{into}"\n'
        (tmp_path / "guarded.toml").write_text(text.replace("[bins.paper]", f"{head}[bins.paper]"), encoding="utf-8")
        return tmp_path / "guarded.toml"

    return make


def test_a_hazard_is_held_until_a_hand_has_taken_it(bench: Benches, guarded: Callable[..., Path]) -> None:
    bin_ = bench("glass", "paper", rules=guarded("glass", into=""))
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "fault")
    (hazard,) = bin_.recorded(Hazard)
    assert (hazard.label, hazard.bin) == ("glass", "") and hazard.p > 0.5
    (fault,) = bin_.recorded(Fault)
    assert fault.fault == "hazard" and "may be glass" in fault.message
    bin_.live(60)
    assert bin_.sorter.mode == "fault" and not bin_.landed, "it waits for a hand for as long as that takes"
    assert all(gate.opening(bin_.now_s) == 0 for gate in bin_.gates.values())
    bin_.bin.take_away()
    assert bin_.live(30, until=lambda: bool(bin_.recorded(ItemSorted)))
    assert [event.fault for event in bin_.recorded(Cleared)] == ["hazard"]
    assert [event.label for event in bin_.recorded(ItemSorted)] == ["paper"]
    assert len(bin_.recorded(Hazard)) == 1 and not bin_.recorded(ItemInterrupted)
    assert [sighting.note.reason for sighting in bin_.offered] == ["hazard", "confident"], "a person's label for it is worth something"


def test_a_hazard_goes_to_the_bin_for_hazards_and_is_told_before_its_gate_opens(bench: Benches, guarded: Callable[..., Path]) -> None:
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


def test_a_hazard_that_the_place_does_not_list_is_held_all_the_same(bench: Benches, guarded: Callable[..., Path]) -> None:
    bin_ = bench("glass", rules=guarded("glass", into=""), site=SiteSettings(labels=("metal", "paper")))
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "fault")
    assert [event.label for event in bin_.recorded(Hazard)] == ["glass"]


def test_a_hazard_is_held_in_safe_mode(bench: Benches, guarded: Callable[..., Path]) -> None:
    bin_ = bench("glass", rules=guarded("glass", into="glass"), residual_only=True)
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "fault")
    assert [event.bin for event in bin_.recorded(Hazard)] == [""] and not bin_.landed


@pytest.mark.parametrize("taken_after_s", [5.0, 40.0])
def test_a_hazard_that_is_held_is_not_learned_with_a_new_look_of_the_tray(
    tiny_bundle: Bundle, painted: Callable[..., Pixels], guarded: Callable[..., Path], taken_after_s: float, tmp_path: Path
) -> None:
    hazard = dataclasses.replace(photos(tmp_path, painted, ["glass"])[0], size_cm=14.0)
    bin_ = Bench(tiny_bundle, tmp_path / "state", [hazard], BenchSetup(rules=guarded("glass", into="")))
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "fault")
    wall = cv2.resize(np.random.default_rng(4).integers(40, 220, (9, 12, 3), dtype=np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    bin_.sees = lambda pixels: np.asarray(cv2.addWeighted(wall, 0.8, pixels, 0.2, 0), np.uint8)
    bin_.live(taken_after_s)
    assert bin_.sorter.mode == "fault" and not bin_.recorded(Cleared)
    bin_.bin.take_away()
    assert bin_.live(40, until=lambda: bin_.sorter.mode == "ready")
    assert [event.fault for event in bin_.recorded(Cleared)] == ["camera", "hazard"] and not bin_.opened
    bin_.close()


@pytest.fixture
def beside(tmp_path: Path) -> Callable[[str, str], VirtualItem]:
    """`beside("food-tin-00", "food-carton-01")`: two of the virtual bin's things, thrown in side by side."""

    def make(*names: str) -> VirtualItem:
        things = {thing.file.stem: thing for thing in shipped_items()}
        picture = np.zeros((SIDE_PX, round(2.3 * SIDE_PX), 4), np.uint8)
        for number, name in enumerate(names):
            rgb, alpha = things[name].picture()
            whole = np.dstack([rgb[..., ::-1], np.rint(alpha * 255).astype(np.uint8)])
            scale = SIDE_PX / max(whole.shape)
            small = cv2.resize(whole, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            left = round(1.3 * SIDE_PX) * number
            picture[: small.shape[0], left : left + small.shape[1]] = small
        cv2.imwrite(str(tmp_path / "both.png"), picture)
        return VirtualItem("both", None, tmp_path / "both.png", 28.0)

    return make


@pytest.mark.parametrize(
    ("pack", "into"), [("", "trash"), ('several = "least_cost"\n[cost]\nresidual = 5.0\n[cost.belongs_in.metal]\npaper = 0.1\n', "paper")]
)
def test_two_things_for_two_bins_go_where_the_pack_says(pack: str, into: str, beside: Callable[[str, str], VirtualItem], tmp_path: Path) -> None:
    rules = tmp_path / "pack.toml"
    top, tables = pack.partition("\n")[::2]
    text = default_rules().read_text(encoding="utf-8").partition("[cost]")[0].replace("[bins.paper]", f"{top}\n[bins.paper]")
    rules.write_text(f"{text}\n{tables}", encoding="utf-8")
    bin_ = Bench(read_bundle(default_bundle()), tmp_path / "state", [beside("food-tin-00", "food-carton-01")], BenchSetup(rules=rules))
    assert bin_.live(30, until=lambda: bool(bin_.recorded(ItemRejected)))
    (event,) = bin_.recorded(ItemRejected)
    assert (event.bin, event.reason, event.pieces, event.isolated) == (into, "several", 2, True)
    assert event.frames == SortingSettings().burst, "it is looked at as often as may be before it is given up"
    bin_.close()


def test_two_things_for_one_bin_go_there_together(beside: Callable[[str, str], VirtualItem], tmp_path: Path) -> None:
    bin_ = Bench(read_bundle(default_bundle()), tmp_path / "state", [beside("newspaper-00", "food-carton-00")])
    assert bin_.live(30, until=lambda: bool(bin_.recorded(ItemSorted)))
    (event,) = bin_.recorded(ItemSorted)
    assert (event.bin, event.pieces) == ("paper", 2)
    bin_.close()


def test_an_item_that_is_taken_away_before_it_is_judged_leaves_no_event(bench: Benches) -> None:
    bin_ = bench("glass", "paper")
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "sorting")
    bin_.bin.take_away()
    assert bin_.live(30, until=lambda: bool(bin_.recorded(ItemSorted)))
    assert [event.label for event in bin_.recorded(ItemSorted)] == ["paper"]
    assert not bin_.recorded(ItemInterrupted)


def test_a_jam_is_said_and_over_once_a_hand_has_taken_the_item(bench: Benches) -> None:
    def sticks(thing: VirtualItem) -> bool:
        return thing.label == "glass"

    bin_ = bench("glass", "paper", sticks=sticks)
    assert bin_.live(60, until=lambda: bin_.sorter.mode == "fault")
    (jam,) = bin_.recorded(Jam)
    settings = SortingSettings()
    assert jam.bin == "glass"
    assert jam.waited_s > settings.drop_s * settings.tries
    bin_.live(30)
    assert bin_.sorter.mode == "fault", "it waits for a hand for as long as that takes"
    bin_.bin.take_away()
    assert bin_.live(30, until=lambda: bool(bin_.recorded(ItemSorted)))
    assert [event.fault for event in bin_.recorded(Cleared)] == ["jam"]
    assert [event.reason for event in bin_.recorded(ItemInterrupted)] == ["fault"]
    assert [event.label for event in bin_.recorded(ItemSorted)] == ["paper"]


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


def test_a_gate_that_stays_shut_is_told_once_however_often_it_is_tried(bench: Benches) -> None:
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


def test_an_item_that_fell_is_counted_though_the_gate_does_not_close(bench: Benches) -> None:
    bin_ = bench("glass", "paper")
    gate = bin_.gates["glass"]
    assert bin_.live(20, until=lambda: gate.opening(bin_.now_s) > 0.99)
    gate.jam(0.9)
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "fault")
    assert [event.label for event in bin_.recorded(ItemSorted)] == ["glass"]
    gate.mend()
    assert bin_.live(90, until=lambda: len(bin_.recorded(ItemSorted)) == 2)
    assert not bin_.recorded(ItemInterrupted)


def test_an_item_that_is_gone_when_the_gate_is_mended_was_interrupted(bench: Benches) -> None:
    bin_ = bench("glass", "paper")
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "sorting")
    bin_.gates["glass"].seize()
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "fault")
    bin_.bin.take_away()
    assert bin_.live(60, until=lambda: bool(bin_.recorded(ItemSorted)))
    assert [event.label for event in bin_.recorded(ItemSorted)] == ["paper"]
    assert [(event.label, event.reason) for event in bin_.recorded(ItemInterrupted)] == [("glass", "fault")]


def test_an_item_that_is_taken_back_before_the_gate_is_open_is_not_counted_as_sorted(bench: Benches) -> None:
    bin_ = bench("glass", "paper")
    assert bin_.live(20, until=lambda: bin_.gates["glass"].opening(bin_.now_s) > 0.01)
    bin_.bin.take_away()
    assert bin_.live(60, until=lambda: bool(bin_.recorded(ItemSorted)))
    assert [(event.label, event.reason) for event in bin_.recorded(ItemInterrupted)] == [("glass", "removed")]
    assert [event.label for event in bin_.recorded(ItemSorted)] == ["paper"]
    assert [landed.bin for landed in bin_.landed] == ["paper"]


def test_an_item_that_is_taken_back_before_its_intent_is_stored_moves_no_gate(bench: Benches) -> None:
    bin_ = bench("glass", "paper")
    bin_.disk.before_intents = bin_.bin.take_away
    assert bin_.live(20, until=lambda: bool(bin_.recorded(ItemInterrupted)))
    assert bin_.recorded(ItemInterrupted)[0].reason == "removed"
    assert all(gate.opening(bin_.now_s) == 0 for gate in bin_.gates.values())
    assert not bin_.landed


def test_a_camera_that_drops_out_amid_a_jam_mends_no_jam(bench: Benches) -> None:
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


def test_an_item_that_jammed_before_a_power_cut_leaves_no_ghost_when_it_is_taken_away(bench: Benches) -> None:
    first = bench("glass", sticks=lambda _: True)
    assert first.live(60, until=lambda: first.sorter.mode == "fault")
    first.close()
    second = bench("glass", "paper", view=first.view.copy(), sticks=lambda thing: thing.label == "glass")
    assert second.live(60, until=lambda: bool(second.recorded(Cleared)))
    second.live(5)
    assert second.sorter.mode == "ready", "what does not leave at the start is taken for the tray"
    second.bin.take_away()
    assert second.live(60, until=lambda: bool(second.recorded(ItemSorted)))
    second.live(5)
    assert [event.label for event in second.recorded(ItemSorted)] == ["paper"]
    assert len(second.recorded(Jam)) == 1 and second.sorter.mode == "ready"


def test_a_tray_that_was_learned_with_an_item_on_it_is_empty_once_that_is_gone(bench: Benches) -> None:
    first = bench()
    first.live(5)
    before = EmptyReference(first.view.copy(), BackgroundModel([first.bin.picture(first.now_s)]))
    first.close()
    second = bench("glass", "paper", before=before, first_after_s=0.0, sticks=lambda thing: thing.label == "glass")
    second.live(10)
    assert second.sorter.mode == "ready" and second.bin.lying is not None, "it was learned as the empty tray"
    second.bin.take_away()
    assert second.live(60, until=lambda: bool(second.recorded(ItemSorted)))
    assert [event.label for event in second.recorded(ItemSorted)] == ["paper"]
    assert not second.recorded(Jam) and not second.recorded(ItemInterrupted)


def test_a_silent_camera_is_a_fault_until_it_speaks_again(bench: Benches) -> None:
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


def test_a_camera_may_take_its_time_to_the_first_frame_unless_it_says_what_is_wrong(bench: Benches) -> None:
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


def test_a_camera_fault_names_the_cause_that_is_known_and_follows_it(bench: Benches) -> None:
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
        bin_.gates[name].release()  # nobody knows where it stands, so it is brought home
    bin_.live(30)
    assert bin_.sorter.fault is not None
    assert bin_.sorter.fault.message == "gate paper: its drive does not answer; gate trash: its drive does not answer"


def test_a_gate_that_fails_while_the_camera_is_away_is_told_at_once(bench: Benches) -> None:
    bin_ = bench("glass")
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "sorting")
    bin_.camera_works = False
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "fault")
    bin_.gates["glass"].break_wire()
    bin_.gates["glass"].release()
    bin_.live(30)
    assert [event.fault for event in bin_.recorded(Fault)] == ["camera", "gate"]
    fault = bin_.sorter.fault
    assert fault is not None
    assert "is the camera plugged in?" in fault.message and "gate glass: its drive does not answer" in fault.message
    bin_.camera_works = True
    bin_.gates["glass"].mend()
    assert bin_.live(90, until=lambda: bin_.sorter.fault is None and bin_.sorter.mode == "ready")
    assert sorted(event.fault for event in bin_.recorded(Cleared)) == ["camera", "gate"]


def test_a_view_that_is_never_still_is_told_once_and_learned_when_it_is(bench: Benches) -> None:
    bin_ = bench("glass")
    bin_.lamp_flickers = True
    bin_.live(300, frame_s=1.0)
    (fault,) = bin_.recorded(Fault)
    assert fault.fault == "camera" and "does something move there, or the lamp flicker?" in fault.message
    assert not bin_.recorded(Cleared)
    bin_.lamp_flickers = False
    assert bin_.live(60, until=lambda: bin_.sorter.mode == "ready")
    assert len(bin_.recorded(Cleared)) == 1


def test_events_that_a_full_disk_refused_are_stored_in_order_once_there_is_room(bench: Benches) -> None:
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


def test_stopping_with_an_item_on_its_way_says_that_it_was_interrupted(bench: Benches) -> None:
    bin_ = bench("glass")
    assert bin_.live(20, until=lambda: bin_.gates["glass"].opening(bin_.now_s) > 0.1)
    bin_.close()
    (event,) = bin_.recorded(ItemInterrupted)
    assert (event.bin, event.label, event.reason) == ("glass", "glass", "stopped")


@pytest.mark.parametrize("change", ["another light", "a stain"])
def test_a_tray_that_changed_while_the_bin_was_off_is_learned_anew(bench: Benches, change: str) -> None:
    first = bench("glass")
    first.live(3)
    view, stored = first.view, first.view.export()
    assert stored is not None
    first.close()
    if change == "a stain":
        stored[0, 20:35, 10:30] -= 60
    view.restore(stored if change == "a stain" else stored * 0.3)
    second = bench("paper", "metal", view=view)
    assert second.live(60, until=lambda: bool(second.recorded(ItemSorted)) and second.recorded(ItemSorted)[-1].label == "metal")
    assert second.sorter.fault is None
    assert len(second.recorded(Jam)) == (change == "a stain"), "a stain is first taken for an item that will not leave"


def test_what_the_bin_saw_of_an_item_may_be_kept(bench: Benches) -> None:
    bin_ = bench("glass", "")
    assert bin_.live(40, until=lambda: len(bin_.offered) == 2)
    sorted_, unsure = bin_.offered
    assert (sorted_.note.label, sorted_.note.reason, unsure.note.reason) == ("glass", "confident", "unsure")
    assert sorted_.pixels.shape[:2] == (480, 640) and sorted_.embedding.shape == (8,)
    assert sorted_.mask is None or sorted_.mask.shape == sorted_.pixels.shape[:2]
    assert [event.item for event in (*bin_.recorded(ItemSorted), *bin_.recorded(ItemRejected))] == [sorted_.note.item, unsure.note.item]


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


def test_when_the_runtime_fails_another_one_judges_the_same_item(bench: Benches, tiny_bundle: Bundle) -> None:
    bin_ = bench("glass", "metal", classifier=unplugged_after(tiny_bundle, 0), open_spare=degraded(tiny_bundle))
    assert bin_.live(60, until=lambda: len(bin_.recorded(ItemSorted)) == 2)
    assert [(fault.fault, "failed to invoke" in fault.message) for fault in bin_.recorded(Fault)] == [("classifier", True)]
    assert [cleared.fault for cleared in bin_.recorded(Cleared)] == ["classifier"]
    assert [event.label for event in bin_.recorded(ItemSorted)] == ["glass", "metal"]
    assert "failed to invoke" in bin_.judge.classifier.runtime.degraded


@pytest.mark.parametrize("has_spare", [False, True], ids=["no other runtime", "the other runtime fails too"])
def test_without_a_runtime_left_the_bin_says_so_and_gives_up(bench: Benches, tiny_bundle: Bundle, has_spare: bool) -> None:
    spare = (lambda why: unplugged_after(tiny_bundle, 0)) if has_spare else None
    bin_ = bench("glass", classifier=unplugged_after(tiny_bundle, 0), open_spare=spare)
    with pytest.raises(RuntimeFault, match="failed to invoke"):
        bin_.live(60)
    bin_.live(0.0)
    assert [fault.fault for fault in bin_.recorded(Fault)] == ["classifier"] * (1 + has_spare)
    assert not bin_.landed, "nothing moved"
