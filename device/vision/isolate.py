"""Isolate the item: what differs from the empty view is the item, and all else is painted a neutral ground.

The network then sees the item as it sees training photos, whatever chamber it lies in. Training and calibration prepare their photos with the
same `paint`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from device.vision.difference import difference
from device.vision.empty import EmptyViews
from device.vision.outline import outline
from device.vision.preprocess import Pixels

Floats = npt.NDArray[np.float32]
Ground = tuple[int, int, int]
Box = tuple[int, int, int, int]

MARGIN = 0.08
"""ground round the item, as a share of its longer side"""
LEAST_AREA = 0.002
"""share of the view below which what differs is no item"""
MOST_AREA = 0.85
"""share of the view above which what differs is another view, another light, or an item that hides everything"""
SOFT = 2
"""radius, in pixels of the small view, within which the outline is drawn to the frame's own edges"""


@dataclass(frozen=True, slots=True, eq=False)
class Isolated:
    """An item apart from its surroundings, or the whole frame where that cannot be told.

    found: whether an item was told apart; why: the reason when not, one of "nothing differs" and "fills the view", else empty.
    mask: H x W uint8, 0 ground to 255 item, soft at the edge, of the frame's size; all 255 when not found.
    box: left, top, right, bottom in pixels of the frame, the last two exclusive; the whole frame when not found.
    picture: square RGB uint8 as `paint` makes it, for the classifier; the untouched frame when not found.
    """

    found: bool
    why: str
    mask: Pixels
    box: Box
    picture: Pixels

    @property
    def area(self) -> float:
        """The mask's share of the frame, 0..1."""
        return float(self.mask.mean()) / 255


def isolate(frame: Pixels, empty: EmptyViews | Sequence[Pixels], ground: Ground) -> Isolated:
    """Find the item by what differs from the empty view.

    frame: H x W x 3 uint8 RGB. empty: what the camera sees without an item, at least one view; frames of another size are stretched.
    ground: RGB 0..255, the bundle's, painted where the item is not.
    """
    views = empty if isinstance(empty, EmptyViews) else EmptyViews(empty)
    seen = difference(frame, views)
    item = outline(seen.score)
    area = float(item.mean())
    if area < LEAST_AREA:
        return _whole_frame(frame, "nothing differs")
    if area > MOST_AREA:
        return _whole_frame(frame, "fills the view")
    mask = _drawn(item, seen.grey, frame)
    box = _box(mask)
    if box is None:
        return _whole_frame(frame, "nothing differs")
    return Isolated(True, "", mask, box, _cut(frame, mask, box, ground, MARGIN))


def paint(pixels: Pixels, mask: Pixels, ground: Ground, margin: float = MARGIN) -> Pixels:
    """Cut a square round what the mask shows and paint the rest: what the network looks at.

    pixels: H x W x 3 uint8 RGB. mask: H x W uint8, 0 ground to 255 item. ground: RGB 0..255. margin: of the square round the item's box, as a
    share of its longer side. Returns S x S x 3 uint8 RGB, where S is the longer side with the margin at both ends; what lies outside of
    the picture is ground. A mask without any item is taken for one that is all item.
    """
    box = _box(mask)
    if box is None:
        mask, box = np.full_like(mask, 255), (0, 0, mask.shape[1], mask.shape[0])
    return _cut(pixels, mask, box, ground, margin)


def _whole_frame(frame: Pixels, why: str) -> Isolated:
    height, width = frame.shape[:2]
    return Isolated(False, why, np.full((height, width), 255, np.uint8), (0, 0, width, height), frame)


def _box(mask: Pixels) -> Box | None:
    left, top, width, height = cv2.boundingRect((mask > 127).astype(np.uint8))
    return (left, top, left + width, top + height) if width else None


def _cut(pixels: Pixels, mask: Pixels, box: Box, ground: Ground, margin: float) -> Pixels:
    left, top, right, bottom = box
    longer = max(right - left, bottom - top)
    side = max(1, round(longer * (1 + 2 * margin)))
    x, y = (left + right - side) // 2, (top + bottom - side) // 2
    from_x, from_y = max(x, 0), max(y, 0)
    to_x, to_y = min(x + side, pixels.shape[1]), min(y + side, pixels.shape[0])
    picture = np.full((side, side, 3), ground, np.uint8)
    there = picture[from_y - y : to_y - y, from_x - x : to_x - x]
    alpha = cv2.cvtColor(mask[from_y:to_y, from_x:to_x], cv2.COLOR_GRAY2RGB)
    item = cv2.multiply(pixels[from_y:to_y, from_x:to_x], alpha, scale=1 / 255)
    there[:] = cv2.add(item, cv2.multiply(there, 255 - alpha, scale=1 / 255))
    return picture


def _drawn(item: Pixels, grey: Floats, frame: Pixels) -> Pixels:
    """The small outline at the frame's size, drawn to the edges of the small view by a guided filter (He, Sun and Tang 2013)."""
    side = (2 * SOFT + 1, 2 * SOFT + 1)
    flat = item.astype(np.float32)
    mean_guide, mean_item = cv2.blur(grey, side), cv2.blur(flat, side)
    variance = cv2.blur(grey * grey, side) - mean_guide * mean_guide
    covariance = cv2.blur(grey * flat, side) - mean_guide * mean_item
    slope = covariance / (variance + np.float32(0.01))
    offset = mean_item - slope * mean_guide
    height, width = frame.shape[:2]
    guided = cv2.blur(slope, side) * grey + cv2.blur(offset, side)
    soft = cv2.resize(np.clip(guided * 255, 0, 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(soft, np.uint8)
