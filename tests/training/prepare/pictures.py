"""Drawn pictures, no two alike, sources made of them, and what became of them."""

import csv
from pathlib import Path

import cv2
import numpy as np

from converter.data.manifest import MANIFEST_FILE, SPLITS

LABELS = ("glass", "métal", "可回收物_鼠标")


def drawn(seed: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A picture of soft coloured patches, others for another seed: height x width x 3 uint8."""
    patches = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(pixels: np.ndarray, suffix: str = ".png", *settings: int) -> bytes:
    """The file that holds a picture."""
    return cv2.imencode(suffix, pixels, settings)[1].tobytes()


def fill(source: Path, per_label: int = 8, labels: tuple[str, ...] = LABELS) -> Path:
    """A folder of pictures for each label, `glass/shot_003.png` and so on."""
    for number, label in enumerate(labels):
        (source / label).mkdir(parents=True)
        for index in range(per_label):
            (source / label / f"shot_{index:03}.png").write_bytes(encoded(drawn(1000 * number + index)))
    return source


def rows(out: Path) -> dict[str, dict[str, str]]:
    """The manifest, by path."""
    with (out / MANIFEST_FILE).open(encoding="utf-8", newline="") as opened:
        return {row["path"]: row for row in csv.DictReader(opened)}


def splits(out: Path) -> dict[str, set[str]]:
    """The paths in each split; `` for those left out."""
    found: dict[str, set[str]] = {split: set() for split in (*SPLITS, "")}
    for path, row in rows(out).items():
        found[row["split"]].add(path)
    return found
