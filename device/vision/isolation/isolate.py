"""Isolate the item: what differs from the empty view is the item, and the network is shown that and little else.

The network then sees the item as it sees training photos, whatever chamber it lies in. Training and calibration prepare their photos with the
same `paint`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from device.common.arrays import Float32Array
from device.vision.inference.ground import Ground
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import HEIGHT, WIDTH, BackgroundModel, quantile
from device.vision.isolation.difference import STRAY, STRAY_GAIN, TONE, difference_channels
from device.vision.isolation.exposure import brighten_dark
from device.vision.isolation.outline import CERTAIN, find_outline

Box = tuple[int, int, int, int]

MARGIN = 0.15
"""surroundings round the item, as a share of its longer side"""
LEAST_AREA = 0.002
"""share of the view below which what differs is no item"""
MOST_AREA = 0.85
"""share of the view above which what differs is another view, another light, or an item that hides everything"""
UNLIKE = 0.25
"""how much half of what is left round the item may differ from the empty view, in logarithms of light: more, and it is another view"""
LOOKED_AT = 3
"""every so many rows and columns are enough to tell another view"""
HALF = 127
"""a mask shows the item where it is above this"""


@dataclass(frozen=True, slots=True, eq=False)
class Isolated:
    """An item apart from its surroundings, or the whole frame where that cannot be told.

    found: whether an item was told apart; why: the reason when not, one of "nothing differs", "fills the view" and "another view", else empty.
    mask: H x W uint8, 0 ground to 255 item, soft at the edge, of the frame's size; all 255 when not found.
    box: left, top, right, bottom in pixels of the frame, the last two exclusive; the whole frame when not found.
    picture: RGB uint8 as `paint` makes it, for the classifier; the untouched frame when not found.
    likely: all that may be an item, also what is not part of this one, as `Outline` has it; None when not found.
    """

    found: bool
    why: str
    mask: Pixels
    box: Box
    picture: Pixels
    likely: Pixels | None = None

    @property
    def area(self) -> float:
        """The mask's share of the frame, 0..1."""
        return float(self.mask.mean()) / 255


def isolate(frame: Pixels, empty: BackgroundModel | Sequence[Pixels], ground: Ground) -> Isolated:
    """Find the item by what differs from the empty view.

    frame: H x W x 3 uint8 RGB. empty: what the camera sees without an item, at least one view; frames of another size are stretched.
    ground: the bundle's, to be shown round the item.
    """
    views = empty if isinstance(empty, BackgroundModel) else BackgroundModel(empty)
    differs = difference_channels(frame, views)
    item, certainty, likely = find_outline(differs)
    area = area_share(item)
    if area < LEAST_AREA or certainty < CERTAIN:
        return whole_frame(frame, "nothing differs")
    if area > MOST_AREA:
        return whole_frame(frame, "fills the view")
    if surroundings_change(differs, item) > UNLIKE:
        return whole_frame(frame, "another view")
    mask, box = _drawn(item, frame)
    if box is None:
        return whole_frame(frame, "nothing differs")
    return Isolated(True, "", mask, box, _cut(frame, mask, box, ground, MARGIN), likely)


def paint(pixels: Pixels, mask: Pixels, ground: Ground, margin: float = MARGIN) -> Pixels:
    """Cut out what the mask shows with some of its surroundings, lift it where it is dark, and paint over the surroundings as `ground` says: what the
    network looks at.

    pixels: H x W x 3 uint8 RGB. mask: H x W uint8, 0 ground to 255 item. margin: round the item's box, as a share of its longer side, which with
    the margin at both ends is S. Returns min(S, H) x min(S, W) x 3 uint8 RGB: a square, moved so that it lies in the picture, where it fits into it.
    A mask without any item is taken for one that is all item. Where nothing is painted over or lifted it is a part of `pixels`, not a copy.
    """
    box = _box(mask)
    if box is None:
        mask, box = np.full_like(mask, 255), (0, 0, mask.shape[1], mask.shape[0])
    return _cut(pixels, mask, box, ground, margin)


def surroundings_change(differs: Float32Array, item: Pixels) -> float:
    """How much half of what is round the item differs at least, in brightness or colour, judged by every few rows and columns."""
    few = slice(None, None, LOOKED_AT)
    tone, stray = differs[TONE, few, few], differs[STRAY, few, few]
    around = np.maximum(np.abs(tone), stray / STRAY_GAIN)[item[few, few] <= HALF]
    return quantile(around, 0.5) if len(around) else 0.0


def area_share(item: Pixels) -> float:
    """The item's share of the view."""
    return np.count_nonzero(item > HALF) / item.size


def whole_frame(frame: Pixels, why: str) -> Isolated:
    """A frame (H x W x 3 uint8 RGB) of which no item is told apart, and why not."""
    height, width = frame.shape[:2]
    return Isolated(False, why, np.full((height, width), 255, np.uint8), (0, 0, width, height), frame)


def _box(mask: Pixels) -> Box | None:
    left, top, width, height = cv2.boundingRect(cv2.threshold(mask, HALF, 255, cv2.THRESH_TOZERO)[1])
    return (left, top, left + width, top + height) if width else None


def _cut(pixels: Pixels, mask: Pixels, box: Box, ground: Ground, margin: float) -> Pixels:
    left, top, right, bottom = box
    side = max(1, round(max(right - left, bottom - top) * (1 + 2 * margin)))
    down, across = min(side, mask.shape[0]), min(side, mask.shape[1])
    y = min(max((top + bottom - down) // 2, 0), mask.shape[0] - down)
    x = min(max((left + right - across) // 2, 0), mask.shape[1] - across)
    near, shown = brighten_dark(pixels[y : y + down, x : x + across]), mask[y : y + down, x : x + across]
    if ground.painted == 0:
        return near
    kept = np.asarray(cv2.convertScaleAbs(shown, alpha=ground.painted, beta=255 * (1 - ground.painted)), np.uint8)
    alpha = cv2.cvtColor(kept, cv2.COLOR_GRAY2RGB)
    mixed = cv2.multiply(near, alpha, dst=alpha, scale=1 / 255)
    return np.asarray(cv2.add(mixed, _faded(kept, ground.colour), dst=mixed), np.uint8)


def _faded(kept: Pixels, colour: tuple[int, int, int]) -> Pixels:
    """The colour as far as nothing of the picture is kept there: H x W x 3."""
    faded = {level: cv2.convertScaleAbs(kept, alpha=-level / 255, beta=level) for level in set(colour)}
    if len(faded) == 1:
        return np.asarray(cv2.cvtColor(faded[colour[0]], cv2.COLOR_GRAY2RGB), np.uint8)
    return np.asarray(cv2.merge([faded[level] for level in colour]), np.uint8)


def _drawn(small: Pixels, frame: Pixels) -> tuple[Pixels, Box | None]:
    """The mask of the small view at the frame's size, and the box round the item in it."""
    mask = np.zeros(frame.shape[:2], np.uint8)
    left, top, width, height = cv2.boundingRect(small)
    across, x = _whole_pixels(left, left + width, WIDTH, mask.shape[1])
    down, y = _whole_pixels(top, top + height, HEIGHT, mask.shape[0])
    here = mask[y, x]
    cv2.resize(small[down, across], here.shape[::-1], dst=here, interpolation=cv2.INTER_LINEAR)
    box = _box(here)
    return mask, box and (box[0] + x.start, box[1] + y.start, box[2] + x.start, box[3] + y.start)


def _whole_pixels(first: int, after: int, small: int, large: int) -> tuple[slice, slice]:
    """From one pixel before the first of a side of `small` pixels to one after the last, and the same of a side of `large`.

    Both ends are moved outwards to where a pixel of one begins with a pixel of the other, so that enlarging the part is enlarging the whole.
    """
    together = math.gcd(small, large)
    step, large_step = small // together, large // together
    first, after = max(first - 1, 0) // step, min(-(-(after + 1) // step), together)
    return slice(first * step, after * step), slice(first * large_step, after * large_step)
