"""Bias correction: rounding shifts the mean output of a layer, and a change of its bias undoes the shift (Nagel et al. 2019, section 4.2).

The means are measured on photos, layer by layer in the order in which they run, in a model whose earlier layers are corrected already. One
measurement for all layers would correct the same shift several times. Only layers without an activation are corrected: MobileNetV2 ends each
block with one, and the head is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.common.parallel_map import parallel_map
from converter.common.progress import Indexable
from converter.quantization.trial_model import load_model
from converter.tflite.layers import Layer, add_to_bias, cut_after, linear_layers
from converter.tflite.metadata import unpack_model
from device.common.arrays import Float64Array
from device.vision.inference.preprocess import Pixels, to_float


@dataclass(frozen=True)
class Correction:
    """The effect of bias correction. before, after: divergence from the float network in nats, on `judged_on` other calibration photos.

    kept: whether it reduced the divergence and is used. fitted_on: number of photos that the means were measured on.
    """

    kept: bool
    fitted_on: int
    judged_on: int
    before: float
    after: float

    def __str__(self) -> str:
        return (
            f"{'kept' if self.kept else 'not kept'}; measured on {self.fitted_on} of the calibration photos, it changed the mean "
            f"divergence from the float network on the other {self.judged_on} from {self.before:.5f} to {self.after:.5f} nats"
        )


def correct_biases(int8: bytes, float32: bytes, pictures: Indexable[Pixels], scratch: Path) -> bytes:
    """The INT8 model with biases changed so that each channel of each linear layer has the mean output of the float model.

    int8, float32: conversions of the same network. pictures: size x size x 3 uint8. scratch: a folder to write into.
    """
    by_name = {layer.name: layer for layer in linear_layers(float32)}
    layers = [layer for layer in linear_layers(int8) if layer.name in by_name]
    if not layers:
        return int8
    of_float = cut_after(unpack_model(float32), [by_name[layer.name] for layer in layers])
    wanted = _channel_means(of_float, [to_float(picture) for picture in pictures], scratch)
    uncorrected = unpack_model(int8)
    changes: list[tuple[Layer, Float64Array]] = []
    for layer, mean in zip(layers, wanted, strict=True):
        (measured,) = _channel_means(_with_changes(cut_after(uncorrected, [layer]), changes), pictures, scratch)
        changes.append((layer, mean - measured))
    return _with_changes(int8, changes)


def _with_changes(model: bytes, changes: Sequence[tuple[Layer, Float64Array]]) -> bytes:
    for layer, change in changes:
        model = add_to_bias(model, layer, change)
    return model


def _channel_means(model: bytes, inputs: Indexable[npt.NDArray[Any]], scratch: Path) -> list[Float64Array]:
    """For each output of the model the mean of each channel, over all positions and all inputs."""
    total, *others = parallel_map(len(inputs), lambda: _ChannelMeans(model, inputs, scratch))
    for means in others:
        total = [so_far + mean for so_far, mean in zip(total, means, strict=True)]
    return [channels / len(inputs) for channels in total]


class _ChannelMeans:
    """Runs a model on one input and returns for each output the mean of each channel."""

    def __init__(self, model: bytes, inputs: Indexable[npt.NDArray[Any]], scratch: Path) -> None:
        self._inputs = inputs
        self._interpreter = load_model(model, scratch).interpreter
        self._fill = self._interpreter.tensor(self._interpreter.get_input_details()[0]["index"])
        self._outputs = [(self._interpreter.tensor(details["index"]), *details["quantization"]) for details in self._interpreter.get_output_details()]

    def __call__(self, number: int) -> list[Float64Array]:
        np.copyto(self._fill()[0], self._inputs[number])
        self._interpreter.invoke()
        return [_mean_per_channel(read(), scale, zero_point) for read, scale, zero_point in self._outputs]


def _mean_per_channel(values: npt.NDArray[Any], scale: float, zero_point: int) -> Float64Array:
    mean: Float64Array = values.reshape(-1, values.shape[-1]).mean(axis=0, dtype=np.float64)
    return (mean - zero_point) * scale if scale else mean
