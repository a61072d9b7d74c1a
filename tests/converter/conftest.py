"""A tiny run: a network trained on coloured shapes, and its bundle."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from converter.cli import main
from converter.common.silence import silenced
from converter.data.photos import read_photos, read_pixels
from converter.data.training_run import read_run
from converter.quantization.calibration_photos import NetworkInputs
from device.vision.inference.preprocess import to_float, to_input

LABELS = ("disc", "frame", "streifen ≡")
SIZE = 32


def draw(label: str, rng: np.random.Generator) -> np.ndarray:
    """A shape on a noisy ground: 40 x 48 x 3 uint8 RGB."""
    picture = rng.integers(150, 230, (40, 48, 3)).astype(np.uint8)
    colour = tuple(int(value) for value in rng.integers(0, 110, 3))
    x, y = (int(value) for value in rng.integers(18, 24, 2))
    if label == "disc":
        cv2.circle(picture, (x, y), 11, colour, -1)
    elif label == "frame":
        cv2.rectangle(picture, (x - 13, y - 13), (x + 13, y + 13), colour, 3)
    else:
        for offset in range(-12, 13, 6):
            cv2.line(picture, (x - 14, y + offset), (x + 14, y + offset), colour, 2)
    return picture


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with 24 photos per label."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(7)
    for label in LABELS:
        (folder / label).mkdir()
        for number in range(24):
            assert cv2.imwrite(str(folder / label / f"{label}{number:02}.png"), draw(label, rng))
    return folder


@pytest.fixture
def masked_photos(photos: Path, tmp_path: Path) -> Path:
    """A copy of `photos` with a mask for each."""
    folder = Path(shutil.copytree(photos, tmp_path / "masked"))
    for photo in read_photos(folder):
        file = folder / "masks" / photo.label / f"{photo.path.stem}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        shape = (read_pixels(photo.path).max(axis=2) < 130).astype(np.uint8) * 255
        assert cv2.imwrite(str(file), cv2.morphologyEx(shape, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)))
    return folder


@pytest.fixture(scope="session")
def shapes_run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on `photos`. Every third photo is for validation."""
    import keras

    keras.utils.set_random_seed(3)
    folder = tmp_path_factory.mktemp("run")
    everything = read_photos(photos)
    lists = {"train.txt": [p for i, p in enumerate(everything) if i % 3], "val.txt": everything[::3]}
    for name, listed in lists.items():
        (folder / name).write_text("".join(f"{photo.name}\n" for photo in listed))
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))

    image = keras.Input((SIZE, SIZE, 3))
    hidden = keras.layers.Conv2D(12, 3, strides=2, padding="same", activation="relu6", name="first")(image)
    hidden = keras.layers.Conv2D(8, 1, name="narrow")(hidden)
    hidden = keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu6", name="second")(hidden)
    hidden = keras.layers.Conv2D(24, 3, strides=2, padding="same", activation="relu6", name="third")(hidden)
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool")(hidden)
    logits = keras.layers.Flatten(name="logits")(keras.layers.Conv2D(len(LABELS), 1, name="head")(pooled))
    network = keras.Model(image, {"logits": logits, "embedding": keras.layers.Flatten(name="embedding")(pooled)})
    trained = keras.Model(image, logits)
    trained.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    inputs = np.stack([to_float(to_input(read_pixels(photo.path), SIZE)) for photo in lists["train.txt"]])
    targets = np.array([LABELS.index(photo.label) for photo in lists["train.txt"]])
    trained.fit(inputs, targets, epochs=25, batch_size=16, verbose=0)
    with silenced():
        network.save(folder / "model.keras")
    return folder


@pytest.fixture(scope="session")
def shapes_order(shapes_run: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command line that quantizes `shapes_run`, without `--out`."""
    notes = tmp_path_factory.mktemp("notes") / "notes.md"
    notes.write_text("## Data\n\nDrawn by a test, CC0.\n", encoding="utf-8")
    return [
        "quantize",
        str(shapes_run),
        "--data",
        str(photos),
        "--tolerance",
        "5",
        "--name",
        "formen ◯",
        "--seed",
        "4",
        "--notes",
        str(notes),
    ]


@pytest.fixture(scope="session")
def shapes_bundle(shapes_order: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `shapes_run`."""
    out = tmp_path_factory.mktemp("out") / "shapes"
    assert main([*shapes_order, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def converted(shapes_run: Path, photos: Path) -> tuple[bytes, bytes]:
    """The network of `shapes_run` as a float and an INT8 `.tflite`, without bias correction."""
    from converter.quantization.float_network import read_network
    from converter.quantization.tf_converter import exported, to_float32, to_int8

    run = read_run(shapes_run, photos)
    with silenced(), exported(read_network(run.model, len(LABELS))) as saved:
        return to_float32(saved), to_int8(saved, NetworkInputs(run.train, SIZE, full_range=True))


@pytest.fixture
def own_run(shapes_run: Path, tmp_path: Path) -> Path:
    """A copy of `shapes_run` that a test may change."""
    return Path(shutil.copytree(shapes_run, tmp_path / "own_run"))


@pytest.fixture
def own_photos(photos: Path, tmp_path: Path) -> Path:
    """A copy of `photos` that a test may change."""
    return Path(shutil.copytree(photos, tmp_path / "own_photos"))
