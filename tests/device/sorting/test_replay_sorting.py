"""A replayed folder, empty view first, then items and empty views in turn: every item is sorted once."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.cameras import EndOfFrames
from device.cameras.replay import ReplaySettings, ReplaySource
from device.events import AnyEvent, ItemRejected, ItemSorted
from device.simulation.items import VirtualItem, shipped_items
from device.simulation.tray_renderer import Pose, TrayRenderer
from device.vision.inference.bundle import Bundle
from device.vision.inference.preprocess import Pixels
from tests.device.virtual import Bench

pytestmark = pytest.mark.slow


def saved(folder: Path, number: int, name: str, pixels: Pixels) -> None:
    cv2.imwrite(str(folder / f"{number:03}-{name}.jpg"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))


@pytest.fixture
def replayed(tmp_path: Path) -> Callable[[list[VirtualItem]], Path]:
    """`replayed(things)`: a folder in which the empty tray comes first, then each thing and the empty tray, each in a light of its own."""

    def save(things: list[VirtualItem]) -> Path:
        folder = tmp_path / "replayed"
        folder.mkdir()
        rng = np.random.default_rng(5)
        tray = TrayRenderer(rng)
        saved(folder, 0, "empty", tray.picture(None, 0.0, 1.0))
        for number, thing in enumerate(things):
            tray.lay(thing)
            pose = Pose(*rng.uniform(0.4, 0.6, 2), rng.uniform(-90, 90))
            saved(folder, 2 * number + 1, thing.name, tray.picture(pose, 0.0, rng.uniform(0.9, 1.08)))
            saved(folder, 2 * number + 2, "empty", tray.picture(None, 0.0, rng.uniform(0.9, 1.08)))
        return folder

    return save


class Replayed:
    """A camera over a replayed folder instead of a virtual bin."""

    def __init__(self, folder: Path) -> None:
        self._now_s = 0.0
        self._source = ReplaySource(ReplaySettings(path=str(folder), loop=False), clock=lambda: self._now_s, sleep=lambda _: None)

    def picture(self, now_s: float, exposure: float) -> Pixels:
        assert exposure == 1.0, "photos that were taken cannot be exposed anew"
        self._now_s = now_s
        return self._source.read(1.0).pixels


def sorted_from(folder: Path, bundle: Bundle, state: Path) -> list[AnyEvent]:
    """Run a bin on a replayed folder, in a time of its own, until all has been shown. Returns all events."""
    bench = Bench(bundle, state, [])
    bench.ignores_exposure = True
    bench.bin = Replayed(folder)  # type: ignore[assignment]
    with pytest.raises(EndOfFrames):
        bench.live(3600)
    bench.close()
    return bench.events


def test_every_item_of_a_replayed_folder_is_sorted_once(replayed: Callable[[list[VirtualItem]], Path], tiny_bundle: Bundle, tmp_path: Path) -> None:
    things = [thing for thing in shipped_items() if thing.label in ("cardboard", "metal", "trash", "glass")][::3]
    events = sorted_from(replayed(things), tiny_bundle, tmp_path / "state")
    assert {type(event) for event in events} <= {ItemSorted, ItemRejected}
    assert len(events) == len(things)
    assert len({event.item for event in events}) == len(things)
    assert [event.isolated for event in events] == [True] * len(things)


def test_changing_exposure_is_no_item(tiny_bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "replayed"
    folder.mkdir()
    tray = TrayRenderer(np.random.default_rng(6))
    for number, exposure in enumerate((1.0, 0.88, 1.1, 0.95, 1.05)):
        saved(folder, number, "empty", tray.picture(None, 0.0, exposure))
    assert sorted_from(folder, tiny_bundle, tmp_path / "state") == []
