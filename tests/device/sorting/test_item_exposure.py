"""An item against the light is judged at an exposure of its own; the tray is compared at the usual one alone, which is set again in every case."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from device.events import Fault, ItemInterrupted, ItemRejected, ItemSorted
from device.simulation.bin import DelayedExposure
from device.simulation.items import VirtualItem
from device.sorting.item_exposure import MOST_FAILURES
from device.vision.inference.bundle import Bundle
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.occupancy import Occupancy, OccupancyDetector, PresenceSettings
from tests.device.virtual import Bench, BenchSetup

pytestmark = pytest.mark.slow

Benches = Callable[..., Bench]


class Fixed(DelayedExposure):
    """A camera whose exposure cannot be asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.range = None


class Refuses(DelayedExposure):
    """Every frame stays at the usual exposure."""

    def next_frame(self) -> float:
        return 1.0


class Late(DelayedExposure):
    """It follows after two seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[float] = [1.0] * 20

    def next_frame(self) -> float:
        self.held.append(super().next_frame())
        return self.held.pop(0)


class Observed(OccupancyDetector):
    """Notes how bright each frame is that is compared with the tray."""

    def __init__(self) -> None:
        super().__init__(PresenceSettings())
        self.seen: list[float] = []

    def observe(self, pixels: Pixels) -> Occupancy:
        self.seen.append(float(pixels[:40, :40].mean()))
        return super().observe(pixels)


@pytest.fixture
def bench(tiny_bundle: Bundle, tmp_path: Path, painted: Callable[..., Pixels]) -> Iterator[Benches]:
    """`bench("plastic", back_lit=45)`: a bin into which round things in these labels' colours are thrown."""
    opened: list[Bench] = []

    def make(*labels: str, **more: Any) -> Bench:
        things = []
        for number, label in enumerate(labels):
            alpha = np.zeros((200, 200), np.uint8)
            cv2.circle(alpha, (100, 100), 95, (255,), cv2.FILLED)
            file = tmp_path / f"{number}.png"
            cv2.imwrite(str(file), np.dstack([cv2.cvtColor(painted(label, 200, 200), cv2.COLOR_RGB2BGR), alpha]))
            things.append(VirtualItem(label, label, file, 20.0))
        opened.append(Bench(tiny_bundle, tmp_path / "state", things, BenchSetup(**more)))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def outcomes(bin_: Bench) -> list[Any]:
    return [event for event in bin_.events if isinstance(event, ItemSorted | ItemRejected)]


def sorts(bin_: Bench, number: int) -> list[str]:
    """Until so many items are sorted or rejected: the labels they got."""
    assert bin_.live(15 * number, until=lambda: len(outcomes(bin_)) == number)
    return [event.label for event in outcomes(bin_)]


def waits_while_exposed(bin_: Bench) -> bool:
    return bin_.live(20, until=lambda: bin_.exposures != [] and bin_.exposures[-1] != 1.0)


def test_an_item_against_the_light_is_judged_at_its_own_exposure(bench: Benches) -> None:
    detector = Observed()
    bin_ = bench("plastic", "trash", back_lit=45, detector=detector)
    assert sorts(bin_, 2) == ["plastic", "trash"]
    assert bin_.exposures[-1] == 1.0 and max(bin_.exposures) > 4
    assert max(detector.seen) < 230, "no frame of a long exposure was compared with the tray"
    assert not bin_.recorded(Fault)
    kept = bin_.offered[0]
    assert kept.mask is not None and kept.pixels[kept.mask > 200].max(axis=1).mean() > 130, "a person is shown what was judged"


def test_without_it_such_an_item_is_not_known(bench: Benches) -> None:
    bin_ = bench("plastic", back_lit=45, exposure=Fixed)
    sorts(bin_, 1)
    (event,) = outcomes(bin_)
    assert event.p < 0.9


def test_in_ordinary_light_no_other_exposure_is_asked_for(bench: Benches) -> None:
    bin_ = bench("plastic")
    assert sorts(bin_, 1) == ["plastic"]
    assert bin_.exposures == []


@pytest.mark.parametrize("exposure", [Refuses, Late])
def test_a_camera_that_does_not_answer_in_time_costs_a_bounded_wait(bench: Benches, exposure: type[DelayedExposure]) -> None:
    bin_ = bench("plastic", back_lit=45, exposure=exposure)
    sorts(bin_, 1)
    (event,) = outcomes(bin_)
    assert bin_.exposures[-1] == 1.0 and not bin_.recorded(Fault)
    assert event.decided_s < 6


def test_a_camera_that_ignores_it_is_soon_not_asked_any_more(bench: Benches, caplog: pytest.LogCaptureFixture) -> None:
    bin_ = bench(*["plastic"] * (MOST_FAILURES + 1), back_lit=45)
    bin_.ignores_exposure = True
    sorts(bin_, MOST_FAILURES + 1)
    assert sum(exposure != 1.0 for exposure in bin_.exposures) == MOST_FAILURES and bin_.exposures[-1] == 1.0
    assert "does not expose for an item" in caplog.text and not bin_.recorded(Fault)


def test_an_item_taken_away_while_exposed_is_not_sorted(bench: Benches) -> None:
    bin_ = bench("plastic", "trash", back_lit=45)
    assert waits_while_exposed(bin_)
    bin_.bin.take_away()
    assert sorts(bin_, 1) == ["trash"]
    assert bin_.exposures[-1] == 1.0 and not bin_.recorded(ItemInterrupted) and not bin_.recorded(Fault)


def test_stopping_while_exposed_sets_the_camera_back(bench: Benches) -> None:
    bin_ = bench("plastic", back_lit=45)
    assert waits_while_exposed(bin_)
    bin_.sorter.stop()
    assert bin_.exposures[-1] == 1.0


def test_an_item_is_judged_later_where_the_camera_dies_while_exposed(bench: Benches) -> None:
    bin_ = bench("plastic", back_lit=45)
    assert waits_while_exposed(bin_)
    bin_.camera_works, bin_.camera_says = False, "unplugged"
    assert bin_.live(20, until=lambda: bin_.sorter.mode == "fault")
    assert bin_.exposures[-1] == 1.0
    bin_.camera_works = True
    assert sorts(bin_, 1) == ["plastic"]
    assert [fault.fault for fault in bin_.recorded(Fault)] == ["camera"]
