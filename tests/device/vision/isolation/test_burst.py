"""Frames of one item: isolated once while it lies still, and again when it moved."""

import numpy as np
import pytest

from device.simulation.items import VirtualItem, shipped_items
from device.simulation.tray_renderer import Pose, TrayRenderer
from device.vision.inference.ground import PLAIN
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.burst import Burst
from device.vision.isolation.isolate import Ground, Isolated, isolate
from device.vision.isolation.occupancy import OccupancyDetector, PresenceSettings
from device.vision.isolation.tta import FRAME_CROPS, Look, crops_of, mask_crop, take_look

GROUND = PLAIN
HERE, AWAY = Pose(0.45, 0.5, 20.0), Pose(0.55, 0.5, 20.0)


class Bin:
    """A tray with a learned empty view, a burst of one item on it, and the frames that `isolate` was called for."""

    def __init__(self, thing: VirtualItem) -> None:
        self.tray = TrayRenderer(np.random.default_rng(3))
        self.view, self.empty = OccupancyDetector(PresenceSettings()), BackgroundModel()
        while not self.view.learned:
            self.view.learn(self.tray.picture(None, 0.0, 1.0))
        self.empty.add(self.tray.picture(None, 0.0, 1.0))
        self.tray.lay(thing)
        self.isolated: list[Pixels] = []
        self.seen: Look | None = None
        self.burst = Burst(self.view, self.empty, GROUND, isolate=self._isolate)

    def look(self, pose: Pose | None, exposure: float = 1.0) -> tuple[Pixels, Isolated]:
        frame = self.tray.picture(pose, 0.0, exposure)
        self.view.observe(frame)
        item, self.seen = self.burst.add_frame(frame)
        return frame, item

    @property
    def picture(self) -> Pixels:
        """What the latest frame gave to judge."""
        assert self.seen is not None
        return self.seen.picture

    def _isolate(self, frame: Pixels, empty: BackgroundModel, ground: Ground) -> Isolated:
        self.isolated.append(frame)
        return isolate(frame, empty, ground)


@pytest.fixture
def bin_() -> Bin:
    return Bin(next(thing for thing in shipped_items() if thing.file.stem == "wine-bottle-00"))


def overlap(one: Isolated, other: Isolated) -> float:
    a, b = one.mask > 127, other.mask > 127
    return float((a & b).sum() / (a | b).sum())


def test_a_still_item_is_isolated_once_and_each_frame_gives_another_look(bin_: Bin) -> None:
    _, first = bin_.look(HERE)
    assert first.found
    for number, exposure in enumerate((1.0, 0.99, 1.01, 1.0), 1):
        frame, again = bin_.look(HERE, exposure)
        assert again.mask is first.mask and again.box == first.box
        np.testing.assert_array_equal(bin_.picture, take_look(frame, first, GROUND, number, crops_of(first)).picture)
        assert overlap(again, isolate(frame, bin_.empty, GROUND)) > 0.95
    assert len(bin_.isolated) == 1


def test_an_item_that_moves_within_the_burst_is_isolated_again(bin_: Bin) -> None:
    _, first = bin_.look(HERE)
    bin_.look(HERE)
    frame, moved = bin_.look(AWAY)
    assert bin_.isolated[-1] is frame and len(bin_.isolated) == 2
    assert moved.found and overlap(first, moved) < 0.7
    _, again = bin_.look(AWAY)
    assert again.mask is moved.mask and len(bin_.isolated) == 2


def test_a_creeping_item_is_isolated_again(bin_: Bin) -> None:
    for step in range(21):
        frame, item = bin_.look(Pose(0.45 + step * 0.005, 0.5, 20.0))
        assert overlap(item, isolate(frame, bin_.empty, GROUND)) > 0.8
    assert 1 < len(bin_.isolated) < 21


def test_without_an_isolated_item_each_frame_is_isolated_again(bin_: Bin) -> None:
    for number in range(3):
        frame, nothing = bin_.look(None)
        assert not nothing.found and nothing.why == "nothing differs"
        np.testing.assert_array_equal(bin_.picture, take_look(frame, nothing, GROUND, number, FRAME_CROPS).picture)
    assert len(bin_.isolated) == 3


def test_without_an_empty_view_the_whole_frame_is_used(bin_: Bin) -> None:
    bin_.empty.clear()
    frame, whole = bin_.look(HERE)
    assert (whole.found, whole.why) == (False, "no empty view yet") and bin_.picture is frame
    bin_.look(HERE)
    assert bin_.picture.shape == (frame.shape[0], frame.shape[0], 3), "the middle of the frame is another crop"
    assert not bin_.isolated


def test_a_frame_at_another_exposure_takes_the_mask_and_the_next_crop(bin_: Bin) -> None:
    _, item = bin_.look(HERE)
    brighter = bin_.tray.picture(HERE, 0.0, 1.5)
    look = bin_.burst.add_exposed(brighter)
    assert len(bin_.isolated) == 1 and look.of_item
    np.testing.assert_array_equal(look.picture, mask_crop(brighter, item.mask, GROUND, 1))
    frame, _ = bin_.look(HERE)
    np.testing.assert_array_equal(bin_.picture, take_look(frame, item, GROUND, 2, crops_of(item)).picture)
