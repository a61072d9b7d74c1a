"""Warm start: training starts from the whole network of a finished run."""

from collections.abc import Mapping
from pathlib import Path

import keras

from converter.quantization.float_network import read_heads
from device.common.errors import SortbinError
from training.models.network import HEAD

NAMED_LAYERS = ("pool", "dropout", HEAD)


class WarmStartError(SortbinError, ValueError):
    """A run that cannot be trained further."""


def read_start_network(start: Path, widths: Mapping[str, int]) -> keras.Model:
    """The network of a finished run. widths: outputs to train and their columns. Raises WarmStartError and NetworkError."""
    file = start / "model.keras"
    if not file.is_file():
        raise WarmStartError(f"{start}: expected a finished run to train further: model.keras is missing")
    network = read_heads(file, widths["logits"])
    for name, width in widths.items():
        found = network.output[name].shape[-1] if name in network.output else 0
        if found != width:
            raise WarmStartError(f"{file}: expected {width} of {name}, as the rule pack has bins; found {found}")
    require_named_layers(network, file)
    return network


def require_named_layers(network: keras.Model, file: Path) -> None:
    """Raise WarmStartError for a network without the layers that are looked up by name. file: where it was read from."""
    missing = set(NAMED_LAYERS) - {layer.name for layer in network.layers}
    if missing:
        raise WarmStartError(f"{file}: expected a network that `training fit` made, found no layer {min(missing)}")
