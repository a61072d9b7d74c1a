"""Another look of the tray: after a lamp died, a camera was knocked. It is believed once it has stayed for a while."""

import cv2
import numpy as np

from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.difference import difference_channels
from device.vision.isolation.outline import find_outline
from device.vision.isolation.scene import classify_scene

STAYS_S = 10.0
"""how long another look has to stay before it is learned"""


class NewViewCandidate:
    """How the tray looked when its new look was first still. What comes to lie on it meanwhile does not become a part of it."""

    def __init__(self, pixels: Pixels, now_s: float) -> None:
        """pixels: H x W x 3 uint8 RGB, a frame in which nothing moves."""
        self.item_was_removed = False
        """whether something lay there when the look was first still, and lies there no more"""
        self._begin(pixels, now_s)

    def _begin(self, pixels: Pixels, now_s: float) -> None:
        self.pixels, self.empty = pixels, BackgroundModel([pixels])
        self._since_s = now_s

    def is_confirmed_by(self, pixels: Pixels, now_s: float) -> bool:
        """Take one more frame in which nothing moves. Whether the look, which is `pixels` and `empty`, is to be believed now."""
        change = classify_scene(pixels, self.empty).change
        gone = change == "item" and item_was_removed(pixels, self.empty)
        self.item_was_removed |= gone
        if gone or change not in ("nothing", "item"):
            self._begin(pixels, now_s)
        return now_s - self._since_s >= STAYS_S


def item_was_removed(pixels: Pixels, empty: BackgroundModel) -> bool:
    """Whether what differs from the empty views lay there when the newest of them was taken, and lies there no more.

    The view with the thing has the stronger edges along its outline. pixels: H x W x 3 uint8 RGB. At least one view must be known.
    """
    small = BackgroundModel.shrink(pixels)
    item = find_outline(difference_channels(small, empty)).item
    solid = np.asarray(cv2.threshold(item, 127, 255, cv2.THRESH_BINARY)[1], np.uint8)
    edge = cv2.morphologyEx(solid, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    now, then = (_edges(view)[edge].mean() if edge.any() else 0.0 for view in (small, empty.newest))
    return bool(then > now)


def _edges(small: Pixels) -> "Float32Array":
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float32)
    return np.asarray(cv2.magnitude(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)), np.float32)
