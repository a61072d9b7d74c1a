"""A whole virtual bin that fills up: it closes, items go elsewhere, it is emptied and opens again, over restarts too."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from device.events import BinEmptied, BinFull, Event, ItemRejected, ItemSorted
from device.sensors.estimate import EstimateSettings
from device.sensors.simulated import SimulatedLevelSettings
from device.vision.inference.bundle import Bundle
from device.vision.inference.preprocess import Pixels
from tests.device.virtual import Bench, BenchSetup, photos

GLASS = SimulatedLevelSettings(bin="glass", interval_s=1.0, good_for_s=20)
TRASH = SimulatedLevelSettings(bin="trash", interval_s=1.0, good_for_s=20)
ESTIMATED = EstimateSettings(bin="glass", capacity_l=2.0, item_l=1.0, interval_s=1.0, good_for_s=20)

Benches = Callable[..., Bench]


@pytest.fixture
def bench(tiny_bundle: Bundle, tmp_path: Path, painted: Callable[..., Pixels]) -> Iterator[Benches]:
    """`bench("glass", "paper")`: a bin that two items fill, into which these labels are thrown; a later call is its next start."""
    opened: list[Bench] = []

    def make(*labels: str, **more: Any) -> Bench:
        things = photos(tmp_path, painted, labels)
        opened.append(Bench(tiny_bundle, tmp_path / "state", things, BenchSetup(**({"levels": [GLASS], "items_to_fill": 2} | more))))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def sort(bin_: Bench, items: int) -> list[tuple[str, str]]:
    """Let the bin sort until so many items have fallen in all. Bin and reason of each, `sorted` for one that went where it belongs."""
    assert bin_.live(40 * items, until=lambda: len(items_of(bin_.events)) == items)
    return [(event.bin, event.reason if isinstance(event, ItemRejected) else "sorted") for event in items_of(bin_.events)]


def items_of(events: list[Any]) -> list[ItemSorted | ItemRejected]:
    return [event for event in events if isinstance(event, ItemSorted | ItemRejected)]


def levels_of(bin_: Bench) -> list[Event]:
    return [event for event in bin_.events if isinstance(event, BinFull | BinEmptied)]


def test_a_full_bin_is_closed_and_opens_when_it_was_emptied(bench: Benches) -> None:
    bin_ = bench("glass", "glass", "glass", "trash", "trash", "glass", levels=[GLASS, TRASH])
    assert sort(bin_, 2) == [("glass", "sorted")] * 2
    assert bin_.live(20, until=lambda: bin_.levels.full == {"glass"})
    assert sort(bin_, 4)[2:] == [("trash", "full"), ("trash", "sorted")]
    assert bin_.live(20, until=lambda: bin_.levels.full == {"glass", "trash"})
    assert sort(bin_, 5)[4] == ("trash", "sorted"), "the residual bin stays open"
    bin_.throws = False
    bin_.contents.empty("glass")
    assert bin_.live(20, until=lambda: bin_.levels.full == {"trash"})
    bin_.throws = True
    assert sort(bin_, 6)[5] == ("glass", "sorted")
    full, trash_full, emptied = levels_of(bin_)
    assert isinstance(full, BinFull) and (full.bin, full.source) == ("glass", "simulated") and full.percent is not None and full.percent > 95
    assert isinstance(trash_full, BinFull) and trash_full.bin == "trash"
    assert isinstance(emptied, BinEmptied) and (emptied.bin, emptied.by, emptied.items) == ("glass", "sensor", 2)


def test_a_full_bin_is_full_after_a_power_cut_and_told_once(bench: Benches) -> None:
    before = bench("glass", "glass")
    sort(before, 2)
    assert before.live(20, until=lambda: bool(before.recorded(BinFull)))
    before.cut_power()
    bin_ = bench("glass", contents=before.contents)
    assert bin_.levels.full == {"glass"}
    assert bin_.levels.status["glass"].source == "remembered"
    assert sort(bin_, 1) == [("trash", "full")]
    assert bin_.levels.status["glass"].source == "simulated"
    assert levels_of(bin_) == []


def test_an_estimate_is_full_after_a_power_cut_by_the_ledger(bench: Benches) -> None:
    before = bench("glass", "glass", levels=[ESTIMATED])
    sort(before, 2)
    assert before.live(20, until=lambda: "glass" in before.levels.full)
    before.cut_power()
    bin_ = bench("glass", "glass", levels=[ESTIMATED])
    assert sort(bin_, 1) == [("trash", "full")]
    bin_.levels.emptied("glass")
    assert sort(bin_, 2)[1] == ("glass", "sorted")
    assert bin_.live(5, until=lambda: bin_.levels.status["glass"].percent == 50)
    (emptied,) = levels_of(bin_)
    assert isinstance(emptied, BinEmptied) and (emptied.by, emptied.items) == ("command", 2)


def test_a_sensor_that_fails_stops_no_sorting(bench: Benches) -> None:
    bin_ = bench("glass", "paper")
    sort(bin_, 1)
    bin_.sensor_faults["glass"].dead = True
    assert sort(bin_, 2) == [("glass", "sorted"), ("paper", "sorted")]
    assert bin_.sorter.fault is None
    assert bin_.levels.status["glass"].error == "level glass (simulated): does not answer"


def test_a_beam_confirms_each_drop_and_says_where_it_saw_none(bench: Benches) -> None:
    bin_ = bench("glass", "paper", "glass", "glass", levels=[SimulatedLevelSettings(bin="glass", interval_s=1.0, confirm=True)], items_to_fill=9)
    sort(bin_, 2)
    bin_.contents.sees_falls = False
    sort(bin_, 3)
    bin_.sensor_faults["glass"].dead = True
    sort(bin_, 4)
    assert [event.confirmed for event in items_of(bin_.events)] == [True, None, False, None]
