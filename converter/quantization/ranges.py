"""Measures the value range of each tensor of a float model on calibration photos.

TensorFlow's calibrator uses slow reference kernels on one thread. XNNPACK on all processors finds the same extremes in a tenth of the time.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from converter.common.parallel_map import parallel_map
from converter.common.progress import Indexable
from converter.quantization.trial_model import load_model
from converter.tflite.metadata import pack_model, unpack_model
from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels, to_float

Ranges = Mapping[int, tuple[float, float]]
"""least and greatest value of a tensor, by the tensor's index"""


def measure_ranges(model: bytes, pictures: Indexable[Pixels], scratch: Path) -> Ranges:
    """The range of every tensor that an operator of the float model computes, and -1..1 for the input, which a camera can fill.

    pictures: size x size x 3 uint8. scratch: a folder to write into.
    """
    parsed = unpack_model(model)
    graph = parsed.subgraphs[0]
    given = [int(number) for operator in graph.operators for number in operator.outputs]
    inputs = [int(number) for number in graph.inputs]
    graph.outputs, parsed.signatureDefs = given, None
    traced = pack_model(parsed)
    found = np.stack(list(parallel_map(len(pictures), lambda: _OutputExtremes(traced, pictures, scratch))))
    least, greatest = found[..., 0].min(axis=0), found[..., 1].max(axis=0)
    return dict.fromkeys(inputs, (-1.0, 1.0)) | {number: (float(low), float(high)) for number, low, high in zip(given, least, greatest, strict=True)}


def with_ranges(model: bytes, ranges: Ranges) -> bytes:
    """The float model with its ranges replaced."""
    parsed = unpack_model(model)
    for number, (least, greatest) in ranges.items():
        quantization = parsed.subgraphs[0].tensors[number].quantization
        quantization.min, quantization.max = np.array([least], np.float32), np.array([greatest], np.float32)
    return pack_model(parsed)


class _OutputExtremes:
    """Runs a model on one picture and returns the least and greatest value of each output: outputs x 2 float32."""

    def __init__(self, model: bytes, pictures: Indexable[Pixels], scratch: Path) -> None:
        self._pictures = pictures
        self._interpreter = load_model(model, scratch).interpreter
        self._fill = self._interpreter.tensor(self._interpreter.get_input_details()[0]["index"])
        self._outputs = [self._interpreter.tensor(details["index"]) for details in self._interpreter.get_output_details()]

    def __call__(self, number: int) -> Float32Array:
        np.copyto(self._fill()[0], to_float(self._pictures[number]))
        self._interpreter.invoke()
        return np.array([(values.min(), values.max()) for values in (read() for read in self._outputs)], np.float32)
