"""The network that draws an item's outline: a U-Net (Ronneberger, Fischer and Brox 2015), small enough for half a millisecond a frame."""

import keras
from keras import layers

from device.vision.isolation.background import HEIGHT, WIDTH
from device.vision.isolation.difference import CHANNELS


def outline_network() -> keras.Model:
    """HEIGHT x WIDTH x CHANNELS as `device.vision.isolation.difference` gives it, to HEIGHT x WIDTH x 1 logits."""
    differs = layers.Input((HEIGHT, WIDTH, CHANNELS))
    half = _convolved(_convolved(differs, 16, size=4, stride=2), 16)
    quarter = _convolved(_convolved(half, 24, stride=2), 24)
    eighth = _convolved(_convolved(quarter, 40, stride=2), 40)
    whole = _convolved(_convolved(_convolved(eighth, 64, stride=2), 64), 64, dilation=2)
    eighth = _joined(whole, eighth, 40)
    quarter = _joined(eighth, quarter, 24)
    half = _joined(quarter, half, 16)
    return keras.Model(differs, layers.Conv2DTranspose(1, 4, 2, "same")(half))


def _convolved(seen: keras.KerasTensor, filters: int, *, size: int = 3, stride: int = 1, dilation: int = 1) -> keras.KerasTensor:
    plain = layers.Conv2D(filters, size, stride, "same", dilation_rate=dilation, use_bias=False)(seen)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.95)(plain))


def _joined(coarse: keras.KerasTensor, fine: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    """What the coarse level understood, added to what the fine one sees."""
    up = layers.UpSampling2D(2, interpolation="bilinear")(_convolved(coarse, filters, size=1))
    return _convolved(layers.Add()([up, fine]), filters)
