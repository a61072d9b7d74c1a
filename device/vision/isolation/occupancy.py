"""Detect whether something is on the tray and whether it moves, by the difference to the empty view and to the frame before."""

from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels, halve_repeatedly

Side = Literal["left", "right", "top", "bottom"]

WIDTH, HEIGHT = 80, 60
"""size of the thumbnails that are compared, pixels: enough for a bottle cap, and a whole fraction of common frame sizes, which is fast"""


GAIN_STEP = 1.06
"""largest change of exposure, as a factor, that is taken for the lamp's drift"""


class PresenceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table [presence]: how much of the view must change, and for how long."""

    learn_frames: Annotated[int, Meta(ge=3, le=200)] = 10
    """frames of the empty tray that the empty view is learned from"""
    min_area: Annotated[float, Meta(gt=0, le=0.5)] = 0.006
    """share of the view that must differ from the empty tray for an item to be there"""
    min_difference: Annotated[float, Meta(gt=0, le=128)] = 14.0
    """least difference of a pixel, in counts of 255, without the lamp's drift"""
    still_s: Annotated[float, Meta(ge=0.05, le=5)] = 0.3
    """how long nothing may move until an item counts as settled and a tray as empty"""
    settle_timeout_s: Annotated[float, Meta(ge=0.2, le=30)] = 4.0
    """an item that still moves after this time is judged as it is"""
    border: tuple[Side, ...] = ("left", "right", "top", "bottom")
    """sides of the view over which an arm can reach in; no gate moves while something crosses one"""
    reach_s: Annotated[float, Meta(ge=1, le=600)] = 10.0
    """how long something may cross the border until a fault is reported"""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What one frame shows.

    changed, moved: shares of the view, 0..1, that differ from the empty tray and from the frame before.
    spread: share of the cells of a 4 x 4 grid that differ from the empty tray. An item covers some cells, another light or view nearly all.
    present: whether something is there. moving: whether something moves.
    crossing: share of the view's border that the item covers on the watched sides.
    """

    changed: float
    spread: float
    moved: float
    present: bool
    moving: bool
    crossing: float = 0.0


class OccupancyDetector:
    """Detects items against the empty tray: mean and noise of each thumbnail pixel, learned once and adapted while the tray is empty."""

    def __init__(self, settings: PresenceSettings) -> None:
        self._settings = settings
        self._seen: list[Float32Array] = []
        self._mean: Float32Array | None = None
        self._noise: Float32Array = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        self._last: Float32Array | None = None
        self._gain = 1.0

    @property
    def learned(self) -> bool:
        """Whether the empty tray was learned; only then may `observe` be called."""
        return self._mean is not None

    def learn(self, pixels: Pixels) -> None:
        """Learn from one frame (H x W x 3 uint8 RGB) of the empty tray. Movement between frames restarts the learning."""
        thumbnail = _thumbnail(pixels)
        if self._seen and self._moved(thumbnail, self._seen[-1]) > self._settings.min_area:
            self._seen.clear()
        self._seen.append(thumbnail)
        if len(self._seen) >= self._settings.learn_frames:
            stack = np.stack(self._seen)
            self._mean = stack.mean(axis=0)
            self._noise = stack.std(axis=0)
            self._last = thumbnail
            self._seen.clear()

    def observe(self, pixels: Pixels) -> Occupancy:
        """Compare one frame (H x W x 3 uint8 RGB) with the empty tray and with the frame before. The empty tray must be learned."""
        assert self._mean is not None, "observe() before the empty tray was learned"
        thumbnail = _thumbnail(pixels)
        differs = _solid(_difference(thumbnail, self._mean, self._gain) > self._threshold())
        changed = float(differs.mean())
        moved = self._moved(thumbnail, self._last if self._last is not None else thumbnail)
        self._last = thumbnail
        present = changed > self._settings.min_area
        crossing = _on_border(differs, self._settings.border) if present else 0.0
        return Occupancy(changed, _spread(differs), moved, present=present, moving=self._is_movement(moved), crossing=crossing)

    @property
    def thumbnail(self) -> Float32Array:
        """The last observed frame, HEIGHT x WIDTH x 3 counts, for `moved_since`."""
        assert self._last is not None, "thumbnail before an observe()"
        return self._last

    def moved_since(self, thumbnail: Float32Array) -> bool:
        """Whether something moved between an earlier frame, given as its `thumbnail`, and the last observed one."""
        return self._is_movement(self._moved(self.thumbnail, thumbnail))

    def adapt(self) -> None:
        """Move mean and noise a little towards the last frame. Call it only while the tray is empty and nothing moves."""
        assert self._mean is not None and self._last is not None, "adapt() before the empty tray was learned"
        gain = _gain(self._last, self._mean, self._gain)
        self._gain += 0.1 * (float(gain) - self._gain)
        residual = self._last * gain - self._mean
        self._noise += np.float32(0.02) * (np.abs(residual) * np.float32(1.25) - self._noise)
        self._mean += np.float32(0.02) * residual

    def relight(self, pixels: Pixels) -> None:
        """Take one frame (H x W x 3 uint8 RGB) as the empty tray in another light. The noise stays."""
        self._mean = _thumbnail(pixels)
        self._gain = 1.0

    def replace(self, pixels: Pixels) -> None:
        """Take one frame (H x W x 3 uint8 RGB) as the empty tray. The noise starts at 0 and is learned by `adapt`."""
        self.relight(pixels)
        self._noise = np.zeros((HEIGHT, WIDTH, 3), np.float32)

    def reset(self) -> None:
        """Forget the empty tray."""
        self._mean = self._last = None

    def copy(self) -> "OccupancyDetector":
        """An independent copy of what was learned."""
        other = OccupancyDetector(self._settings)
        other.copy_from(self)
        return other

    def copy_from(self, other: "OccupancyDetector") -> None:
        """Take over what another detector learned. Movement is still detected against the last frame that this one observed."""
        self._mean, self._noise, self._gain = None if other._mean is None else other._mean.copy(), other._noise.copy(), other._gain

    def export(self) -> Float32Array | None:
        """Mean and noise as 2 x HEIGHT x WIDTH x 3, float32; None before the empty tray was learned."""
        return None if self._mean is None else np.stack([self._mean, self._noise])

    def restore(self, stored: Float32Array) -> None:
        """Take over mean and noise from `export`. Raises ValueError for another shape."""
        if stored.shape != (2, HEIGHT, WIDTH, 3):
            raise ValueError(f"expected an empty view of shape (2, {HEIGHT}, {WIDTH}, 3), found {stored.shape}")
        self._mean, self._noise = stored[0].astype(np.float32), stored[1].astype(np.float32)

    def _threshold(self) -> Float32Array:
        return np.asarray(np.maximum(np.float32(self._settings.min_difference), np.float32(5.0) * self._noise), np.float32)

    def _is_movement(self, moved: float) -> bool:
        return moved > self._settings.min_area / 2

    def _moved(self, now: Float32Array, before: Float32Array) -> float:
        return _share(_difference(now, before, 1.0) > np.float32(self._settings.min_difference))


def _thumbnail(pixels: Pixels) -> Float32Array:
    return np.asarray(cv2.resize(halve_repeatedly(pixels, WIDTH, HEIGHT), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.float32)


def _difference(now: Float32Array, before: Float32Array, usual_gain: float) -> Float32Array:
    """Absolute difference in counts, after one gain for the whole frame: H x W x 3."""
    return np.asarray(np.abs(now * _gain(now, before, usual_gain) - before), np.float32)


def _gain(now: Float32Array, before: Float32Array, usual: float) -> np.float32:
    """The exposure of `before` relative to `now`: the median ratio of the pixels, which an item on part of the tray hardly shifts.

    It is limited to GAIN_STEP around the `usual` gain, because a lamp drifts slowly while an item appears at once.
    """
    ratio = np.median((before[::3, ::3, 1] + 1) / (now[::3, ::3, 1] + 1))
    return np.float32(np.clip(ratio, usual / GAIN_STEP, usual * GAIN_STEP))


def _share(changed: npt.NDArray[np.bool_]) -> float:
    return float(_solid(changed).mean())


def _solid(changed: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """1 for pixels that changed in any channel, without single ones, else 0: H x W."""
    return np.asarray(cv2.erode(changed.any(axis=2).astype(np.uint8), np.ones((2, 2), np.uint8)), np.uint8)


def _spread(differs: npt.NDArray[np.uint8]) -> float:
    cells = differs.reshape(4, HEIGHT // 4, 4, WIDTH // 4).mean(axis=(1, 3))
    return float((cells > 0.02).mean())


def _on_border(differs: npt.NDArray[np.uint8], sides: tuple[Side, ...]) -> float:
    edges = {"left": differs[:, 0], "right": differs[:, -1], "top": differs[0], "bottom": differs[-1]}
    return sum(np.count_nonzero(edges[side]) for side in sides) / (2 * (WIDTH + HEIGHT))
