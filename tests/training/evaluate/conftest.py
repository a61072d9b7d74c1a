"""A small run to measure: coloured discs with Chinese labels, a network that mostly classifies them, and the same in INT8."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from converter.common.silence import silenced
from converter.data.photos import read_photos, read_pixels
from device.vision.inference.preprocess import Pixels, to_input
from training import cli

COLOURS = {
    "可回收物_鼠标": (60, 80, 190),
    "厨余垃圾_薯条": (60, 170, 80),
    "有害垃圾_药片": (190, 70, 60),
    "其他垃圾_毛巾": (170, 150, 70),
}
LABELS = tuple(sorted(COLOURS))
SIZE = 32


def draw(label: str, rng: np.random.Generator) -> Pixels:
    """A disc on light card: 48 x 64 x 3 uint8 RGB."""
    photo = rng.integers(205, 225, (48, 64, 3)).astype(np.uint8)
    colour = np.clip(np.array(COLOURS[label]) + rng.normal(0, 40, 3), 0, 255)
    x, y = (int(value) for value in rng.integers((22, 20), (42, 28)))
    cv2.circle(photo, (x, y), 12, tuple(int(value) for value in colour), -1)
    return photo


def write_photo(file: Path, pixels: Pixels) -> None:
    """Write a picture, also under names that OpenCV cannot open."""
    cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tofile(file)


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each label with 20 photos in it."""
    data = tmp_path_factory.mktemp("discs") / "discs"
    rng = np.random.default_rng(0)
    for label in COLOURS:
        (data / label).mkdir(parents=True)
        for number in range(20):
            write_photo(data / label / f"{number:02}.png", draw(label, rng))
    return data


@pytest.fixture(scope="session")
def discs_run(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run: a random convolution, pooled features, and a fitted head; every other photo is for validation."""
    with silenced():
        import keras
        from sklearn.linear_model import LogisticRegression

        from converter.quantization.float_network import predict

        keras.utils.set_random_seed(5)
        folder = tmp_path_factory.mktemp("runs") / "discs"
        folder.mkdir()
        photos = read_photos(discs)
        image = keras.Input((SIZE, SIZE, 3))
        hidden = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="first")(image)
        hidden = keras.layers.ReLU(6.0, name="first_relu")(hidden)
        hidden = keras.layers.Conv2D(24, 3, strides=2, padding="same", activation="relu", name="second")(hidden)
        pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool")(hidden)
        head = keras.layers.Conv2D(len(LABELS), 1, name="head")
        logits = keras.layers.Flatten(name="logits")(head(pooled))
        network = keras.Model(image, {"logits": logits, "embedding": keras.layers.Flatten(name="embedding")(pooled)})
        features = predict(network, (to_input(read_pixels(photo.path), SIZE) for photo in photos[::2]))["embedding"]
        fitted = LogisticRegression(C=300, max_iter=3000).fit(features, [LABELS.index(photo.label) for photo in photos[::2]])
        head.set_weights([fitted.coef_.T[None, None], fitted.intercept_])
        network.save(folder / "model.keras")
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8")
    for name, listed in (("train.txt", photos[::2]), ("val.txt", photos[1::2])):
        (folder / name).write_text("".join(f"{photo.name}\n" for photo in listed), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def discs_tflite(discs_run: Path, discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `float32.tflite`, `int8.tflite` and `labels.txt`."""
    with silenced():
        from converter.quantization.calibration_photos import NetworkInputs
        from converter.quantization.float_network import read_network
        from converter.quantization.tf_converter import exported, to_float32, to_int8

        folder = tmp_path_factory.mktemp("tflite")
        with exported(read_network(discs_run / "model.keras", len(LABELS))) as saved:
            (folder / "float32.tflite").write_bytes(to_float32(saved))
            (folder / "int8.tflite").write_bytes(to_int8(saved, NetworkInputs(read_photos(discs), SIZE, full_range=True)))
    (folder / "labels.txt").write_bytes((discs_run / "labels.txt").read_bytes())
    return folder


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command `training`, as a user gives it."""
    monkeypatch.setattr(cli, "COMMANDS", ("evaluate", "predict"))
    return lambda *words: cli.main([str(word) for word in words])
