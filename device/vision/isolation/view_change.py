"""Recognise that the empty tray itself looks different, after a lamp died or the camera was knocked: the new view must stay for a while."""

import cv2
import numpy as np

from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.difference import difference_channels
from device.vision.isolation.outline import find_outline
from device.vision.isolation.scene import classify_scene

STAYS_S = 10.0
"""how long a new view must stay until it is learned"""


class NewViewCandidate:
    """A new view of the empty tray, taken when it was first still. Items that arrive later do not become part of it."""

    def __init__(self, pixels: Pixels, now_s: float) -> None:
        """pixels: H x W x 3 uint8 RGB, a frame without movement. now_s: monotonic seconds."""
        self.item_was_removed = False
        """whether an item that was part of the new view was taken away since"""
        self._begin(pixels, now_s)

    def _begin(self, pixels: Pixels, now_s: float) -> None:
        self.pixels, self.empty = pixels, BackgroundModel([pixels])
        self._since_s = now_s

    def is_confirmed_by(self, pixels: Pixels, now_s: float) -> bool:
        """Take one more frame without movement. Returns whether the new view, `pixels` and `empty`, has stayed for STAYS_S."""
        change = classify_scene(pixels, self.empty).change
        gone = change == "item" and item_was_removed(pixels, self.empty)
        self.item_was_removed |= gone
        if gone or change not in ("nothing", "item"):
            self._begin(pixels, now_s)
        return now_s - self._since_s >= STAYS_S


def item_was_removed(pixels: Pixels, empty: BackgroundModel) -> bool:
    """Whether what differs from the newest empty view is an item that lay there then and is gone now.

    The picture with the item has the stronger edges along the outline. pixels: H x W x 3 uint8 RGB. empty: at least one view.
    """
    small = BackgroundModel.shrink(pixels)
    item = find_outline(difference_channels(small, empty)).item
    solid = np.asarray(cv2.threshold(item, 127, 255, cv2.THRESH_BINARY)[1], np.uint8)
    edge = cv2.morphologyEx(solid, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    now, then = (_edges(view)[edge].mean() if edge.any() else 0.0 for view in (small, empty.newest))
    return bool(then > now)


def _edges(small: Pixels) -> Float32Array:
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float32)
    return np.asarray(cv2.magnitude(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)), np.float32)
