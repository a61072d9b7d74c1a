"""What the network knew where training starts, kept while it learns: its weights as an anchor, its embeddings as targets."""

from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from training.keeping import write_arrays
from training.network import head_layers, resized
from training.optimizers import Anchor

Floats = npt.NDArray[np.float32]

START_FILE = "progress.start.npz"


def keep_start(network: keras.Model, run: Path) -> None:
    """Keep the weights that training starts with, for a run that goes on after a stop."""
    write_arrays(run / START_FILE, network.get_weights())


def started_as(network: keras.Model, run: Path) -> keras.Model:
    """A copy of the network, of the same input size, with the weights that `keep_start` kept of it."""
    start = resized(network, network.input_shape[1])
    with np.load(run / START_FILE) as stored:
        start.set_weights([stored[name] for name in stored.files])
    return start


def anchored(network: keras.Model, start: keras.Model, decay: float) -> Anchor:
    """Draw the network's trunk, not its heads, to the weights of `start` (Li, Grandvalet & Davoine 2018)."""
    heads = set(head_layers(network))
    pairs = zip(network.layers, start.layers, strict=True)
    kept = [(own, its) for layer, begun in pairs if layer.name not in heads for own, its in zip(layer.weights, begun.weights, strict=True)]
    return Anchor(decay, {own.path: keras.ops.convert_to_numpy(its) for own, its in kept})


class Remembered:
    """Embeddings as the starting network has them, at inputs of the network's size."""

    def __init__(self, start: keras.Model) -> None:
        embed = keras.Model(start.input, start.output["embedding"])
        self._embed = tf.function(lambda inputs: embed(inputs, training=False), reduce_retracing=True)

    def embeddings(self, inputs: Floats) -> Floats:
        """(B, S, S, 3) inputs to (B, D) float32."""
        return np.asarray(self._embed(tf.constant(inputs)), np.float32)


def strayed(wanted: keras.KerasTensor, embedding: keras.KerasTensor) -> keras.KerasTensor:
    """How far embeddings (B, D) point away from those wanted: 1 - cosine, (B,)."""
    return 1 - keras.ops.sum(keras.ops.normalize(wanted, -1) * keras.ops.normalize(embedding, -1), axis=-1)
