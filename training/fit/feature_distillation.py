"""Against forgetting: weights decay towards those of the start (L2-SP), and embeddings stay near those of a teacher (feature distillation)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from converter.data.photos import Photo
from converter.quantization.float_network import read_heads
from device.common.arrays import Float32Array
from device.common.errors import SortbinError
from training.fit.checkpoint import write_arrays
from training.fit.metrics import predict
from training.fit.optimizers import Anchor
from training.models.network import head_layers, read_labels, resized

START_FILE = "progress.start.npz"
MEASURED_PHOTOS = 384
"""photos from which the deviation of each embedding value is measured"""
LEAST_SPREAD = 0.05
"""added to each value's standard deviation, so that nearly constant values do not outweigh the others; values are 0 to 6 (ReLU6)"""


class FeatureDistillationError(SortbinError, ValueError):
    """A run whose embeddings cannot be targets."""


def save_start_weights(network: keras.Model, run: Path) -> None:
    """Save the weights that training starts with, for a resumed run."""
    write_arrays(run / START_FILE, network.get_weights())


def load_start_network(network: keras.Model, run: Path) -> keras.Model:
    """A copy of the network with the weights that `save_start_weights` saved."""
    start = resized(network, network.input_shape[1])
    with np.load(run / START_FILE) as stored:
        start.set_weights([stored[name] for name in stored.files])
    return start


def anchor_to_start(network: keras.Model, start: keras.Model, decay: float) -> Anchor:
    """Let the trunk's weights, not those of the heads, decay towards those of `start` (L2-SP; Li, Grandvalet & Davoine 2018)."""
    heads = set(head_layers(network))
    pairs = zip(network.layers, start.layers, strict=True)
    trunk = [(own, its) for layer, begun in pairs if layer.name not in heads for own, its in zip(layer.weights, begun.weights, strict=True)]
    return Anchor(decay, {own.path: keras.ops.convert_to_numpy(its) for own, its in trunk})


def read_feature_teacher(run: Path, network: keras.Model) -> keras.Model:
    """The network of a finished run, at the input size of `network`. Its labels may differ. Raises FeatureDistillationError and NetworkError."""
    for name in ("model.keras", "labels.txt"):
        if not (run / name).is_file():
            raise FeatureDistillationError(f"{run}: expected a finished run to remember: {name} is missing")
    teacher = read_heads(run / "model.keras", len(read_labels(run)))
    own, its = (one.output["embedding"].shape[-1] for one in (network, teacher))
    if own != its:
        raise FeatureDistillationError(f"{run}: expected embeddings of {own} values, as the network in training has; found {its}")
    return resized(teacher, network.input_shape[1])


class FeatureTeacher:
    """A network whose embeddings are targets, at inputs of its size. photos: some of them measure the deviation of each value."""

    def __init__(self, network: keras.Model, photos: Sequence[Photo], seed: int) -> None:
        embed = keras.Model(network.input, network.output["embedding"])
        self._embed = tf.function(lambda inputs: embed(inputs, training=False), reduce_retracing=True)
        chosen = np.random.default_rng(seed).permutation(len(photos))[:MEASURED_PHOTOS]
        measured = predict(network, [photos[index] for index in chosen], network.input_shape[1])["embedding"]
        self._spread = measured.std(axis=0) + LEAST_SPREAD

    def embeddings(self, inputs: Float32Array) -> Float32Array:
        """The teacher's embeddings: (B, S, S, 3) inputs to (B, D) float32."""
        return np.asarray(self._embed(tf.constant(inputs)), np.float32)

    @property
    def loss(self) -> Callable[[keras.KerasTensor, keras.KerasTensor], keras.KerasTensor]:
        """A loss (B,): mean squared distance of embeddings (B, D) from the targets, each value in standard deviations.

        Hints after Romero et al. 2015. Scaled, because a value that is mostly small may alone tell two kinds of things apart.
        """
        spread = keras.ops.convert_to_tensor(self._spread)

        def loss(wanted: keras.KerasTensor, embedding: keras.KerasTensor) -> keras.KerasTensor:
            return keras.ops.mean(keras.ops.square((wanted - embedding) / spread), axis=-1)

        return loss
