"""From a map of what differs to the outline of one item."""

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]

CERTAIN = 2.0
"""score that a piece must reach somewhere"""
CLOSE = 0.03
"""gaps up to this share of the longer side are closed"""
WHOLE = 0.72
"""least share of its convex hull that an item fills; less is the rims and glints of a clear one, and the hull is taken"""
PART = 0.1
"""pieces with at least this share of the strongest one's evidence belong to the item, if they are near"""


def outline(score: Floats) -> Mask:
    """The item: H x W uint8, 1 or 0, all 0 where nothing differs. score: H x W, 1 where an item begins to be likely."""
    size = max(score.shape)
    radius = max(1, round(CLOSE * size))
    closed = _closed((score > 1).astype(np.uint8), radius)
    likely = np.asarray(cv2.morphologyEx(closed, cv2.MORPH_OPEN, _disk(1)), np.uint8)
    count, names, boxes, _ = cv2.connectedComponentsWithStats(likely, connectivity=8)
    if count < 2:
        return np.zeros_like(likely)
    flat = names.reshape(-1)
    capped = np.minimum(score, 4.0).reshape(-1)
    evidence = np.bincount(flat, capped, count)
    certain = np.bincount(flat, (score > CERTAIN).reshape(-1), count)
    evidence[0] = 0
    evidence[certain < 4] = 0
    best = int(evidence.argmax())
    if evidence[best] == 0:
        return np.zeros_like(likely)
    item = _filled((names == best).astype(np.uint8))
    for other in np.argsort(-evidence):
        if other == best or evidence[other] < PART * evidence[best]:
            continue
        if _gap(boxes[best], boxes[other]) <= 0.08 * size:
            item |= _filled((names == other).astype(np.uint8))
    return _whole(item)


def _whole(item: Mask) -> Mask:
    hull = cv2.convexHull(np.asarray(cv2.findNonZero(item), np.int32))
    if item.sum() >= WHOLE * max(cv2.contourArea(hull), 1.0):
        return item
    return np.asarray(cv2.fillConvexPoly(item.copy(), hull, (1,)), np.uint8)


def _filled(piece: Mask) -> Mask:
    contours, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(piece), contours, -1, (1,), cv2.FILLED), np.uint8)


def _closed(likely: Mask, radius: int) -> Mask:
    padded = cv2.copyMakeBorder(likely, radius, radius, radius, radius, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, _disk(radius))
    return np.asarray(closed[radius:-radius, radius:-radius], np.uint8)


def _gap(box: npt.NDArray[np.int32], other: npt.NDArray[np.int32]) -> float:
    across = max(box[0], other[0]) - min(box[0] + box[2], other[0] + other[2])
    down = max(box[1], other[1]) - min(box[1] + box[3], other[1] + other[3])
    return float(np.hypot(max(across, 0), max(down, 0)))


def _disk(radius: int) -> Mask:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)
