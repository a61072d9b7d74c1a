"""A camera's sensor: light to counts, with noise and clipping, over a range of light that eight bits cannot hold."""

import cv2
import numpy as np

from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels

FULL_WELL = 10_000.0
"""electrons at which a pixel is full: a small sensor, as phones and the cameras of a Pi have"""
READ_NOISE = 3.0
"""standard deviation of what reading a pixel adds, electrons"""
LONGEST_TIME = 16.0
"""multiple of the usual exposure time up to which a longer one is possible; beyond it, gain is added, which adds no light"""
LEVELS = 4096
"""counts of the converter, 12 bits"""
SPARE = 64
"""rows and columns of noise beyond the frame's; each frame takes another part"""


def to_linear(counts: Float32Array) -> Float32Array:
    """Counts 0..255 to light, 0..1, by the curve of sRGB (IEC 61966-2-1)."""
    shares = np.clip(counts / np.float32(255), 0, 1)
    return np.asarray(np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4), np.float32)


def to_counts(light: Float32Array) -> Float32Array:
    """Light 0..1 to counts 0..255, the inverse of `to_linear`."""
    return np.asarray(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055), np.float32)


class VirtualSensor:
    """Takes pictures of height x width pixels. All random values come from `rng`."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self._rng, self._height, self._width = rng, height, width
        self._noise = rng.normal(0.0, 1.0, (height + SPARE, width + SPARE, 3)).astype(np.float32)
        self._curve = to_counts(np.linspace(0, 1, LEVELS, dtype=np.float32)).round().astype(np.uint8)

    def picture(self, light: Float32Array, exposure: float) -> Pixels:
        """A frame of H x W x 3 light, where 1.0 fills a pixel at exposure 1.0. Returns H x W x 3 uint8.

        Shot noise is that of the electrons (its square is their number), so a short exposure of a dark item is noisier than a long one.
        """
        time = min(exposure, LONGEST_TIME)
        electrons = np.minimum(light * np.float32(FULL_WELL * time), np.float32(FULL_WELL))
        top, left = self._rng.integers(0, SPARE, 2)
        noise = self._noise[top : top + self._height, left : left + self._width]
        read = electrons + noise * cv2.sqrt(electrons + np.float32(READ_NOISE**2))
        levels = read * np.float32(exposure / time * (LEVELS - 1) / FULL_WELL)
        return np.asarray(self._curve[np.clip(levels, 0, LEVELS - 1).astype(np.uint16)], np.uint8)
