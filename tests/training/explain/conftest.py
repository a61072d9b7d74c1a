"""A small run to look into: one that answers by where red and blue are."""

from collections.abc import Callable
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from converter.common.silence import silenced
from training import cli

SIZE = 32
LABELS = ("可回收物_蓝", "有害垃圾_红")


@pytest.fixture(scope="session")
def network() -> keras.Model:
    """Two 3x3 convolutions with ReLU; label 0 is raised by blue, label 1 by red."""
    image = keras.Input((SIZE, SIZE, 3))
    first = keras.layers.Conv2D(2, 3, strides=2, padding="same", activation="relu", name="first")
    second = keras.layers.Conv2D(2, 3, padding="same", name="second")
    hidden = keras.layers.ReLU(6.0, name="relu")(second(first(image)))
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool")(hidden)
    head = keras.layers.Conv2D(2, 1, name="head")
    logits = keras.layers.Flatten(name="logits")(head(pooled))
    network = keras.Model(image, {"logits": logits, "embedding": keras.layers.Flatten(name="embedding")(pooled)})
    colours = np.zeros((3, 3, 3, 2), np.float32)
    colours[1, 1, :, 0], colours[1, 1, :, 1] = (-1, 0, 1), (1, 0, -1)
    passed = np.zeros((3, 3, 2, 2), np.float32)
    passed[1, 1] = np.eye(2)
    first.set_weights([colours, np.zeros(2, np.float32)])
    second.set_weights([passed, np.zeros(2, np.float32)])
    head.set_weights([8 * np.array([[[[1, -1], [-1, 1]]]], np.float32), np.zeros(2, np.float32)])
    return network


def patch(colour: tuple[int, int, int], top: int, left: int) -> np.ndarray:
    """A coloured square of 8 x 8 on grey: 32 x 32 x 3 uint8 RGB."""
    picture = np.full((SIZE, SIZE, 3), 128, np.uint8)
    picture[top : top + 8, left : left + 8] = colour
    return picture


@pytest.fixture(scope="session")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each label with four photos in it; one of each is of the other's colour."""
    data = tmp_path_factory.mktemp("data") / "patches"
    rng = np.random.default_rng(2)
    colours = {LABELS[0]: (20, 20, 230), LABELS[1]: (230, 20, 20)}
    for label, colour in colours.items():
        (data / label).mkdir(parents=True)
        for number in range(4):
            shown = colour if number else colours[LABELS[1 - LABELS.index(label)]]
            picture = patch(shown, *(int(place) for place in rng.integers(0, 24, 2)))
            cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tofile(data / label / f"{number}.png")
    return data


@pytest.fixture(scope="session")
def patches_run(network: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as a finished run."""
    folder = tmp_path_factory.mktemp("run")
    with silenced():
        network.save(folder / "model.keras")
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8")
    return folder


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command `training`, as a user gives it."""
    monkeypatch.setattr(cli, "COMMANDS", ("explain",))
    return lambda *words: cli.main([str(word) for word in words])
