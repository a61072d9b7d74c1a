"""What the camera sees while nothing is there: several views of it, because lamps flicker, walls glint and the sun moves."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from device.vision.light import fitted_light, logarithm
from device.vision.preprocess import Pixels
from device.vision.registration import moved, structure

Floats = npt.NDArray[np.float32]

WIDTH, HEIGHT = 128, 96
"""pixels at which frames are compared, whatever their own shape"""
MOST_VIEWS = 8
"""views that are kept; a new one takes the place of the oldest"""
SATURATED = 250
"""counts of 255 from which on a pixel may be any brighter than it says"""


@dataclass(frozen=True, slots=True)
class Reference:
    """The empty views brought to the light of the newest: the darkest and brightest of them and what is between, as logarithms.

    low, middle, high: HEIGHT x WIDTH x 3. saturated: the same shape, where a view may be brighter than it says. texture: HEIGHT x WIDTH, the
    range of grey among a pixel's neighbours. structure: what `registration` compares.
    """

    low: Floats
    middle: Floats
    high: Floats
    saturated: npt.NDArray[np.bool_]
    texture: Floats
    structure: Floats

    def moved(self, there: npt.NDArray[np.float64]) -> "Reference":
        """The same as a moved camera sees it; there: from its pixels to these, 2 x 3."""
        low = moved(self.low, there)
        return Reference(
            low,
            moved(self.middle, there),
            low if self.low is self.high else moved(self.high, there),
            moved(self.saturated.astype(np.float32), there) > 0,
            moved(self.texture, there),
            self.structure,
        )


class EmptyViews:
    """Up to MOST_VIEWS small views of the empty tray or chamber."""

    def __init__(self, frames: Iterable[Pixels] = ()) -> None:
        """frames: H x W x 3 uint8 RGB, of any sizes; of more than MOST_VIEWS, that many are kept, spread evenly."""
        views = [self.shrunk(frame) for frame in frames]
        kept = np.linspace(0, len(views) - 1, min(len(views), MOST_VIEWS)).round().astype(int)
        self._views: deque[Pixels] = deque((views[number] for number in kept), maxlen=MOST_VIEWS)
        self._reference: Reference | None = None

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

    @staticmethod
    def shrunk(frame: Pixels) -> Pixels:
        """A frame at the size of the views, HEIGHT x WIDTH x 3 uint8: halved while it is twice too large, for that is fast and does not alias."""
        height, width = frame.shape[:2]
        while height >= 2 * HEIGHT and width >= 2 * WIDTH:
            height, width = height // 2, width // 2
            frame = np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
        return np.asarray(cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR), np.uint8)

    @property
    def reference(self) -> Reference:
        """What a frame is compared with. At least one view must be known."""
        if self._reference is None:
            self._reference = _reference(list(self._views))
        return self._reference

    def export(self) -> Pixels | None:
        """The views as n x HEIGHT x WIDTH x 3 uint8, oldest first, or None while there is none."""
        return np.stack(self._views) if self._views else None

    def restore(self, stored: Pixels) -> None:
        """Take views that `export` gave before. Raises ValueError for an array that it cannot have given."""
        if stored.dtype != np.uint8 or stored.shape[1:] != (HEIGHT, WIDTH, 3) or not 1 <= len(stored) <= MOST_VIEWS:
            shape = " x ".join(map(str, stored.shape))
            raise ValueError(f"expected 1 to {MOST_VIEWS} empty views of {HEIGHT} x {WIDTH} x 3 uint8, found {shape} {stored.dtype}")
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
    middle = (low + high) / 2
    grey = np.asarray(middle.mean(axis=2), np.float32)
    square = np.ones((3, 3), np.uint8)
    texture = np.asarray(cv2.dilate(grey, square) - cv2.erode(grey, square), np.float32)
    return Reference(low, middle, high, saturated, texture, structure(grey))
