"""Split what lies on the tray into pieces, apart or joined by a neck, so that two items thrown in together are not taken for one.

One item may also show as two pieces, cut by a strap or a shadow, or have a neck. So pieces alone prove nothing: the network judges each one, and
`decision.SEVERAL_ABOVE` decides.
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
"""least area of a piece, as a share of the view"""
LEVELS = np.linspace(0.25, 0.9, 12)
"""thresholds at which a piece may fall into two cores, as shares of its greatest depth (distance to its edge)"""
LEAST_CORE_PX = 3
"""least area of a core, pixels of the small view"""
NECK = 0.95
"""most depth of the neck between two cores, as a share of the depth of the shallower core"""
COVER_PX, AROUND_PX = 5, 13
"""kernel sizes, pixels of the small view: how far a hidden piece is covered, and how far around the pieces the covering colour is measured"""


class Pieces(NamedTuple):
    """Two pieces. masks: HEIGHT x WIDTH uint8, 0 or 255. gap: the distance between them as a share of the view's width, 0 where a neck joins them."""

    masks: tuple[Pixels, Pixels]
    gap: float


def find_pieces(item: Isolated) -> Pieces | None:
    """The two largest pieces of what differs from the empty view; None for one piece without a neck. Takes about 0.5 ms."""
    if item.likely is None:
        return None
    _, numbered, stats, _ = cv2.connectedComponentsWithStats(item.likely)
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = [index for index in np.argsort(-areas)[:2] + 1 if stats[index, cv2.CC_STAT_AREA] >= LEAST * item.likely.size]
    if not large:
        return None
    if len(large) == 1:
        return _cut_at_neck(_mask(numbered == large[0]), _bounds(stats[large[0]]))
    one, other = (_mask(numbered == index) for index in large)
    return Pieces((one, other), float(_distance_to(one > 0)[other > 0].min()) / one.shape[1])


def piece_crops(frame: Pixels, found: Pieces | None, ground: Ground, number: int) -> list[Pixels]:
    """Crop `number` of each piece, with the other piece covered by the colour around both.

    frame: H x W x 3 uint8 RGB that shows the pieces. Returns one RGB uint8 picture of any size for each piece; none if `found` is None.
    """
    if found is None:
        return []
    one, other = found.masks
    colour = _colour_around(frame, np.maximum(one, other))
    each = (one, other), (other, one)
    return [mask_crop(_cover(frame, hidden, colour), _enlarge(shown, frame), ground, number) for shown, hidden in each]


def _bounds(stats: npt.NDArray[np.int32]) -> tuple[slice, slice]:
    """Rows and columns of a piece, with one pixel around it. stats: its row from OpenCV."""
    left, top, width, height = stats[: cv2.CC_STAT_AREA].tolist()
    return slice(max(0, top - 1), top + height + 1), slice(max(0, left - 1), left + width + 1)


def _cut_at_neck(whole: Pixels, place: tuple[slice, slice]) -> Pieces | None:
    """Split a piece at the narrowest place between two cores (a watershed of the distance to its edge); None where it has no neck."""
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
        nearer = _distance_to(numbered == first) <= _distance_to(numbered == second)
        one, other = _mask((piece > 0) & nearer), _mask((piece > 0) & ~nearer)
        across = (_dilate(one, 3) > 0) & (other > 0)
        shallower = min(float(depth[one > 0].max()), float(depth[other > 0].max()))
        if not across.any() or float(depth[across].max()) > NECK * shallower:
            return None
        both = np.zeros_like(whole), np.zeros_like(whole)
        both[0][place], both[1][place] = one, other
        return Pieces(both, 0.0)
    return None


def _colour_around(frame: Pixels, covered: Pixels) -> Float64Array:
    """The median colour around the pieces, RGB."""
    small = cv2.resize(frame, covered.shape[::-1], interpolation=cv2.INTER_AREA)
    around = (_dilate(covered, AROUND_PX) > 0) & (_dilate(covered, COVER_PX) == 0)
    return np.asarray(np.median(small[around] if around.any() else small.reshape(-1, 3), axis=0), np.float64)


def _cover(frame: Pixels, piece: Pixels, colour: Float64Array) -> Pixels:
    shown, hidden = frame.copy(), _enlarge(_dilate(piece, COVER_PX - 2), frame)
    left, top, width, height = cv2.boundingRect(hidden)
    here = slice(top, top + height), slice(left, left + width)
    shown[here][hidden[here] > 0] = colour
    return shown


def _dilate(mask: Pixels, side_px: int) -> Pixels:
    return np.asarray(cv2.dilate(mask, np.ones((side_px, side_px), np.uint8)), np.uint8)


def _enlarge(small: Pixels, frame: Pixels) -> Pixels:
    return np.asarray(cv2.resize(small, (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_NEAREST), np.uint8)


def _distance_to(core: npt.NDArray[np.bool_]) -> Float32Array:
    return np.asarray(cv2.distanceTransform(_mask(~core), cv2.DIST_L2, cv2.DIST_MASK_3), np.float32)


def _mask(where: npt.NDArray[np.bool_]) -> Pixels:
    return np.where(where, 255, 0).astype(np.uint8)
