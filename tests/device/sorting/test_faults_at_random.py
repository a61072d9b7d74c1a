"""Random mishaps in random order: every item is recorded once, and a bin that works again sorts again."""

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from device.events import Cleared, Fault, ItemInterrupted, ItemRejected, ItemSorted
from device.simulation.items import VirtualItem
from device.vision.inference.bundle import Bundle
from device.vision.inference.preprocess import Pixels
from tests.device.virtual import Bench, BenchSetup, photos

pytestmark = pytest.mark.slow

LABELS = ("glass", "paper", "metal", "plastic")


def a_hand_takes_the_item(bin_: Bench) -> None:
    """Not while a gate is open: nobody can tell whether an item that goes then has fallen."""
    if not any(gate.opening(bin_.now_s) for gate in bin_.gates.values()):
        bin_.bin.take_away()


MISHAPS: dict[str, Callable[[Bench], None]] = {
    "a hand takes the item": a_hand_takes_the_item,
    "the camera fails": lambda bin_: setattr(bin_, "camera_works", False),
    "the camera works": lambda bin_: setattr(bin_, "camera_works", True),
    "the disk is full": lambda bin_: setattr(bin_.disk, "works", False),
    "the disk has room": lambda bin_: setattr(bin_.disk, "works", True),
    "gates seize": lambda bin_: [gate.seize() for gate in bin_.gates.values()] and None,
    "gates jam": lambda bin_: [gate.jam(0.3) for gate in bin_.gates.values()] and None,
    "wires break": lambda bin_: [gate.break_wire() for gate in bin_.gates.values()] and None,
    "gates work": lambda bin_: [gate.mend() for gate in bin_.gates.values()] and None,
}

mishaps = st.lists(st.tuples(st.floats(0.05, 12), st.sampled_from(sorted(MISHAPS))), max_size=6)


@example(before=[(2.0, "a hand takes the item"), (8.0, "a hand takes the item")], sticky={"glass"})
@example(before=[(2.0, "a hand takes the item"), (3.0, "a hand takes the item")], sticky={"glass"})
@given(before=mishaps, sticky=st.sets(st.sampled_from(LABELS), max_size=1))
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_item_is_recorded_once_and_a_mended_bin_sorts_again(
    before: list[tuple[float, str]], sticky: set[str], tiny_bundle: Bundle, painted: Callable[..., Pixels]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        things = photos(Path(folder), painted, LABELS * 6)

        def sticks(thing: VirtualItem) -> bool:
            return thing.label in sticky and len(bin_.landed) < 3

        bin_ = Bench(tiny_bundle, Path(folder) / "state", things, BenchSetup(sticks=sticks))
        try:
            assert bin_.live(10, until=lambda: bin_.sorter.mode == "ready")
            for after_s, mishap in before:
                bin_.live(after_s)
                MISHAPS[mishap](bin_)
            for mishap in ("the camera works", "the disk has room", "gates work"):
                MISHAPS[mishap](bin_)
            if not bin_.live(150, until=lambda: bin_.sorter.fault is None):
                MISHAPS["a hand takes the item"](bin_)
            assert bin_.live(30, until=lambda: bin_.sorter.fault is None), "what works again is no fault"
            sticky.clear()
            done = len(bin_.landed)
            assert bin_.live(120, until=lambda: len(bin_.landed) >= done + 2), "and sorts"
            assert bin_.live(60, until=lambda: bin_.sorter.mode == "ready")
        finally:
            bin_.close()
        ended = Counter(event.item for event in bin_.events if isinstance(event, ItemSorted | ItemRejected | ItemInterrupted))
        assert set(ended.values()) <= {1}
        counted = [event for event in bin_.events if isinstance(event, ItemSorted | ItemRejected)]
        assert len(counted) <= len(bin_.landed) <= len(ended)
        assert not Counter(event.bin for event in counted) - Counter(landed.bin for landed in bin_.landed)
        begun, over = Counter(event.fault for event in bin_.recorded(Fault)), Counter(event.fault for event in bin_.recorded(Cleared))
        assert begun == over
