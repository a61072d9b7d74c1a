"""The network: a trunk, pooled features, and 1x1 convolutions as heads.

Inputs are float32 in -1..1, RGB, and nothing in the graph rescales them, so the quantized network takes camera bytes untouched.
Outputs are named `logits` (one per label) and `embedding` (the pooled features), and `bin_logits` where there is a second head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from device.common.arrays import Float32Array, Float64Array

HEAD = "head"
BIN_HEAD = "bin_head"


@dataclass(frozen=True)
class HiddenLayers:
    """Hidden layers between features and labels: units of each, and the activation and dropout behind each."""

    units: Sequence[int] = ()
    activation: str = "relu"
    dropout: float = 0.0


NO_HIDDEN_LAYERS = HiddenLayers()


def add_heads(
    trunk: keras.Model, label_count: int, *, dropout: float = 0.2, seed: int = 0, hidden: HiddenLayers = NO_HIDDEN_LAYERS, bin_count: int = 0
) -> keras.Model:
    """Add pooled features, dropout, hidden layers and one output a label to a trunk.

    bin_count: outputs of a second head that names the bin, behind the same hidden layers; 0 for none.
    """
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool")(trunk.output)
    signal = keras.layers.Dropout(dropout, seed=seed, name="dropout")(pooled)
    for number, units in enumerate(hidden.units):
        signal = keras.layers.Conv2D(units, 1, activation=hidden.activation, name=f"dense{number}")(signal)
        if hidden.dropout:
            signal = keras.layers.Dropout(hidden.dropout, seed=seed + number + 1, name=f"dense{number}_dropout")(signal)
    outputs = {
        "logits": keras.layers.Flatten(name="logits")(keras.layers.Conv2D(label_count, 1, name=HEAD)(signal)),
        "embedding": keras.layers.Flatten(name="embedding")(pooled),
    }
    if bin_count:
        outputs["bin_logits"] = keras.layers.Flatten(name="bin_logits")(keras.layers.Conv2D(bin_count, 1, name=BIN_HEAD)(signal))
    return keras.Model(trunk.input, outputs, name="sortbin")


def head_layers(network: keras.Model) -> list[str]:
    """Names of the layers with weights behind the pooled features, in order."""
    names = [layer.name for layer in network.layers]
    return [layer.name for layer in network.layers[names.index("pool") :] if layer.weights]


def resized(network: keras.Model, size: int) -> keras.Model:
    """A copy for another input size with the same weights; no weight of a convolutional network depends on the size."""
    copy = keras.models.clone_model(network, input_tensors=keras.Input((size, size, 3)))
    copy.set_weights(network.get_weights())
    return copy


def set_head(network: keras.Model, coefficients: Float32Array | Float64Array, intercepts: Float32Array | Float64Array, layer: str = HEAD) -> None:
    """Set a head without hidden layers to a linear classifier of embeddings. coefficients: outputs x features; intercepts: outputs."""
    kernel = np.ascontiguousarray(coefficients.T)[None, None].astype(np.float32)
    network.get_layer(layer).set_weights([kernel, intercepts.astype(np.float32)])


def unfreeze(network: keras.Model, layers: int | None) -> None:
    """Make the heads and the `layers` topmost layers with weights of the trunk trainable, and no others; None: all layers."""
    heads = set(head_layers(network))
    trunk = [layer for layer in network.layers if layer.weights and layer.name not in heads]
    for layer in trunk:
        layer.trainable = False
    for layer in trunk if layers is None else trunk[len(trunk) - min(layers, len(trunk)) :]:
        layer.trainable = True


def read_labels(run: Path) -> tuple[str, ...]:
    """Labels of a run in the network's order."""
    return tuple(line for line in (run / "labels.txt").read_text(encoding="utf-8").split("\n") if line)
