"""The pixel ranges that networks are trained on, and the conversion of -1..1 to them."""

from dataclasses import dataclass

import numpy as np

from device.common.arrays import Float32Array


@dataclass(frozen=True)
class PixelRange:
    """The value of channel c is `(pixel - means[c]) / divisors[c]`, pixel 0..255. blue_first: the order is B, G, R, also of means and divisors."""

    means: tuple[float, float, float]
    divisors: tuple[float, float, float]
    blue_first: bool = False

    def matrix_and_bias(self, channels: int) -> tuple[Float32Array, Float32Array]:
        """Matrix (3 x channels) and bias (channels) of `converted = picture @ matrix + bias`, for a picture of -1..1, RGB. One channel: grey."""
        means, divisors = np.array(self.means), np.array(self.divisors)
        if channels == 1:
            order, means, divisors = np.array(LUMA)[:, np.newaxis], means[:1], divisors[:1]
        else:
            order = np.eye(3)[:, ::-1] if self.blue_first else np.eye(3)
        return (127.5 * order / divisors).astype(np.float32), ((127.5 - means) / divisors).astype(np.float32)


LUMA = (0.299, 0.587, 0.114)
"""weights of red, green and blue in a grey picture (ITU-R BT.601), as in Pillow and TensorFlow"""

RANGES = {
    "-1,1": PixelRange((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "0,1": PixelRange((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    "0,255": PixelRange((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "torch": PixelRange((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "caffe": PixelRange((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), blue_first=True),
}
"""values from black to white; torch and caffe are modes of `keras.applications.imagenet_utils.preprocess_input`: DenseNet's, and ResNet's and
VGG's"""
GREY_RANGES = ("-1,1", "0,1", "0,255")
"""the ranges that treat all channels alike"""
