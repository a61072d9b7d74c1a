"""The virtual bin: items come, lie still, and fall only through an open gate."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.gates.simulated import SimulatedSettings
from device.simulation.bin import FALL_S, FallenItem, Scenario, VirtualBin, VirtualCamera
from device.simulation.items import ItemsError, VirtualItem, photo_items, shipped_items, shuffled
from device.simulation.tray_renderer import HEIGHT, WIDTH, Pose, TrayRenderer
from device.vision.inference.preprocess import Pixels


@pytest.fixture
def item(tmp_path: Path) -> VirtualItem:
    """A round green item with soft edges, 15 cm wide."""
    alpha = np.zeros((200, 200), np.float32)
    cv2.circle(alpha, (100, 100), 90, 1.0, -1)
    cut_out = np.dstack([np.full((200, 200), 40), np.full((200, 200), 160), np.full((200, 200), 60), 255 * alpha]).astype(np.uint8)
    file = tmp_path / "item.png"
    cv2.imwrite(str(file), cut_out)
    return VirtualItem("item", "glass", file, 15.0)


def throw(item: VirtualItem, thrown: list[VirtualItem]) -> Iterator[VirtualItem]:
    """One item; `thrown` holds it once it was thrown in."""
    thrown.append(item)
    yield item


def test_no_item_comes_before_the_bin_is_ready(item: VirtualItem) -> None:
    ready: list[bool] = []
    thrown: list[VirtualItem] = []
    bin_ = VirtualBin([SimulatedSettings(bin="glass").claim()], throw(item, thrown), Scenario(may_begin=lambda: bool(ready)))
    for step in range(100):
        bin_.picture(step * 0.1)
    assert thrown == []
    ready.append(True)
    bin_.picture(10.0)
    bin_.picture(12.0)
    assert thrown == [item]


def test_an_item_falls_when_a_gate_opens_far_enough(item: VirtualItem) -> None:
    gates = {"glass": SimulatedSettings(bin="glass").claim(), "paper": SimulatedSettings(bin="paper").claim()}
    landed: list[FallenItem] = []
    thrown: list[VirtualItem] = []
    bin_ = VirtualBin(gates.values(), throw(item, thrown), Scenario(on_fallen=landed.append))
    bin_.picture(0.0)
    bin_.picture(2.0)
    assert thrown == [item]
    bin_.picture(60.0)
    assert not landed
    gates["paper"].open("paper", 60.0)
    now_s = 60.0
    while not landed:
        now_s += 0.02
        gates["paper"].update(now_s)
        bin_.picture(now_s)
        assert now_s < 65
    assert landed == [FallenItem(item, "paper")]
    assert now_s > 60 + FALL_S


def test_no_item_comes_while_a_gate_is_open(item: VirtualItem) -> None:
    gate = SimulatedSettings(bin="glass").claim()
    gate.open("glass", 0.0)
    gate.update(1.0)
    thrown: list[VirtualItem] = []
    bin_ = VirtualBin([gate], throw(item, thrown))
    for second in range(1, 30):
        bin_.picture(float(second))
    assert thrown == []


def test_a_cutout_lies_at_its_pose_with_a_shadow(item: VirtualItem) -> None:
    tray = TrayRenderer(np.random.default_rng(0))
    tray.lay(item)
    empty = tray.picture(None, 0.0, 1.0).astype(int)
    seen = tray.picture(Pose(0.3, 0.4, 0.0), 0.0, 1.0).astype(int)
    x, y = round(0.3 * WIDTH), round(0.4 * HEIGHT)
    green = seen[y, x]
    assert green[1] > green[0] + 60 and green[1] > green[2] + 60
    radius = HEIGHT * 15 / 34 / 2
    beside = seen[round(y + radius + 3), round(x + 4)] - empty[round(y + radius + 3), round(x + 4)]
    assert (beside < -8).all(), "shadow falls below the item"
    assert np.abs(seen[-20:, -20:] - empty[-20:, -20:]).mean() < 6, "far away nothing changes but noise"


def test_a_photo_covers_the_view(tmp_path: Path, painted: Callable[..., Pixels]) -> None:
    file = tmp_path / "photo.png"
    cv2.imwrite(str(file), cv2.cvtColor(painted("metal", 30, 40), cv2.COLOR_RGB2BGR))
    tray = TrayRenderer(np.random.default_rng(0))
    tray.lay(VirtualItem("photo", None, file, None))
    seen = tray.picture(Pose(0.5, 0.5, 0.0), 0.0, 1.0)
    assert seen.shape == (HEIGHT, WIDTH, 3)
    assert (seen[..., 2] > 150).mean() > 0.99


def test_the_same_seed_gives_the_same_pictures(item: VirtualItem) -> None:
    first, second = (VirtualBin([SimulatedSettings(bin="glass").claim()], [item], Scenario(seed=9)) for _ in range(2))
    for now_s in (0.0, 1.0, 2.0, 3.0):
        np.testing.assert_array_equal(first.picture(now_s), second.picture(now_s))


def test_the_camera_ends_after_the_last_item() -> None:
    from device.cameras import EndOfFrames

    time = iter(np.arange(0.0, 100.0, 0.5))
    camera = VirtualCamera(VirtualBin([SimulatedSettings(bin="glass").claim()], []), lambda: float(next(time)), fps=1000.0)
    with pytest.raises(EndOfFrames):
        for _ in range(40):
            camera.read(0.0)
    camera.close()


def test_folders_name_labels_and_a_shuffle_mixes_them(tmp_path: Path, painted: Callable[..., Pixels]) -> None:
    for label in ("glass", "paper", "厨余垃圾_薯条"):
        (tmp_path / label).mkdir()
        for number in range(10):
            (tmp_path / label / f"{number}.png").write_bytes(cv2.imencode(".png", painted("glass", 4, 4))[1].tobytes())
    items = photo_items(tmp_path)
    assert len(items) == 30
    order = shuffled(items, 1)
    assert sorted(item.file for item in order) == sorted(item.file for item in items)
    assert order != shuffled(items, 2)
    assert order == shuffled(items, 1)
    assert {item.label for item in order[:8]} == {"glass", "paper", "厨余垃圾_薯条"}


@pytest.mark.parametrize("folder", ["missing", "empty", "x" * 300])
def test_a_folder_without_photos_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ItemsError, match=rf"{folder}: (File name too long; )?expected"):
        photo_items(tmp_path / folder)


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    header = b"IHDR" + (70_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    giant = b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + zlib.crc32(header).to_bytes(4, "big") + b"\0\0\0\x01IDAT" + bytes(5)
    for content in (b"nothing", giant):
        (tmp_path / "broken.png").write_bytes(content)
        with pytest.raises(ItemsError, match=r"broken\.png: not a picture"):
            photo_items(tmp_path)[0].picture()


def test_all_shipped_items_can_be_rendered() -> None:
    tray = TrayRenderer(np.random.default_rng(0))
    items = shipped_items()
    assert {item.label for item in items} == {"cardboard", "glass", "metal", "paper", "plastic", "trash"}
    for item in items[::7]:
        tray.lay(item)
        assert tray.picture(Pose(0.5, 0.5, 20.0), 0.0, 1.0).std() > 3
