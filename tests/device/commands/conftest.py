"""A bundle, photos of two labels that it does not have, and a bin whose camera replays a folder."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from converter.bundle.embedding_stats import fit_embedding_stats
from converter.bundle.novelty import fit_novelty_model
from device.vision.inference.bundle import Bundle, write_bundle
from device.vision.inference.classifier import Classifier, softmax
from device.vision.inference.embedding_stats import FILE as REFERENCE_FILE
from device.vision.inference.novelty import FILE as KNOWN_FILE
from device.vision.inference.preprocess import Pixels

ORANGE, TEAL = (255, 110, 0), (0, 120, 130)
PACK = """
name = "mine"
version = "1"
residual = "rest"
taught = ["can", "pot"]
[bins.rest]
labels = ["trash", "plastic", "paper", "metal", "glass", "cardboard"]
[bins.cans]
labels = ["can", "pot"]
"""


def plain(colour: tuple[int, int, int], seed: int, height: int = 96, width: int = 128) -> Pixels:
    """One colour, not quite even."""
    rng = np.random.default_rng(seed)
    tint = np.array(colour) * rng.uniform(0.8, 1) + rng.uniform(0, 25, 3)
    return np.clip(tint + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


def save(file: Path, pixels: Pixels) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return file


@pytest.fixture
def bundle(tiny_copy: Bundle) -> Bundle:
    """The tiny bundle with what it knows of its six colours."""
    from tests.device.conftest import COLOURS

    classifier = Classifier(tiny_copy)
    targets = np.repeat(np.arange(6), 12)
    outputs = [classifier.outputs(plain(list(COLOURS.values())[label], seed)) for seed, label in enumerate(targets)]
    embeddings = np.stack([each.embedding for each in outputs])
    probabilities = softmax(np.stack([each.logits for each in outputs]), tiny_copy.info.temperature)
    fit_embedding_stats(embeddings[::2], targets[::2], 6).write(tiny_copy.folder / REFERENCE_FILE)
    fit_novelty_model(embeddings[::2], targets[::2], embeddings[1::2], probabilities[1::2]).write(tiny_copy.folder / KNOWN_FILE)
    return write_bundle(tiny_copy.folder, tiny_copy.info)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight photos each of two things that the bundle does not know."""
    for seed in range(8):
        save(tmp_path / "photos" / "can" / f"{seed}.png", plain(ORANGE, seed))
        save(tmp_path / "photos" / "pot" / f"{seed}.png", plain(TEAL, 50 + seed))
    return tmp_path / "photos"


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(PACK, encoding="utf-8")
    return file


@pytest.fixture
def config(tmp_path: Path, bundle: Bundle, pack: Path) -> Callable[..., Path]:
    """`config(camera)`: the settings of a bin whose camera replays that folder."""

    def write(camera: Path) -> Path:
        file = tmp_path / "sortbin.toml"
        file.write_text(
            f'''
            gate = []
            [device]
            id = "bin"
            state = "{tmp_path / "state"}"
            [model]
            bundle = "{bundle.folder}"
            rules = "{pack}"
            [camera]
            kind = "replay"
            path = "{camera}"
            fps = 60
            hold_s = 0.6
            loop = false
            [presence]
            learn_frames = 4
            still_s = 0.05
            ''',
            encoding="utf-8",
        )
        return file

    return write
