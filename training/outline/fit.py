"""Fit the outline network to views made by chance, and write it for the device: INT8 inside, float at both ends."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from device.common.arrays import Float32Array
from device.common.files import replacing
from device.vision.isolation.background import HEIGHT, WIDTH, BackgroundModel
from device.vision.isolation.difference import CHANNELS, difference_image
from training.outline.network import outline_network
from training.outline.views import Stock, View, random_view

BATCH = 32
RATE = 2e-3
CHECKED = 300
"""views that are kept from training to measure on"""
CALIBRATED = 200
"""views that set the quantization ranges"""
LEAST_PIXELS = 20
"""pixels of a mask below which nothing lies there"""


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """What the network learns. differs: n x HEIGHT x WIDTH x CHANNELS float16; mask: n x HEIGHT x WIDTH uint8, 0..255."""

    differs: npt.NDArray[np.float16]
    mask: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Drawn:
    """How well outlines fit on `n` views that were not trained on: mean intersection over union where something lies, false share where not."""

    n: int
    iou: float
    false: float


def make_lessons(stock: Stock, count: int, seed: int, made: Callable[[int], None] = lambda _: None) -> Lessons:
    """Make `count` views, numbered from `seed`, as the device sees them. made: told after each how many there are."""
    differs = np.empty((count, HEIGHT, WIDTH, CHANNELS), np.float16)
    mask = np.empty((count, HEIGHT, WIDTH), np.uint8)
    for number in range(count):
        differs[number], mask[number] = _lesson(random_view(seed + number, stock))
        made(number + 1)
    return Lessons(differs, mask)


def fit_outline(lessons: Lessons, steps: int, seed: int, told: Callable[[int, float], None] = lambda *_: None) -> tuple[keras.Model, Drawn]:
    """Train for `steps` batches of BATCH; the first CHECKED lessons are measured on and not trained on. told: after each step, with its loss."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    network = outline_network()
    optimizer = keras.optimizers.AdamW(RATE, weight_decay=1e-4)
    optimizer.build(network.trainable_variables)  # else TensorFlow traces `step` twice

    @tf.function
    def step(differs: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = _loss(network(differs, training=True)[..., 0], mask)
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, network.trainable_variables), 2.0)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return loss

    for number in range(steps):
        optimizer.learning_rate.assign(RATE * min(1, (number + 1) / 50) * (0.5 + 0.5 * np.cos(np.pi * number / steps)) + 1e-5)
        chosen = rng.integers(CHECKED, len(lessons.mask), BATCH)
        told(number + 1, float(step(*_turned(lessons.differs[chosen].astype(np.float32), lessons.mask[chosen].astype(np.float32) / 255, rng))))
    return network, measured(network, lessons.differs[:CHECKED], lessons.mask[:CHECKED])


def measured(network: keras.Model, differs: npt.NDArray[np.float16], mask: npt.NDArray[np.uint8]) -> Drawn:
    """Measure the float network."""
    parts = (differs[first : first + BATCH].astype(np.float32) for first in range(0, len(differs), BATCH))
    drawn = np.concatenate([network(part, training=False).numpy()[..., 0] > 0 for part in parts])
    true = mask > 127
    there = true.sum(axis=(1, 2)) > LEAST_PIXELS
    iou = (drawn & true).sum(axis=(1, 2)) / np.maximum((drawn | true).sum(axis=(1, 2)), 1)
    return Drawn(len(mask), float(iou[there].mean()), float(drawn[~there].mean()) if not there.all() else 0.0)


def write_outline(network: keras.Model, lessons: Lessons, file: Path) -> None:
    """Quantize after training (weights and activations INT8, ranges from CALIBRATED lessons) and write the `.tflite` file."""
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([each[None].astype(np.float32)] for each in lessons.differs[-CALIBRATED:])
    with replacing(file) as new:
        new.write_bytes(converter.convert())


def _lesson(view: View) -> tuple[Float32Array, npt.NDArray[np.uint8]]:
    mask = BackgroundModel.shrink(np.repeat(view.mask[..., None], 3, axis=2))[..., 0]
    return difference_image(view.frame, BackgroundModel(view.empty)), mask


def _loss(logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of pixels, and how little the outlines overlap where something lies (soft Jaccard)."""
    pixels = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=mask, logits=logits))
    likely = tf.sigmoid(logits)
    there = tf.cast(tf.reduce_sum(mask, (1, 2)) > LEAST_PIXELS, tf.float32)
    both = tf.reduce_sum(likely * mask, (1, 2))
    either = tf.reduce_sum(likely + mask - likely * mask, (1, 2))
    return 2 * pixels + tf.reduce_sum(there * (1 - (both + 5) / (either + 5))) / tf.maximum(tf.reduce_sum(there), 1)


def _turned(differs: Float32Array, mask: Float32Array, rng: np.random.Generator) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirrored by chance, and every hue turned into another: what colour an item has says nothing."""
    across, down = rng.choice((1, -1), 2)
    differs, mask = differs[:, ::down, ::across].copy(), mask[:, ::down, ::across]
    angle = rng.uniform(0, 2 * np.pi, (len(differs), 1, 1)).astype(np.float32)
    red, blue = differs[..., 1].copy(), differs[..., 2].copy()
    differs[..., 1], differs[..., 2] = np.cos(angle) * red - np.sin(angle) * blue, np.sin(angle) * red + np.cos(angle) * blue
    return tf.constant(differs), tf.constant(np.ascontiguousarray(mask))
