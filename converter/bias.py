"""Bias correction: rounding moves the mean of what a layer gives, and its bias can take that back (Nagel et al. 2019, section 4.2).

The means are measured on photos, layer by layer in the order in which they run, each in a model whose earlier layers are corrected already:
correcting all at once from one measurement would take the same shift back several times over. Layers without activation are enough;
MobileNetV2 ends each block with one, and the head is one.
"""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from converter.layers import Floats, Layer, add_to_bias, cut_after, linear_layers
from converter.trial import load_model
from device.vision.preprocess import Pixels, to_float


def corrected(int8: bytes, float32: bytes, pictures: Collection[Pixels], scratch: Path) -> bytes:
    """Return the INT8 model with the mean output of each linear layer moved to where it is in the float model, channel by channel.

    int8, float32: the same network, converted both ways. pictures: size x size x 3 uint8. scratch: a folder to write into.
    """
    by_name = {layer.name: layer for layer in linear_layers(float32)}
    layers = [layer for layer in linear_layers(int8) if layer.name in by_name]
    if not layers:
        return int8
    wanted = _channel_means(float32, [by_name[layer.name] for layer in layers], (to_float(picture) for picture in pictures), scratch)
    for layer, mean in zip(layers, wanted, strict=True):
        (found,) = _channel_means(int8, [layer], pictures, scratch)
        int8 = add_to_bias(int8, layer, mean - found)
    return int8


def _channel_means(model: bytes, layers: Sequence[Layer], inputs: Iterable[np.ndarray], scratch: Path) -> list[Floats]:
    """The mean of each channel of each layer's output over all places of all inputs."""
    interpreter = load_model(cut_after(model, layers), scratch).interpreter
    fill = interpreter.tensor(interpreter.get_input_details()[0]["index"])
    outputs = [(interpreter.tensor(details["index"]), *details["quantization"]) for details in interpreter.get_output_details()]
    sums, count = [np.zeros(1)] * len(outputs), 0
    for values in inputs:
        count += 1
        np.copyto(fill()[0], values)
        interpreter.invoke()
        for number, (read, scale, zero_point) in enumerate(outputs):
            channels = read()
            mean = channels.reshape(-1, channels.shape[-1]).mean(axis=0, dtype=np.float64)
            del channels  # an interpreter does not run again while a view into it is held
            sums[number] = sums[number] + ((mean - zero_point) * scale if scale else mean)
    return [total / count for total in sums]
