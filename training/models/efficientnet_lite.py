"""EfficientNet-Lite0: EfficientNet-B0 (Tan & Le 2019, table 1) made for integer hardware, as Google's release of the Lite networks describes it.

No squeeze-and-excite, ReLU6 in place of swish: every operation maps to the Edge TPU. ImageNet checkpoints of it were trained on (pixel - 127) / 128;
pixel / 127.5 - 1, as all networks here take it, is at most one grey level away.
"""

from typing import NamedTuple

import keras

STEM_FILTERS = 32
TOP_FILTERS = 1280


class _Stage(NamedTuple):
    """Blocks of one kind. stride: of the first of them. expansion: channels inside a block as a multiple of those that enter it."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    filters: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def efficientnet_lite0(shape: tuple[int, int, int]) -> keras.Model:
    """A trunk for inputs of `shape` (height, width, 3), float32 -1..1, RGB. Its output is height / 32 x width / 32 x 1280."""
    source = keras.Input(shape)
    signal = _normalized(keras.layers.Conv2D(STEM_FILTERS, 3, 2, padding="same", use_bias=False, name="stem_conv")(source), "stem")
    number = 0
    for stage in _STAGES:
        for repeat in range(stage.blocks):
            signal = _block(signal, stage if repeat == 0 else stage._replace(stride=1), f"block{number}")
            number += 1
    signal = _normalized(_pointwise(signal, TOP_FILTERS, "top"), "top")
    return keras.Model(source, signal, name="efficientnet_lite0")


def _block(entering: keras.KerasTensor, stage: _Stage, name: str) -> keras.KerasTensor:
    """An inverted residual with a linear bottleneck (Sandler et al. 2018, section 3)."""
    channels, signal = entering.shape[-1], entering
    if stage.expansion != 1:
        signal = _normalized(_pointwise(signal, channels * stage.expansion, f"{name}_expand"), f"{name}_expand")
    filtered = keras.layers.DepthwiseConv2D(stage.kernel, stage.stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv")
    signal = _normalized(filtered(signal), f"{name}_depthwise")
    signal = _normalized(_pointwise(signal, stage.filters, f"{name}_project"), f"{name}_project", active=False)
    if stage.stride == 1 and channels == stage.filters:
        signal = keras.layers.Add(name=f"{name}_add")([entering, signal])
    return signal


def _pointwise(signal: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    return keras.layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_conv")(signal)


def _normalized(signal: keras.KerasTensor, name: str, *, active: bool = True) -> keras.KerasTensor:
    signal = keras.layers.BatchNormalization(name=f"{name}_norm")(signal)
    return keras.layers.ReLU(6.0, name=f"{name}_act")(signal) if active else signal
