"""Bundles of networks of other sizes, with few and many labels, with two heads, and of networks that quantize badly."""

from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from converter.cli import main
from converter.data.photos import read_split
from device.vision.inference.bundle import read_bundle
from device.vision.inference.classifier import Classifier
from training.models.backbones import build_trunk
from training.models.batch_norm_folding import fold_batch_norm
from training.models.network import add_heads
from training.models.scratch_options import ScratchCnnOptions

COLOURS = [(red, green, blue) for red in (20, 80, 140, 200, 250) for green in (10, 90, 160, 240) for blue in (0, 60, 120, 180, 240)]
NAMES = ["zwei Flaschen", "可回收物_鼠标", "trash"]


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Data sets of 2, 3 and 100 labels with four plain pictures each."""
    folders = {}
    rng = np.random.default_rng(0)
    for count in (2, 3, 100):
        folders[count] = tmp_path_factory.mktemp(f"colours{count}")
        for number, colour in enumerate(COLOURS[:count]):
            label = folders[count] / (NAMES[number] if count <= 3 else f"farbe {number:02} ◼")
            label.mkdir()
            for shot in range(4):
                picture = np.clip(np.array(colour) + rng.normal(0, 12, (40, 40, 3)), 0, 255).astype(np.uint8)
                assert cv2.imwrite(str(label / f"{shot}.png"), picture)
    return folders


def run_of(data: Path, folder: Path, backbone: str, size: int, width: float, bins: int = 0) -> Path:
    """A run with an untrained network: its answers do not matter here."""
    keras.utils.set_random_seed(1)
    split = read_split(data, seed=1)
    scratch = ScratchCnnOptions(layers=4, features=8, kernel=3, activation="relu")
    trunk = fold_batch_norm(build_trunk(backbone, size, width=width, scratch=scratch))
    folder.mkdir()
    add_heads(trunk, len(split.labels), bin_count=bins).save(folder / "model.keras")
    for name, lines in (("labels", split.labels), ("train", [p.name for p in split.train]), ("val", [p.name for p in split.val])):
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("backbone", "size", "labels", "bins"), [("mobilenet_v2", 96, 2, 4), ("scratch_cnn", 160, 100, 0)])
def test_other_input_sizes_and_label_counts_work(backbone: str, size: int, labels: int, bins: int, coloured: dict[int, Path], tmp_path: Path) -> None:
    run = run_of(coloured[labels], tmp_path / "run", backbone, size, 0.5, bins)
    order = ["quantize", str(run), "--data", str(coloured[labels]), "--tolerance", "100", "--calibration", "8", "--target", "both"]
    assert main([*order, "--out", str(tmp_path / "bundle")]) == 0
    bundle = read_bundle(tmp_path / "bundle")
    assert len(bundle.info.labels) == labels
    assert bundle.info.input.size == size
    classifier = Classifier(bundle)
    classifier.check_golden_output()
    probabilities = classifier.posterior(np.full((30, 50, 3), 90, np.uint8))
    assert probabilities.shape == (labels,)
    assert probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize("backbone", ["mobilenet_v3_small"])
def test_a_badly_quantizing_network_passes_or_is_refused_with_reason(
    backbone: str, coloured: dict[int, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(coloured[3], tmp_path / "run", backbone, 32, 0.75)
    status = main(["quantize", str(run), "--data", str(coloured[3]), "--calibration", "8", "--out", str(tmp_path / "bundle")])
    error = capsys.readouterr().err
    if status == 0:
        Classifier(read_bundle(tmp_path / "bundle")).check_golden_output()
    else:
        assert status == 1
        assert "points lost" in error and "the layers that lose most" in error
        assert not (tmp_path / "bundle").exists()
