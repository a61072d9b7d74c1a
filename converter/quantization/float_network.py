"""Reads the float network of a run and checks its inputs and outputs."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Protocol

import keras
import numpy as np

from converter.common.network_error import NetworkError as NetworkError
from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels, to_float

OUTPUTS = ("logits", "embedding")


class FloatNetwork(Protocol):
    """A network to quantize. size: side of its square input in pixels."""

    size: int

    def predict(self, pictures: Iterable[Pixels]) -> dict[str, Float32Array]:
        """`logits` and `embedding`, one row per picture of size x size x 3 uint8."""

    def exported(self) -> AbstractContextManager[Path]:
        """The network as a SavedModel in a temporary folder, for one picture at a time."""


def read_network(file: Path, label_count: int) -> keras.Model:
    """Load a `.keras` file and check it: one square RGB input of fixed size, outputs `logits` (one per label) and `embedding`.

    Other outputs, which only training uses, are removed. Raises NetworkError.
    """
    network = read_heads(file, label_count)
    if set(network.output) == set(OUTPUTS):
        return network
    return keras.Model(network.input, {name: network.output[name] for name in OUTPUTS})


def read_heads(file: Path, label_count: int) -> keras.Model:
    """As `read_network`, with all outputs of the network. Raises NetworkError."""
    network = read_keras(file)
    shape = tuple(network.inputs[0].shape)
    if len(shape) != 4 or None in shape[1:] or shape[1] != shape[2] or shape[3] != 3:
        raise NetworkError(f"{file}: expected an input of (batch, size, size, 3) with a fixed size, found {shape}")
    if not isinstance(network.output, dict) or not set(OUTPUTS) <= set(network.output):
        found = ", ".join(sorted(network.output)) if isinstance(network.output, dict) else f"{len(network.outputs)} without names"
        raise NetworkError(f"{file}: expected the outputs logits and embedding in a dict, found {found}")
    if tuple(network.output["logits"].shape[1:]) != (label_count,):
        raise NetworkError(f"{file}: expected {label_count} logits, one per label, found {tuple(network.output['logits'].shape[1:])}")
    if len(network.output["embedding"].shape) != 2:
        raise NetworkError(f"{file}: expected an embedding of (batch, features), found {tuple(network.output['embedding'].shape)}")
    return network


def read_keras(file: Path) -> keras.Model:
    """Load any `.keras` file with one input. Raises NetworkError."""
    try:
        network = keras.models.load_model(file, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise NetworkError(f"{file}: not a Keras model that can be read: {str(error).strip().splitlines()[0]}") from error
    if len(network.inputs) != 1:
        raise NetworkError(f"{file}: expected one input, found {len(network.inputs)}")
    return network


def predict(network: keras.Model, pictures: Iterable[Pixels]) -> dict[str, Float32Array]:
    """Run the float network on inputs of size x size x 3 uint8. Returns its outputs by name, one row per picture."""
    parts = [network.predict_on_batch(to_float(batch)) for batch in _batches(pictures)]
    return {name: np.concatenate([part[name] for part in parts]) for name in network.output}


def _batches(pictures: Iterable[Pixels], size: int = 32) -> Iterator[Pixels]:
    rest = iter(pictures)
    while batch := list(islice(rest, size)):
        yield np.stack(batch)
