"""A model of the empty tray: several small views of it, because lamps flicker, walls glint and the sun moves."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array, Float64Array
from device.vision.inference.preprocess import Pixels, halve_repeatedly
from device.vision.isolation.light import BRIGHTEST, fit_light, grey, to_log
from device.vision.isolation.registration import Landmarks, find_landmarks, fine_structure, warp

WIDTH, HEIGHT = 128, 96
"""size in pixels at which frames are compared"""
MOST_VIEWS = 8
"""most views; a new one replaces the oldest"""
NO_LIMIT = np.float32(1e6)
"""a logarithm above any real one"""
LEAST_TEXTURE = np.float32(1e-3)
"""floor of the texture, in logarithms"""
NOISE_STEP = 3
"""noise is measured on every NOISE_STEP-th row and column"""
TEXTURED_SHARE, LEAST_TEXTURED = 0.3, 0.05
"""noise in texture is measured on this share of the view with the most texture, where it is at least LEAST_UNEVEN"""


@dataclass(frozen=True, eq=False)
class BackgroundStats:
    """Statistics of the empty views, as logarithms of light, all brought to the light of the newest view.

    low, middle, high: least, middle and greatest value of each pixel, HEIGHT x WIDTH x 3; high is NO_LIMIT where a view is saturated.
    saturated: HEIGHT x WIDTH x 3. texture: HEIGHT x WIDTH, the range of grey among a pixel's neighbours, at least LEAST_TEXTURE.
    landmarks: for `registration`.
    """

    low: Float32Array
    middle: Float32Array
    high: Float32Array
    saturated: npt.NDArray[np.bool_]
    texture: Float32Array
    landmarks: Landmarks

    @cached_property
    def grey(self) -> Float32Array:
        """The grey of `middle`: HEIGHT x WIDTH."""
        return grey(self.middle)

    @cached_property
    def roughness(self) -> Float32Array:
        """The squared texture."""
        return np.square(self.texture)

    @cached_property
    def ceiling(self) -> Float32Array | np.float32:
        """The greatest value to compare with: NO_LIMIT where a view is saturated."""
        return np.where(self.saturated, NO_LIMIT, BRIGHTEST) if self.any_saturated.any() else BRIGHTEST

    @cached_property
    def any_saturated(self) -> npt.NDArray[np.bool_]:
        """Whether a view is saturated in any channel: HEIGHT x WIDTH."""
        return np.asarray(self.saturated.any(axis=2), np.bool_)

    @cached_property
    def most_textured(self) -> tuple[npt.NDArray[np.int64], Float32Array]:
        """The subsampled pixels with the most texture: their flat indices and their texture, n and n. n is 0 where the view has none."""
        texture = subsample(self.texture)
        places = np.flatnonzero(texture > max(quantile(texture.copy(), 1 - TEXTURED_SHARE), LEAST_TEXTURED))
        return places, texture[places]

    def warped(self, affine: Float64Array) -> "BackgroundStats":
        """The statistics as a moved camera sees them. affine: map from its pixels to these, 2 x 3."""
        low, middle, high, texture = (warp(view, affine) for view in (self.low, self.middle, self.high, self.texture))
        saturated = warp(self.saturated.astype(np.float32), affine) > 0
        return BackgroundStats(low, middle, high, saturated, texture, self.landmarks)


class BackgroundModel:
    """Up to MOST_VIEWS small views of the empty tray or chamber, and their statistics."""

    def __init__(self, frames: Iterable[Pixels] = ()) -> None:
        """frames: H x W x 3 uint8 RGB, of any sizes. Of more than MOST_VIEWS, evenly spread ones are taken."""
        views = [self.shrink(frame) for frame in frames]
        kept = np.linspace(0, len(views) - 1, min(len(views), MOST_VIEWS)).round().astype(int)
        self._views: deque[Pixels] = deque((views[number] for number in kept), maxlen=MOST_VIEWS)
        self._stats: BackgroundStats | None = None

    @property
    def learned(self) -> bool:
        """Whether there is a view to compare with."""
        return bool(self._views)

    @property
    def newest(self) -> Pixels:
        """The latest view, HEIGHT x WIDTH x 3 uint8. There must be one."""
        return self._views[-1]

    def add(self, frame: Pixels) -> None:
        """Add a frame (H x W x 3 uint8 RGB) of the empty tray; beyond MOST_VIEWS the oldest view is dropped."""
        self._views.append(self.shrink(frame))
        self._stats = None

    def clear(self) -> None:
        """Drop all views."""
        self._views.clear()
        self._stats = None

    def copy(self) -> "BackgroundModel":
        """An independent copy."""
        other = BackgroundModel()
        other.copy_from(self)
        return other

    def copy_from(self, other: "BackgroundModel") -> None:
        """Take over the views of another model."""
        self._views = other._views.copy()
        self._stats = None

    @staticmethod
    def shrink(frame: Pixels) -> Pixels:
        """A frame (H x W x 3 uint8 RGB) at the size of the views, HEIGHT x WIDTH x 3."""
        return np.asarray(cv2.resize(halve_repeatedly(frame, WIDTH, HEIGHT), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR), np.uint8)

    @property
    def stats(self) -> BackgroundStats:
        """The statistics that frames are compared with. There must be a view."""
        if self._stats is None:
            self._stats = _compute_stats(list(self._views))
        return self._stats

    def export(self) -> Pixels | None:
        """The views as n x HEIGHT x WIDTH x 3 uint8, oldest first; None where there is none."""
        return np.stack(self._views) if self._views else None

    def restore(self, stored: Pixels) -> None:
        """Take over views from `export`. Raises ValueError for an array of another shape or type."""
        if stored.dtype != np.uint8 or stored.shape[1:] != (HEIGHT, WIDTH, 3) or not 1 <= len(stored) <= MOST_VIEWS:
            shape = " x ".join(map(str, stored.shape))
            raise ValueError(f"expected 1 to {MOST_VIEWS} empty views of {HEIGHT} x {WIDTH} x 3 uint8, found {shape} {stored.dtype}")
        self._views = deque(stored, maxlen=MOST_VIEWS)
        self._stats = None


def subsample(view: Float32Array) -> Float32Array:
    """Every NOISE_STEP-th pixel of every NOISE_STEP-th row: H x W to n."""
    return view[1::NOISE_STEP, 1::NOISE_STEP].flatten()


def quantile(values: Float32Array, share: float) -> float:
    """The quantile of `share`, 0..1. values: n; reorders them."""
    place = int(share * (values.size - 1))
    values.partition(place)
    return float(values[place])


def _compute_stats(views: list[Pixels]) -> BackgroundStats:
    newest = to_log(views[-1])
    saturated = newest >= BRIGHTEST
    low, high = newest, newest
    for view in views[:-1]:
        seen = to_log(view)
        clipped = seen >= BRIGHTEST
        seen = seen - fit_light(seen, newest, saturated.any(axis=2))
        low, high = np.minimum(low, seen), np.maximum(high, seen)
        saturated = saturated | clipped
    middle = (low + high) / 2
    plain = grey(middle)
    square = np.ones((3, 3), np.uint8)
    texture = np.maximum(cv2.dilate(plain, square) - cv2.erode(plain, square), LEAST_TEXTURE)
    return BackgroundStats(low, middle, np.where(saturated, NO_LIMIT, high), saturated, texture, find_landmarks(fine_structure(plain)))
