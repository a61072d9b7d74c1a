"""The reference of the empty tray after a restart: a stored one, an outdated one, and one that was learned with an item."""

from collections.abc import Callable

import pytest

from device.events import Cleared, ItemInterrupted, ItemSorted, Jam
from device.sorting.empty_reference import EmptyReference
from device.vision.isolation.background import BackgroundModel
from tests.device.virtual import Bench

pytestmark = pytest.mark.slow

Benches = Callable[..., Bench]


def test_an_item_jammed_before_a_power_cut_leaves_no_ghost(bench: Benches) -> None:
    first = bench("glass", sticks=lambda _: True)
    assert first.live(60, until=lambda: first.sorter.mode == "fault")
    first.close()
    stored = {"detector": first.detector.copy(), "background": first.background.copy()}
    second = bench("glass", "paper", **stored, first_after_s=0.0, sticks=lambda thing: thing.label == "glass")
    assert second.live(60, until=lambda: bool(second.recorded(Cleared)))
    second.live(5)
    assert second.sorter.mode == "ready", "what does not leave at the start is taken for the tray"
    second.bin.take_away()
    assert second.live(60, until=lambda: bool(second.recorded(ItemSorted)))
    second.live(5)
    assert [event.label for event in second.recorded(ItemSorted)] == ["paper"]
    assert len(second.recorded(Jam)) == 1 and second.sorter.mode == "ready"


def test_an_item_that_jams_first_after_a_power_cut_is_not_the_tray(bench: Benches) -> None:
    first = bench()
    first.live(3)
    first.close()
    second = bench("glass", "paper", detector=first.detector.copy(), first_after_s=5.0, sticks=lambda thing: thing.label == "glass")
    assert second.live(60, until=lambda: bool(second.recorded(Jam)))
    second.live(30)
    assert second.sorter.mode == "fault" and not second.recorded(Cleared), "the tray was seen empty before: what lies there is an item"
    second.bin.take_away()
    assert second.live(60, until=lambda: bool(second.recorded(ItemSorted)))
    assert [event.label for event in second.recorded(ItemSorted)] == ["paper"]


def test_a_reference_learned_with_an_item_is_discarded_once_it_is_gone(bench: Benches) -> None:
    first = bench()
    first.live(5)
    earlier = EmptyReference(first.detector.copy(), BackgroundModel([first.bin.picture(first.now_s)]))
    first.close()
    second = bench("glass", "paper", earlier_reference=earlier, first_after_s=0.0, sticks=lambda thing: thing.label == "glass")
    second.live(10)
    assert second.sorter.mode == "ready" and second.thrown and not second.landed, "it was learned as the empty tray"
    second.bin.take_away()
    assert second.live(60, until=lambda: bool(second.recorded(ItemSorted)))
    assert [event.label for event in second.recorded(ItemSorted)] == ["paper"]
    assert not second.recorded(Jam) and not second.recorded(ItemInterrupted)


@pytest.mark.parametrize("change", ["another light", "a stain"])
def test_a_tray_that_changed_while_off_is_learned_again(bench: Benches, change: str) -> None:
    first = bench("glass")
    first.live(3)
    detector, stored = first.detector, first.detector.export()
    assert stored is not None
    first.close()
    if change == "a stain":
        stored[0, 20:35, 10:30] -= 60
    detector.restore(stored if change == "a stain" else stored * 0.3)
    second = bench("paper", "metal", detector=detector)
    assert second.live(60, until=lambda: bool(second.recorded(ItemSorted)) and second.recorded(ItemSorted)[-1].label == "metal")
    assert second.sorter.fault is None
    assert len(second.recorded(Jam)) == (change == "a stain"), "a stain is first taken for an item that will not leave"
