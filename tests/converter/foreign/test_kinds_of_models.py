"""Typical Keras models of tutorials give the same scores after conversion."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from converter.foreign.foreign_model import ForeignClassifier
from converter.foreign.pixel_range import RANGES
from device.vision.inference.classifier import softmax

SIZE = 24
LABELS = 3
Signal = Any


def pictures(size: int) -> list[np.ndarray]:
    """Smooth noise, which resizing changes little: size x size x 3 uint8."""
    rng = np.random.default_rng(5)
    return [cv2.resize(rng.integers(0, 256, (6, 6, 3), np.uint8), (size, size), interpolation=cv2.INTER_LINEAR) for _ in range(3)]


def trunk(signal: Signal, activation: str = "relu") -> Signal:
    for filters in (6, 8):
        signal = layers.MaxPooling2D()(layers.Conv2D(filters, 3, padding="same", activation=activation)(signal))
    return signal


def pooled(signal: Signal, activation: str = "relu") -> Signal:
    return layers.GlobalAveragePooling2D()(trunk(signal, activation))


def labelled(signal: Signal, activation: str | None = "softmax") -> Signal:
    return layers.Dense(LABELS, activation=activation)(signal)


def image(*, dtype: str = "float32", batch: int | None = None) -> Signal:
    return keras.Input((SIZE, SIZE, 3), batch, dtype=dtype)


@contextmanager
def half_precision() -> Iterator[None]:
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy("float32")


def augmented() -> keras.Model:
    start = image()
    signal = layers.RandomZoom(0.1)(layers.RandomRotation(0.1)(layers.RandomFlip("horizontal")(start)))
    signal = layers.Dropout(0.2)(layers.Flatten()(trunk(layers.Rescaling(1 / 255)(signal))))
    return keras.Model(start, labelled(layers.Dense(12, activation="relu")(signal), None))


def nested() -> keras.Model:
    inside = image()
    features = keras.Sequential([keras.Model(inside, trunk(inside)), layers.GlobalAveragePooling2D()])
    augment = keras.Sequential([layers.RandomFlip(), layers.RandomContrast(0.2)])
    body = [layers.Resizing(SIZE, SIZE), augment, layers.Rescaling(1 / 127.5, -1), features, layers.Dense(LABELS, activation="softmax")]
    return keras.Sequential([keras.Input((32, 32, 3)), *body])


def silu() -> keras.Model:
    start = image()
    return keras.Model(start, labelled(pooled(start, "silu")))


def hard_swish() -> keras.Model:
    start = image()
    return keras.Model(start, layers.Activation("softmax")(labelled(pooled(start, "hard_silu"), None)))


def mixed_float16() -> keras.Model:
    with half_precision():
        start = image()
        signal = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(trunk(layers.Rescaling(1 / 255)(start), "silu")))
        return keras.Model(start, layers.Dense(LABELS, activation="softmax", dtype="float32")(signal))


def many_sigmoids() -> keras.Model:
    start = image()
    return keras.Model(start, labelled(pooled(start), "sigmoid"))


def norm_before_softmax() -> keras.Model:
    start = image()
    return keras.Model(start, layers.Softmax()(layers.BatchNormalization()(labelled(pooled(start), None))))


def rescaling_before_softmax() -> keras.Model:
    start = image()
    return keras.Model(start, layers.Softmax()(layers.Rescaling(0.2, 0.1)(labelled(pooled(start), None))))


def pooling_last() -> keras.Model:
    start = image()
    return keras.Model(start, layers.Activation("softmax")(layers.GlobalAveragePooling2D()(layers.Conv2D(LABELS, 1)(trunk(start)))))


def whole_numbers() -> keras.Model:
    start = image(dtype="uint8")
    return keras.Model(start, labelled(pooled(layers.Rescaling(1 / 255)(layers.Resizing(16, 16)(start)))))


def fixed_batch() -> keras.Model:
    start = image(batch=8)
    return keras.Model(start, labelled(layers.Flatten()(trunk(start))))


def not_square() -> keras.Model:
    start = keras.Input((18, SIZE, 3))
    return keras.Model(start, labelled(pooled(start)))


def grey() -> keras.Model:
    start = keras.Input((SIZE, SIZE, 1))
    return keras.Model(start, labelled(layers.Dense(12, activation="relu")(layers.Flatten()(trunk(start)))))


def attention() -> keras.Model:
    start = image()
    tokens = layers.Reshape((-1, 8))(trunk(start))
    tokens = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(tokens, tokens))
    return keras.Model(start, labelled(layers.GlobalAveragePooling1D()(tokens)))


KINDS: dict[Callable[[], keras.Model], str] = {
    augmented: "keras",
    nested: "keras h5",
    silu: "keras h5 saved",
    hard_swish: "keras",
    mixed_float16: "keras saved",
    many_sigmoids: "keras",
    norm_before_softmax: "keras saved",
    rescaling_before_softmax: "keras",
    pooling_last: "saved",
    whole_numbers: "keras saved",
    fixed_batch: "keras saved",
    not_square: "keras",
    grey: "keras",
    attention: "keras",
}


def saved(model: keras.Model, form: str, folder: Path) -> Path:
    path = folder / ("theirs" if form == "saved" else f"theirs.{form}")
    model.export(path, verbose=False) if form == "saved" else model.save(path)
    return path


def as_given(model: keras.Model, picture: np.ndarray, pixels: str) -> np.ndarray:
    """The input that the original model takes: 1 x height x width x channels."""
    _, height, width, channels = model.input_shape
    stretched = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    if model.inputs[0].dtype == "uint8":
        return stretched[np.newaxis]
    found = cv2.cvtColor(stretched, cv2.COLOR_RGB2GRAY)[..., np.newaxis] if channels == 1 else stretched
    scaled = {"0,255": found, "0,1": found / 255, "-1,1": found / 127.5 - 1}[pixels]
    return scaled[np.newaxis].astype(np.float32)


def scores_of(model: keras.Model, picture: np.ndarray, pixels: str) -> np.ndarray:
    given = as_given(model, picture, pixels)
    return np.asarray(model(np.repeat(given, model.input_shape[0] or 1, axis=0), training=False), np.float32)[0]


@pytest.mark.parametrize(("build", "form"), [(build, form) for build, forms in KINDS.items() for form in forms.split()])
def test_the_converted_network_gives_the_same_scores(build: Callable[[], keras.Model], form: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(2)
    model = build()
    pixels = "0,255" if model.inputs[0].dtype == "uint8" else "0,1"
    network = ForeignClassifier(saved(model, form, tmp_path), LABELS).network(pixels)
    shown = pictures(network.size)
    found = network.predict(shown)
    wanted = np.stack([scores_of(model, picture, pixels) for picture in shown])
    scores = found["logits"]
    if build is many_sigmoids:
        scores = 1 / (1 + np.exp(-scores))
    elif build is not augmented:
        scores = softmax(scores, 1.0)
    np.testing.assert_allclose(scores, wanted, atol=4e-3 if build in (mixed_float16, not_square, grey) else 1e-4)
    assert found["embedding"].shape[1] > LABELS


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_one_sigmoid_output_gives_two_labels(activation: str | None, tmp_path: Path) -> None:
    start = image()
    model = keras.Model(start, layers.Dense(1, activation=activation)(pooled(start)))
    network = ForeignClassifier(saved(model, "keras", tmp_path), 2).network("0,1")
    shown = pictures(SIZE)
    wanted = np.stack([scores_of(model, picture, "0,1") for picture in shown])[:, 0]
    second = softmax(network.predict(shown)["logits"], 1.0)[:, 1]
    np.testing.assert_allclose(second, wanted if activation else 1 / (1 + np.exp(-wanted)), atol=1e-4)


@pytest.mark.parametrize("form", ["keras", "h5"])
def test_an_output_is_chosen_by_name(form: str, tmp_path: Path) -> None:
    start = image()
    features = pooled(start)
    heads = {name: layers.Dense(values, activation="softmax", name=name)(features) for name, values in (("colour", 5), ("material", LABELS))}
    path = saved(keras.Model(start, heads if form == "keras" else list(heads.values())), form, tmp_path)
    picture = pictures(SIZE)[:1]
    found = ForeignClassifier(path, LABELS, output="material").network("0,1").predict(picture)
    wanted = np.asarray(keras.Model(start, heads["material"])(picture[0][np.newaxis] / np.float32(255)))
    np.testing.assert_allclose(softmax(found["logits"], 1.0), wanted, atol=1e-4)


def test_a_model_of_any_size_takes_the_given_size(tmp_path: Path) -> None:
    start = keras.Input((None, None, 3))
    path = saved(keras.Model(start, labelled(pooled(start))), "keras", tmp_path)
    assert ForeignClassifier(path, LABELS, size=20).network("0,1").size == 20


def test_a_keras_model_of_teachable_machine_is_read(tmp_path: Path) -> None:
    """A file like Teachable Machine's: of Keras 2, where a depthwise convolution has `groups`."""
    inside = keras.Sequential([image(), layers.DepthwiseConv2D(3, depth_multiplier=2), layers.GlobalAveragePooling2D()])
    model = keras.Sequential([keras.Sequential([inside]), keras.Sequential([keras.Input((6,)), layers.Dense(LABELS, activation="softmax")])])
    model.build((None, SIZE, SIZE, 3))
    path = tmp_path / "keras_model.h5"
    model.save(path)
    with h5py.File(path, "r+") as opened:
        changed = opened.attrs["model_config"].replace('"depth_multiplier": 2', '"depth_multiplier": 2, "groups": 1')
        assert changed.count('"groups": 1') == 1
        opened.attrs["model_config"] = changed
    found = ForeignClassifier(path, LABELS).network("-1,1").predict(pictures(SIZE))["logits"]
    wanted = np.stack([scores_of(model, picture, "-1,1") for picture in pictures(SIZE)])
    np.testing.assert_allclose(softmax(found, 1.0), wanted, atol=1e-4)


def test_a_large_flattened_map_is_averaged(tmp_path: Path) -> None:
    start = image()
    wide = layers.Conv2D(40, 3, padding="same", activation="relu")(start)
    path = saved(keras.Model(start, labelled(layers.Flatten()(wide))), "keras", tmp_path)
    assert ForeignClassifier(path, LABELS).network("0,1").predict(pictures(SIZE))["embedding"].shape == (3, 40)


@pytest.mark.parametrize(("pixels", "preprocess"), [("torch", "torch"), ("caffe", "caffe"), ("-1,1", "tf")])
def test_ranges_are_those_of_keras_applications(pixels: str, preprocess: str) -> None:
    picture = pictures(8)[0].astype(np.float32)
    wanted = keras.applications.imagenet_utils.preprocess_input(picture.copy(), data_format="channels_last", mode=preprocess)
    matrix, bias = RANGES[pixels].matrix_and_bias(3)
    np.testing.assert_allclose((picture / 127.5 - 1) @ matrix + bias, wanted, atol=1e-3)


def test_a_plain_tensorflow_module_is_read(tmp_path: Path) -> None:
    start = image()
    model = keras.Model(start, labelled(pooled(start)))
    module = tf.Module()
    module.held = model.variables
    signature = tf.function(lambda images: {"scores": model(tf.cast(images, tf.float32) / 255, training=False)})
    spec = tf.TensorSpec((None, SIZE, SIZE, 3), tf.uint8, name="images")
    tf.saved_model.save(module, str(tmp_path / "theirs"), signatures={"predict": signature.get_concrete_function(spec)})
    network = ForeignClassifier(tmp_path / "theirs", LABELS)
    assert network.ranges == ("0,255",)
    wanted = np.stack([scores_of(model, picture, "0,1") for picture in pictures(SIZE)])
    np.testing.assert_allclose(softmax(network.network("0,255").predict(pictures(SIZE))["logits"], 1.0), wanted, atol=1e-4)
