"""Isolate the item: what differs from the empty view is cut out, and its surroundings are painted over.

So the network sees items in any chamber as it saw the training photos. Training and calibration prepare their photos with the same `paint`.
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
from device.vision.isolation.difference import BRIGHTNESS, COLOUR, COLOUR_GAIN, difference_channels
from device.vision.isolation.exposure import brighten_dark
from device.vision.isolation.outline import LEAST_CERTAINTY, find_outline

Box = tuple[int, int, int, int]

MARGIN = 0.15
"""margin round the item, as a share of its longer side"""
LEAST_AREA = 0.002
"""least share of the view that an item covers"""
MOST_AREA = 0.85
"""most share of the view that an item covers; above, the view or the light has changed, or an item hides everything"""
MOST_SURROUNDINGS_CHANGE = 0.25
"""most median difference of the surroundings to the empty view, in logarithms of light; above, it is another view"""
SURROUNDINGS_STEP = 3
"""the surroundings are compared on every SURROUNDINGS_STEP-th row and column"""
ITEM_ABOVE = 127
"""mask values above this are on the item"""


@dataclass(frozen=True, slots=True, eq=False)
class Isolated:
    """An isolated item, or the whole frame where none was found.

    found: whether an item was found. why: the reason if not, as "nothing differs", "fills the view" or "another view"; else empty.
    mask: H x W uint8 of the frame's size, 0 ground to 255 item, soft at the edge; all 255 if not found.
    box: left, top, right, bottom in pixels of the frame, the last two exclusive; the whole frame if not found.
    picture: RGB uint8 for the classifier, from `paint`; the untouched frame if not found.
    likely: all that may be an item, also beside this one, see `Outline`; None if not found.
    """

    found: bool
    why: str
    mask: Pixels
    box: Box
    picture: Pixels
    likely: Pixels | None = None

    @property
    def area(self) -> float:
        """The share of the frame that the mask covers, 0..1."""
        return float(self.mask.mean()) / 255


def isolate(frame: Pixels, empty: BackgroundModel | Sequence[Pixels], ground: Ground) -> Isolated:
    """Isolate the item by its difference to the empty view.

    frame: H x W x 3 uint8 RGB. empty: the empty tray, at least one view; views of another size are stretched. ground: the bundle's, painted round the
    item.
    """
    views = empty if isinstance(empty, BackgroundModel) else BackgroundModel(empty)
    difference = difference_channels(frame, views)
    item, certainty, likely = find_outline(difference)
    area = area_share(item)
    if area < LEAST_AREA or certainty < LEAST_CERTAINTY:
        return whole_frame(frame, "nothing differs")
    if area > MOST_AREA:
        return whole_frame(frame, "fills the view")
    if surroundings_change(difference, item) > MOST_SURROUNDINGS_CHANGE:
        return whole_frame(frame, "another view")
    mask, box = _drawn(item, frame)
    if box is None:
        return whole_frame(frame, "nothing differs")
    return Isolated(True, "", mask, box, _cut(frame, mask, box, ground, MARGIN), likely)


def paint(pixels: Pixels, mask: Pixels, ground: Ground, margin: float = MARGIN) -> Pixels:
    """Make the network's picture: crop the item with a margin, brighten it if dark, and paint over the surroundings with `ground`.

    pixels: H x W x 3 uint8 RGB. mask: H x W uint8, 0 ground to 255 item; a mask without an item counts as all item. margin: on each side, as a share
    of the longer side of the item's box; that side with both margins is S. Returns min(S, H) x min(S, W) x 3 uint8 RGB: a square where it fits,
    moved to lie within the picture. Where nothing is painted over or brightened it is a view of `pixels`, not a copy.
    """
    box = _box(mask)
    if box is None:
        mask, box = np.full_like(mask, 255), (0, 0, mask.shape[1], mask.shape[0])
    return _cut(pixels, mask, box, ground, margin)


def surroundings_change(difference: Float32Array, item: Pixels) -> float:
    """The median difference of the item's surroundings to the empty view, in brightness or colour, in logarithms.

    difference: see `difference_channels`. item: mask of the same size.
    """
    few = slice(None, None, SURROUNDINGS_STEP)
    brightness, colour = difference[BRIGHTNESS, few, few], difference[COLOUR, few, few]
    around = np.maximum(np.abs(brightness), colour / COLOUR_GAIN)[item[few, few] <= ITEM_ABOVE]
    return quantile(around, 0.5) if len(around) else 0.0


def area_share(item: Pixels) -> float:
    """The share of the view that the item covers. item: mask, uint8."""
    return np.count_nonzero(item > ITEM_ABOVE) / item.size


def whole_frame(frame: Pixels, why: str) -> Isolated:
    """The result for a frame (H x W x 3 uint8 RGB) without an isolated item, and why there is none."""
    height, width = frame.shape[:2]
    return Isolated(False, why, np.full((height, width), 255, np.uint8), (0, 0, width, height), frame)


def _box(mask: Pixels) -> Box | None:
    left, top, width, height = cv2.boundingRect(cv2.threshold(mask, ITEM_ABOVE, 255, cv2.THRESH_TOZERO)[1])
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
    """The ground's colour, weighted by how little of the picture is kept: H x W x 3."""
    faded = {level: cv2.convertScaleAbs(kept, alpha=-level / 255, beta=level) for level in set(colour)}
    if len(faded) == 1:
        return np.asarray(cv2.cvtColor(faded[colour[0]], cv2.COLOR_GRAY2RGB), np.uint8)
    return np.asarray(cv2.merge([faded[level] for level in colour]), np.uint8)


def _drawn(small: Pixels, frame: Pixels) -> tuple[Pixels, Box | None]:
    """The small mask enlarged to the frame's size, and the box round its item, None without one."""
    mask = np.zeros(frame.shape[:2], np.uint8)
    left, top, width, height = cv2.boundingRect(small)
    across, x = _whole_pixels(left, left + width, WIDTH, mask.shape[1])
    down, y = _whole_pixels(top, top + height, HEIGHT, mask.shape[0])
    here = mask[y, x]
    cv2.resize(small[down, across], here.shape[::-1], dst=here, interpolation=cv2.INTER_LINEAR)
    box = _box(here)
    return mask, box and (box[0] + x.start, box[1] + y.start, box[2] + x.start, box[3] + y.start)


def _whole_pixels(first: int, after: int, small: int, large: int) -> tuple[slice, slice]:
    """The range from one pixel before `first` to one after, on a side of `small` pixels, and the same range on a side of `large` pixels.

    Both ends move outwards to where pixel borders of both sides coincide. So enlarging the part gives the same as enlarging the whole.
    """
    together = math.gcd(small, large)
    step, large_step = small // together, large // together
    first, after = max(first - 1, 0) // step, min(-(-(after + 1) // step), together)
    return slice(first * step, after * step), slice(first * large_step, after * large_step)
