"""The outline network is trained on views made by chance, and the device can run what comes out."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from device.vision.inference.ground import PLAIN
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.difference import CHANNELS
from device.vision.isolation.isolate import isolate
from training.cli import main
from training.outline import fit
from training.outline.views import HEIGHT, WIDTH, Stock, random_view


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    """Photos of plain things on light card, and one picture of a place."""
    folder = tmp_path_factory.mktemp("stock")
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        photo = np.full((384, 512, 3), 225, np.uint8) - rng.integers(0, 6, (384, 512, 3), dtype=np.uint8)
        cv2.ellipse(photo, (256, 192), (150, 40 + 20 * number), 30 * number, 0, 360, rng.uniform(0, 160, 3).tolist(), cv2.FILLED)
        cv2.imwrite(str(folder / "photos" / f"{number}.png"), photo)
    cv2.imwrite(str(folder / "place.png"), cv2.resize(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (320, 240)))
    return Stock(sorted((folder / "photos").iterdir()), [folder / "place.png"])


def test_a_view_is_the_same_for_the_same_seed(stock: Stock) -> None:
    first, again, other = random_view(3, stock), random_view(3, stock), random_view(4, stock)
    np.testing.assert_array_equal(first.frame, again.frame)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert not np.array_equal(first.frame, other.frame)


def test_views_have_items_of_all_sizes_and_now_and_then_none(stock: Stock) -> None:
    views = [random_view(seed, stock) for seed in range(80)]
    for view in views:
        assert view.frame.shape == (HEIGHT, WIDTH, 3) and view.frame.dtype == np.uint8
        assert view.mask.shape == (HEIGHT, WIDTH) and view.mask.dtype == np.uint8
        assert 1 <= len(view.empty) <= 4 and all(empty.shape == view.frame.shape for empty in view.empty)
    areas = np.array([(view.mask > 127).mean() for view in views])
    assert (areas == 0).any() and (areas > 0.25).any() and ((areas > 0) & (areas < 0.03)).any()


def test_what_lies_there_can_be_found_by_the_network_that_ships(stock: Stock) -> None:
    overlaps = []
    for seed in range(2000, 2040):
        view = random_view(seed, stock)
        true = view.mask > 127
        if true.mean() > 0.01:
            isolated = isolate(view.frame, BackgroundModel(view.empty), PLAIN)
            found = (isolated.mask > 127) & isolated.found
            overlaps.append((found & true).sum() / (found | true).sum())
    assert np.median(overlaps) > 0.75


def test_training_writes_a_network_that_the_device_can_run(
    stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fit, "CHECKED", 6)
    monkeypatch.setattr(fit, "CALIBRATED", 6)
    monkeypatch.setattr(fit, "BATCH", 4)
    photos, out = stock.photos[0].parent, tmp_path / "outline.tflite"
    arguments = ["outline", "--photos", str(photos), "--out", str(out), "--views", "12", "--steps", "3", "--json"]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["n"] == 6 and 0 <= told["iou"] <= 1
    interpreter = Interpreter(str(out))
    interpreter.allocate_tensors()
    assert interpreter.get_input_details()[0]["shape"].tolist() == [1, 96, 128, CHANNELS]
    assert interpreter.get_output_details()[0]["shape"].tolist() == [1, 96, 128, 1]


def test_photos_that_are_not_there_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["outline", "--photos", str(tmp_path / "none"), "--out", str(tmp_path / "x.tflite")]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("training")]
    assert said == [f"training outline: {tmp_path / 'none'}: expected a picture or a folder of pictures, found nothing"]
