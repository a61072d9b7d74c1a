"""Paste an item that was cut out of a photo: in place on another background, or elsewhere on its own card."""

import cv2
import numpy as np

from converter.data.light_card import Mask, SegmentedPhoto
from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels

NEAR = 0.05
"""how far around an item its shadow and its missed parts reach, as a share of the longer side"""


def paste_in_place(item: SegmentedPhoto, ground: Pixels) -> Pixels:
    """Paste the item, without its shadow, where it was, but on `ground`: H x W x 3 uint8 RGB, of the photo's size."""
    alpha = cv2.GaussianBlur(item.mask.astype(np.float32), (0, 0), 1.2)[..., np.newaxis]
    return np.rint(alpha * item.pixels + (1 - alpha) * ground).astype(np.uint8)


def paste_at(item: SegmentedPhoto, scale: float, middle: tuple[float, float]) -> Pixels:
    """Move the item on its own card, scaled, the centre of its box at `middle` (x, y in pixels).

    The ratio of the photo to the bare card is moved, with the item's shadow and rim, and fades out around the item. So a mask that misses a clear
    part does no harm.
    """
    height, width = item.mask.shape
    x, y = item.box.middle
    there = np.array([[scale, 0, middle[0] - scale * x], [0, scale, middle[1] - scale * y]])
    card = item.card.astype(np.float32) + 1
    ratio = (item.pixels.astype(np.float32) + 1) / card
    if scale < 0.7:  # a blur, so that fine patterns do not alias
        ratio = cv2.GaussianBlur(ratio, (0, 0), 0.4 / scale)
    ratio = np.asarray(cv2.warpAffine(ratio, there, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
    alpha = cv2.warpAffine(_surroundings(item.mask), there, (width, height), flags=cv2.INTER_LINEAR)[..., np.newaxis]
    return np.asarray(np.clip(np.rint(card * (1 + alpha * (ratio - 1)) - 1), 0, 255), np.uint8)


def _surroundings(mask: Mask) -> Float32Array:
    """1 on the item and near it, 0 far from it, H x W float32."""
    reach = max(1, round(NEAR * max(mask.shape)))
    near = cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
    return np.asarray(cv2.GaussianBlur(near.astype(np.float32), (0, 0), reach / 2), np.float32)
