"""From camera pixels to network input. Device, calibration and evaluation all use this one definition."""

import cv2
import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array

Pixels = npt.NDArray[np.uint8]


def to_input(pixels: Pixels, size: int) -> Pixels:
    """Stretch a picture to the network's square input.

    pixels: H x W x 3 uint8 RGB, any size. Returns size x size x 3 uint8 RGB, C-contiguous.

    Each side is halved while it is at least twice too long, then one step does the rest, all bilinear. Halving averages neighbours, so fine patterns
    fade instead of aliasing, in a sixth of the time of area averaging at the same accuracy. The aspect ratio is not kept: 4:3 camera frames and 4:3
    training photos are stretched alike.
    """
    made = np.empty((size, size, 3), np.uint8)
    fill_input(pixels, made)
    return made


def fill_input(pixels: Pixels, made: Pixels) -> None:
    """As `to_input`, written into `made`, size x size x 3 uint8, such as the network's own input tensor."""
    size = made.shape[0]
    height, width = pixels.shape[:2]
    while height >= 2 * size or width >= 2 * size:
        height, width = (side // 2 if side >= 2 * size else side for side in (height, width))
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    cv2.resize(pixels, (size, size), dst=made, interpolation=cv2.INTER_LINEAR)


def halve_repeatedly(pixels: Pixels, width: int, height: int) -> Pixels:
    """Halve a picture, H x W x 3 uint8, while both sides are at least twice `width` and `height`: fast and without aliasing."""
    high, wide = pixels.shape[:2]
    while high >= 2 * height and wide >= 2 * width:
        high, wide = high // 2, wide // 2
        pixels = np.asarray(cv2.resize(pixels, (wide, high), interpolation=cv2.INTER_LINEAR), np.uint8)
    return pixels


def to_float(pixels: Pixels) -> Float32Array:
    """Map uint8 0..255 to float32 -1..1, the range of the float network (quantized: scale 1/127.5, zero point 127)."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1.0)
