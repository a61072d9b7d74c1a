"""What the camera sees while nothing is there: several views of it, because lamps flicker, walls glint and the sun moves."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from device.vision.light import fitted_light, logarithm
from device.vision.preprocess import Pixels

Floats = npt.NDArray[np.float32]

LONGER_SIDE = 160
"""pixels of the longer side at which frames are compared"""
MOST_VIEWS = 8
"""views that are kept; a new one takes the place of the oldest"""
SATURATED = 250
"""counts of 255 from which on a pixel may be any brighter than it says"""


@dataclass(frozen=True, slots=True)
class Reference:
    """The empty views brought to the light of the newest: per pixel and channel the darkest and brightest logarithm, and how uneven it is there.

    low, high: H x W x 3; open_top: H x W x 3 bool, where a view was saturated. texture: H x W, the range of grey among a pixel's neighbours.
    """

    low: Floats
    high: Floats
    saturated: npt.NDArray[np.bool_]
    texture: Floats


class EmptyViews:
    """Up to MOST_VIEWS small views of the empty tray or chamber, all of one size: that of the first frame's, longer side LONGER_SIDE."""

    def __init__(self, frames: Iterable[Pixels] = ()) -> None:
        """frames: H x W x 3 uint8 RGB, of any sizes; those of another shape than the first are stretched to it."""
        self._views: deque[Pixels] = deque(maxlen=MOST_VIEWS)
        self._reference: Reference | None = None
        for frame in frames:
            self.see(frame)

    @property
    def known(self) -> bool:
        """Whether there is any view, so that items can be isolated against them."""
        return bool(self._views)

    def see(self, frame: Pixels) -> None:
        """Take one more frame (H x W x 3 uint8 RGB) of the empty tray; the oldest view goes once there are MOST_VIEWS."""
        self._views.append(self.shrunk(frame))
        self._reference = None

    def forget(self) -> None:
        """Know nothing any more."""
        self._views.clear()
        self._reference = None

    def shrunk(self, frame: Pixels) -> Pixels:
        """A frame at the size of the views: h x w x 3 uint8."""
        if self._views:
            height, width = self._views[0].shape[:2]
        else:
            scale = LONGER_SIDE / max(frame.shape[:2])
            height, width = (max(8, round(side * scale)) for side in frame.shape[:2])
        if frame.shape[:2] == (height, width):
            return frame.copy()
        shrinks = frame.shape[0] >= height and frame.shape[1] >= width
        return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8)

    @property
    def reference(self) -> Reference:
        """What a frame is compared with. At least one view must be known."""
        if self._reference is None:
            self._reference = _reference(list(self._views))
        return self._reference

    def export(self) -> Pixels | None:
        """The views as n x h x w x 3 uint8, oldest first, or None while there is none."""
        return np.stack(self._views) if self._views else None

    def restore(self, stored: Pixels) -> None:
        """Take views that `export` gave before. Raises ValueError for an array that it cannot have given."""
        if (
            stored.dtype != np.uint8
            or stored.ndim != 4
            or stored.shape[3] != 3
            or not 1 <= len(stored) <= MOST_VIEWS
            or max(stored.shape[1:3]) != LONGER_SIDE
        ):
            shape = " x ".join(map(str, stored.shape))
            raise ValueError(f"expected at most {MOST_VIEWS} empty views of uint8 with a side of {LONGER_SIDE}, found {shape} {stored.dtype}")
        self._views = deque(stored, maxlen=MOST_VIEWS)
        self._reference = None


def _reference(views: list[Pixels]) -> Reference:
    newest = logarithm(views[-1])
    saturated = views[-1] >= SATURATED
    low, high = newest, newest
    for view in views[:-1]:
        seen, clipped = logarithm(view), view >= SATURATED
        seen = seen - fitted_light(seen, newest, ~(clipped | saturated))
        low, high = np.minimum(low, seen), np.maximum(high, seen)
        saturated = saturated | clipped
    grey = (low + high).mean(axis=2) / 2
    square = np.ones((3, 3), np.uint8)
    texture = np.asarray(cv2.dilate(grey, square) - cv2.erode(grey, square), np.float32)
    return Reference(low, high, saturated, texture)
