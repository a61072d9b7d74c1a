"""Classifiers that our training did not make: a `.keras` file or a SavedModel, brought into the form that a bundle needs.

The network is frozen to a plain graph. A softmax at its end is left off, what its last dense layer or convolution takes is the embedding, and the
range of pixels it was made for goes in front, so that it takes -1..1 as all of ours do.
"""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from converter.network import Floats, NetworkError, read_keras
from device.vision.preprocess import Pixels, to_float

RANGES = {"-1,1": (-1.0, 1.0), "0,1": (0.0, 1.0), "0,255": (0.0, 255.0)}
"""pixel values that a network may expect, black to white"""

_PASSED_OVER = {"Identity", "NoOp", "Reshape", "Squeeze", "ExpandDims"}
_SUMMED = {"BiasAdd", "Add", "AddV2"}
_WEIGHED = {"MatMul", "Conv2D"}


class AdoptedNetwork:
    """A frozen graph with the outputs `logits` and `embedding`, for one picture at a time. size: side of its square input in pixels."""

    def __init__(self, graph: Any, size: int, darkest: float, brightest: float) -> None:
        self.size = size
        half = (brightest - darkest) / 2

        def answer(image: tf.Tensor) -> dict[str, tf.Tensor]:
            pixels = image if (darkest, brightest) == (-1.0, 1.0) else image * half + (darkest + half)
            logits, embedding = graph(pixels)
            if len(embedding.shape) == 4 and embedding.shape[1:3] != (1, 1):
                embedding = tf.reduce_mean(embedding, [1, 2])
            return {"logits": tf.reshape(logits, (1, -1)), "embedding": tf.reshape(embedding, (1, -1))}

        self._module = tf.Module()
        self._module.graph = graph
        self._module.answer = tf.function(answer, input_signature=[tf.TensorSpec((1, size, size, 3), tf.float32, name="image")])

    def predict(self, pictures: Iterable[Pixels]) -> dict[str, Floats]:
        """Outputs by name, one row a picture of size x size x 3 uint8."""
        rows = [self._module.answer(to_float(picture)[None]) for picture in pictures]
        return {name: np.concatenate([row[name].numpy() for row in rows]) for name in ("logits", "embedding")}

    @contextlib.contextmanager
    def exported(self) -> Iterator[Path]:
        """The network as a SavedModel in a temporary folder."""
        with tempfile.TemporaryDirectory(prefix="sortbin-") as folder:
            tf.saved_model.save(self._module, folder, signatures={"serving_default": self._module.answer})
            yield Path(folder)


def adopt(file: Path, label_count: int, pixels: str) -> AdoptedNetwork:
    """Read a `.keras` file or the folder of a SavedModel. pixels: one of RANGES, the values it was trained on.

    Raises NetworkError for what is neither, has other than one input of a fixed square size with three channels, does not end in a dense
    layer or convolution with or without softmax, or does not give `label_count` values.
    """
    if file.is_dir():
        return _adopted(file, file, label_count, pixels)
    with tempfile.TemporaryDirectory(prefix="sortbin-") as folder:
        read_keras(file).export(folder, verbose=False)
        return _adopted(Path(folder), file, label_count, pixels)


def _adopted(saved: Path, named: Path, label_count: int, pixels: str) -> AdoptedNetwork:
    try:
        loaded = tf.saved_model.load(str(saved))
    except (OSError, ValueError, KeyError) as error:
        raise NetworkError(f"{named}: not a SavedModel that can be read: {str(error).strip().splitlines()[0]}") from error
    signatures = loaded.signatures
    if "serving_default" not in signatures:
        raise NetworkError(f"{named}: expected the signature serving_default, found {', '.join(signatures) or 'none'}")
    signature = signatures["serving_default"]
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1:
        raise NetworkError(f"{named}: expected one input, found {len(inputs)}")
    ((name, spec),) = inputs.items()
    shape = tuple(spec.shape)
    if len(shape) != 4 or None in shape[1:] or shape[1] != shape[2] or shape[3] != 3 or spec.dtype != tf.float32:
        raise NetworkError(f"{named}: expected a float32 input of (batch, size, size, 3) with a fixed size, found {spec.dtype.name} {shape}")
    outputs = signature.structured_outputs
    if len(outputs) != 1:
        raise NetworkError(f"{named}: expected one output, a value for each label, found {len(outputs)}: {', '.join(sorted(outputs))}")
    size = int(shape[1])

    call = tf.function(lambda image: next(iter(signature(**{name: image}).values())))
    frozen = convert_variables_to_constants_v2(call.get_concrete_function(tf.TensorSpec((1, size, size, 3), tf.float32)))
    logits, embedding = _ends(frozen.outputs[0], named)
    if int(np.prod(logits.shape)) != label_count:
        raise NetworkError(f"{named}: expected {label_count} values, one per label, found {int(np.prod(logits.shape))}")
    graph = frozen.prune(frozen.inputs, [logits, embedding])
    return AdoptedNetwork(graph, size, *RANGES[pixels])


def _ends(output: Any, named: Path) -> tuple[Any, Any]:
    """The tensor before any softmax, and what the layer that computes it takes."""
    found = _behind(output, _PASSED_OVER)
    if found.op.type == "Softmax":
        found = _behind(found.op.inputs[0], _PASSED_OVER)
    logits, tensor = found, found
    while tensor.op.type in _SUMMED | _PASSED_OVER:
        tensor = tensor.op.inputs[0]
    if tensor.op.type not in _WEIGHED:
        raise NetworkError(f"{named}: expected a dense layer or a convolution at its end, with or without softmax, found {tensor.op.type}")
    return logits, tensor.op.inputs[0]


def _behind(tensor: Any, passed: set[str]) -> Any:
    while tensor.op.type in passed:
        tensor = tensor.op.inputs[0]
    return tensor
