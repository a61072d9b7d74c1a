"""The pieces of what lies on the tray, apart or joined by a neck: two things that are thrown in together shall not be taken for one.

One thing may lie in two pieces, too, cut by a strap or by a shadow, and one piece may have a neck. So a piece says nothing yet; what the network
makes of each alone does (`decision.SEVERAL_ABOVE`).
"""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array, Float64Array
from device.vision.inference.ground import Ground
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.isolate import Isolated
from device.vision.isolation.tta import mask_crop

LEAST = 0.004
"""share of the view that a piece covers at least"""
LEVELS = np.linspace(0.25, 0.9, 12)
"""at which shares of its greatest depth a piece is tried for two cores"""
LEAST_CORE_PX = 3
NECK = 0.95
"""most that the neck between two cores may have of the depth of the shallower one"""
COVER_PX, AROUND_PX = 5, 13
"""how far a piece is covered, and how far from all pieces the colour is taken that covers it; sides of squares, in pixels of the small view"""


class Pieces(NamedTuple):
    """Two pieces: their masks, HEIGHT x WIDTH of `empty`, uint8, 0 or 255; and how far they are apart, as a share of the view's width, 0 where a neck
    joins them.
    """

    masks: tuple[Pixels, Pixels]
    gap: float


def find_pieces(item: Isolated) -> Pieces | None:
    """The two largest pieces of what differs from the empty view; None where it is in one that has no neck. About half a millisecond."""
    if item.likely is None:
        return None
    _, numbered, stats, _ = cv2.connectedComponentsWithStats(item.likely)
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = [index for index in np.argsort(-areas)[:2] + 1 if stats[index, cv2.CC_STAT_AREA] >= LEAST * item.likely.size]
    if not large:
        return None
    if len(large) == 1:
        return _cut_at_neck(_mask(numbered == large[0]), _place(stats[large[0]]))
    one, other = (_mask(numbered == index) for index in large)
    return Pieces((one, other), float(_distance(one > 0)[other > 0].min()) / one.shape[1])


def piece_crops(frame: Pixels, found: Pieces | None, ground: Ground, number: int) -> list[Pixels]:
    """What the network is shown of each piece in the look of that number, the other one covered with the colour round both.

    frame: H x W x 3 uint8 RGB, in which they lie. Returns a picture a piece, RGB uint8 of any size; nothing for None.
    """
    if found is None:
        return []
    one, other = found.masks
    colour = _colour_around(frame, np.maximum(one, other))
    each = (one, other), (other, one)
    return [mask_crop(_covered(frame, hidden, colour), _stretched(shown, frame), ground, number) for shown, hidden in each]


def _place(stats: npt.NDArray[np.int32]) -> tuple[slice, slice]:
    """Rows and columns of a piece, with a pixel round it."""
    left, top, width, height = stats[: cv2.CC_STAT_AREA].tolist()
    return slice(max(0, top - 1), top + height + 1), slice(max(0, left - 1), left + width + 1)


def _cut_at_neck(whole: Pixels, place: tuple[slice, slice]) -> Pieces | None:
    """Both sides of the narrowest place between two cores (a watershed of the distance to the edge); None where it has no such place."""
    piece = np.ascontiguousarray(whole[place])
    depth = cv2.distanceTransform(piece, cv2.DIST_L2, cv2.DIST_MASK_5)
    most = float(depth.max())
    for level in LEVELS:
        count, numbered, stats, _ = cv2.connectedComponentsWithStats(_mask(depth > level * most))
        if count <= 2:
            continue
        first, second = (np.argsort(-stats[1:, cv2.CC_STAT_AREA])[:2] + 1).tolist()
        if stats[second, cv2.CC_STAT_AREA] < LEAST_CORE_PX:
            continue
        nearer = _distance(numbered == first) <= _distance(numbered == second)
        one, other = _mask((piece > 0) & nearer), _mask((piece > 0) & ~nearer)
        across = (_grown(one, 3) > 0) & (other > 0)
        shallower = min(float(depth[one > 0].max()), float(depth[other > 0].max()))
        if not across.any() or float(depth[across].max()) > NECK * shallower:
            return None
        both = np.zeros_like(whole), np.zeros_like(whole)
        both[0][place], both[1][place] = one, other
        return Pieces(both, 0.0)
    return None


def _colour_around(frame: Pixels, covered: Pixels) -> Float64Array:
    """The median colour near the pieces, but not on them."""
    small = cv2.resize(frame, covered.shape[::-1], interpolation=cv2.INTER_AREA)
    around = (_grown(covered, AROUND_PX) > 0) & (_grown(covered, COVER_PX) == 0)
    return np.asarray(np.median(small[around] if around.any() else small.reshape(-1, 3), axis=0), np.float64)


def _covered(frame: Pixels, piece: Pixels, colour: Float64Array) -> Pixels:
    shown, hidden = frame.copy(), _stretched(_grown(piece, COVER_PX - 2), frame)
    left, top, width, height = cv2.boundingRect(hidden)
    here = slice(top, top + height), slice(left, left + width)
    shown[here][hidden[here] > 0] = colour
    return shown


def _grown(mask: Pixels, side_px: int) -> Pixels:
    return np.asarray(cv2.dilate(mask, np.ones((side_px, side_px), np.uint8)), np.uint8)


def _stretched(small: Pixels, frame: Pixels) -> Pixels:
    return np.asarray(cv2.resize(small, (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_NEAREST), np.uint8)


def _distance(core: npt.NDArray[np.bool_]) -> Float32Array:
    return np.asarray(cv2.distanceTransform(_mask(~core), cv2.DIST_L2, cv2.DIST_MASK_3), np.float32)


def _mask(where: npt.NDArray[np.bool_]) -> Pixels:
    return np.where(where, 255, 0).astype(np.uint8)
