"""Bundles of classifiers that another program trained."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from converter.cli import main
from converter.data.photos import read_photos
from converter.foreign.foreign_model import ForeignClassifier
from converter.quantization.calibration_photos import NetworkInputs
from converter.quantization.float_network import NetworkError
from device.vision.inference.bundle import read_bundle

LABELS = ("disc", "frame", "streifen ≡")
SIZE = 32


def classifier(trunk: keras.Model, *, softmax: bool, dense: bool, scale: float, offset: float) -> keras.Model:
    """The shapes network as a foreign model: another pixel range, a dense head, a softmax at the end."""
    image = keras.Input((SIZE, SIZE, 3))
    features = keras.Model(trunk.input, trunk.get_layer("pool").output)(keras.layers.Rescaling(scale, offset)(image))
    weights, bias = trunk.get_layer("head").get_weights()
    if dense:
        layer = keras.layers.Dense(len(LABELS), activation="softmax" if softmax else None)
        answer = layer(keras.layers.Flatten()(features))
        layer.set_weights([weights[0, 0], bias])
    else:
        layer = keras.layers.Conv2D(len(LABELS), 1)
        answer = keras.layers.Flatten()(layer(features))
        layer.set_weights([weights, bias])
        answer = keras.layers.Softmax()(answer) if softmax else answer
    return keras.Model(image, answer)


@pytest.fixture(scope="module")
def trunk(shapes_run: Path) -> keras.Model:
    return keras.models.load_model(shapes_run / "model.keras", compile=False)


@pytest.fixture
def labels_file(tmp_path: Path) -> Path:
    file = tmp_path / "labels.txt"
    file.write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("pixels", "rescaling", "softmax", "dense", "save"),
    [
        ("0,255", (1 / 127.5, -1.0), True, True, "keras"),
        ("0,1", (2.0, -1.0), True, False, "saved"),
        ("-1,1", (1.0, 0.0), False, True, "saved"),
    ],
)
def test_a_foreign_network_keeps_its_logits_and_embeddings(
    pixels: str, rescaling: tuple[float, float], softmax: bool, dense: bool, save: str, trunk: keras.Model, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / ("foreign.keras" if save == "keras" else "foreign")
    foreign = classifier(trunk, softmax=softmax, dense=dense, scale=rescaling[0], offset=rescaling[1])
    foreign.save(file) if save == "keras" else foreign.export(file, verbose=False)
    pictures = NetworkInputs(read_photos(photos)[:5], SIZE)
    wanted = trunk.predict_on_batch(np.stack([picture / np.float32(127.5) - 1 for picture in pictures]))
    found = ForeignClassifier(file, len(LABELS)).network(pixels).predict(pictures)
    np.testing.assert_allclose(found["logits"], wanted["logits"], atol=1e-4)
    np.testing.assert_allclose(found["embedding"], wanted["embedding"], atol=1e-4)


def test_a_saved_model_becomes_a_bundle_that_the_device_reads(trunk: keras.Model, photos: Path, labels_file: Path, tmp_path: Path) -> None:
    classifier(trunk, softmax=True, dense=True, scale=1 / 127.5, offset=-1.0).export(tmp_path / "foreign", verbose=False)
    order = ["quantize", str(tmp_path / "foreign"), "--labels", str(labels_file), "--pixels", "0,255", "--data", str(photos)]
    assert main([*order, "--tolerance", "10", "--out", str(tmp_path / "bundle")]) == 0
    info = read_bundle(tmp_path / "bundle").info
    assert info.labels == LABELS
    assert info.metrics.int8.accuracy > 0.8


def two_inputs(image: keras.KerasTensor) -> keras.Model:
    other = keras.Input((1,))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    return keras.Model([image, other], keras.layers.Dense(3)(keras.layers.Concatenate()([pooled, other])))


def any_size(_: keras.KerasTensor) -> keras.Model:
    image = keras.Input((None, None, 3))
    return keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(image)))


def four_values(image: keras.KerasTensor) -> keras.Model:
    return keras.Model(image, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(image)))


def two_outputs(image: keras.KerasTensor) -> keras.Model:
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    return keras.Model(image, [keras.layers.Dense(3)(pooled), keras.layers.Dense(2)(pooled)])


@pytest.mark.parametrize("form", ["keras", "saved"])
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (two_inputs, "expected one input, found 2"),
        (any_size, "takes pictures of any size.* name the side it was trained on with --size"),
        (four_values, "expected 3 values, one per label, found 4"),
        (two_outputs, "expected one output, found 2: .*; name one with --output"),
    ],
)
def test_an_unusable_model_is_refused_in_one_line(build: Callable[..., keras.Model], message: str, form: str, tmp_path: Path) -> None:
    file = tmp_path / ("foreign.keras" if form == "keras" else "foreign")
    model = build(keras.Input((SIZE, SIZE, 3)))
    model.save(file) if form == "keras" else model.export(file, verbose=False)
    with pytest.raises(NetworkError, match=message) as raised:
        ForeignClassifier(file, 3).network("-1,1")
    assert str(raised.value).count("\n") == 0
    assert str(raised.value).startswith(str(file))
