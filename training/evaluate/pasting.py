"""An item that was taken off its card, laid back: where it was on another ground, or elsewhere on its own card."""

import cv2
import numpy as np

from converter.data.light_card import Mask, SegmentedPhoto
from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels

NEAR = 0.05
"""how far round an item its shadow and what the mask missed of it reach, as a share of the longer side"""


def paste_in_place(item: SegmentedPhoto, ground: Pixels) -> Pixels:
    """Lay the item, without its shadow, where it was, but on `ground`: H x W x 3 uint8 RGB, of the photo's size."""
    alpha = cv2.GaussianBlur(item.mask.astype(np.float32), (0, 0), 1.2)[..., np.newaxis]
    return np.rint(alpha * item.pixels + (1 - alpha) * ground).astype(np.uint8)


def paste_at(item: SegmentedPhoto, scale: float, middle: tuple[float, float]) -> Pixels:
    """Lay the item elsewhere on its own card, scaled, its box's middle at `middle` (x, y in pixels).

    What moves is how much darker or lighter than bare card each place is, the item's shadow and rim with it, fading out round the
    item; so a mask that misses a clear side of it does no harm.
    """
    height, width = item.mask.shape
    x, y = item.box.middle
    there = np.array([[scale, 0, middle[0] - scale * x], [0, scale, middle[1] - scale * y]])
    card = item.card.astype(np.float32) + 1
    ratio = (item.pixels.astype(np.float32) + 1) / card
    if scale < 0.7:  # fine patterns must fade before they are sampled
        ratio = cv2.GaussianBlur(ratio, (0, 0), 0.4 / scale)
    ratio = cv2.warpAffine(ratio, there, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(_surroundings(item.mask), there, (width, height), flags=cv2.INTER_LINEAR)[..., np.newaxis]
    return np.clip(np.rint(card * (1 + alpha * (ratio - 1)) - 1), 0, 255).astype(np.uint8)


def _surroundings(mask: Mask) -> Float32Array:
    """1 on the item and near it, falling to 0."""
    reach = max(1, round(NEAR * max(mask.shape)))
    near = cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
    return cv2.GaussianBlur(near.astype(np.float32), (0, 0), reach / 2)
