"""One item's journey, from the tray to the ledger. Model, ledger and sorter are real; time, light and gravity are simulated."""

from collections.abc import Callable

from device.events import ItemInterrupted, ItemRejected, ItemSorted
from device.sorting.control_steps import SortingSettings
from device.vision.inference.bundle import Bundle
from device.vision.inference.preprocess import Pixels
from tests.device.sorting.conftest import taught_as
from tests.device.virtual import Bench

Benches = Callable[..., Bench]


def test_items_fall_into_the_bins_their_events_name(bench: Benches) -> None:
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


def test_taught_labels_hold_at_the_bin(bench: Benches, tiny_bundle: Bundle, painted: Callable[..., Pixels]) -> None:
    """What is metal on training photos was taught as glass here, and looks the same."""
    bin_ = bench("metal", teaching=taught_as({"metal": "glass", "glass": "metal"}, tiny_bundle, painted))
    assert bin_.live(20, until=lambda: bool(bin_.recorded(ItemSorted)))
    (event,) = bin_.recorded(ItemSorted)
    assert event.label == "glass"


def test_an_unsure_item_goes_to_the_residual_bin(bench: Benches) -> None:
    bin_ = bench("")
    assert bin_.live(20, until=lambda: bool(bin_.recorded(ItemRejected)))
    (event,) = bin_.recorded(ItemRejected)
    assert (event.bin, event.reason) == (bin_.rules.residual, "unsure")
    assert event.frames == SortingSettings().burst
    assert [landed.bin for landed in bin_.landed] == [bin_.rules.residual]


def test_a_clear_item_ends_its_burst_early(bench: Benches) -> None:
    bin_ = bench("glass", sorting=SortingSettings(decided_above=0.6))
    assert bin_.live(20, until=lambda: bool(bin_.recorded(ItemSorted)))
    assert bin_.recorded(ItemSorted)[0].frames < SortingSettings().burst


def test_a_large_item_is_judged_in_its_view_as_well(bench: Benches) -> None:
    bin_ = bench("glass", sorting=SortingSettings(decided_above=0.01))
    assert bin_.live(20, until=lambda: bool(bin_.recorded(ItemSorted)))
    (event,) = bin_.recorded(ItemSorted)
    assert event.isolated and event.frames == 2


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


def test_an_item_removed_before_it_is_judged_leaves_no_event(bench: Benches) -> None:
    bin_ = bench("glass", "paper")
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "sorting")
    bin_.bin.take_away()
    assert bin_.live(30, until=lambda: bool(bin_.recorded(ItemSorted)))
    assert [event.label for event in bin_.recorded(ItemSorted)] == ["paper"]
    assert not bin_.recorded(ItemInterrupted)


def test_an_item_removed_before_its_intent_moves_no_gate(bench: Benches) -> None:
    bin_ = bench("glass", "paper")
    bin_.disk.before_intents = bin_.bin.take_away
    assert bin_.live(20, until=lambda: bool(bin_.recorded(ItemInterrupted)))
    assert bin_.recorded(ItemInterrupted)[0].reason == "removed"
    assert all(gate.opening(bin_.now_s) == 0 for gate in bin_.gates.values())
    assert not bin_.landed


def test_an_item_removed_before_the_gate_is_open_is_not_sorted(bench: Benches) -> None:
    bin_ = bench("glass", "paper")
    assert bin_.live(20, until=lambda: bin_.gates["glass"].opening(bin_.now_s) > 0.01)
    bin_.bin.take_away()
    assert bin_.live(60, until=lambda: bool(bin_.recorded(ItemSorted)))
    assert [(event.label, event.reason) for event in bin_.recorded(ItemInterrupted)] == [("glass", "removed")]
    assert [event.label for event in bin_.recorded(ItemSorted)] == ["paper"]
    assert [landed.bin for landed in bin_.landed] == ["paper"]


def test_stopping_records_the_present_item_as_interrupted(bench: Benches) -> None:
    bin_ = bench("glass")
    assert bin_.live(20, until=lambda: bin_.gates["glass"].opening(bin_.now_s) > 0.1)
    bin_.close()
    (event,) = bin_.recorded(ItemInterrupted)
    assert (event.bin, event.label, event.reason) == ("glass", "glass", "stopped")


def test_each_judged_item_is_offered_as_a_sample(bench: Benches) -> None:
    bin_ = bench("glass", "")
    assert bin_.live(40, until=lambda: len(bin_.offered) == 2)
    sorted_, unsure = bin_.offered
    assert (sorted_.note.label, sorted_.note.reason, unsure.note.reason) == ("glass", "confident", "unsure")
    assert sorted_.pixels.shape[:2] == (480, 640) and sorted_.embedding.shape == (8,)
    assert sorted_.mask is None or sorted_.mask.shape == sorted_.pixels.shape[:2]
    assert [event.item for event in (*bin_.recorded(ItemSorted), *bin_.recorded(ItemRejected))] == [sorted_.note.item, unsure.note.item]
