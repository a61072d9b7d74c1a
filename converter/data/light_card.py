"""Finds one item on light card and separates it from the card.

The masks are good enough to isolate an item, to move it and to change its ground. They are not good enough for clear glass: the card that shines
through stays as bright as it was.
"""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels

Mask = npt.NDArray[np.bool_]

WORKING_PX = 256
"""longer side of the picture in which items are searched"""
LEAST_ITEM = 0.01
"""a smaller share of the frame is no item"""
NO_CARD = 200
"""grey behind an item that hides all of the card, 0..255"""
CARD_LIGHT, CARD_COLOUR, LEAST_CARD = 45.0, 18.0, 0.12
"""card has at least this lightness and at most this colour (Lab), and covers at least this share of the rim"""
SHADOW = 18.0
"""a shadow may be this much darker than the card (Lab)"""
SMOOTH = 3.5
"""a piece with a smaller mean of colour and texture (Lab) is a shadow"""
MOST_ITEM = 0.85
"""above this share of the frame too little card is left to compare with"""
MOST_RIM = 0.75
"""an item may hide this share of the frame's rim"""
UNLIKE_CARD = 3.0
"""most median distance (Lab) of the pixels round an item from the card's surface; above it the ground is no plain card"""
WHOLE = 0.7
"""an item that fills a smaller share of its convex hull is a clear one, of which glints and rims were found; its hull is used instead"""


@dataclass(frozen=True)
class Box:
    """The smallest upright rectangle round an item, in pixels. x, y: of its upper left corner."""

    x: int
    y: int
    width: int
    height: int

    @property
    def middle(self) -> tuple[float, float]:
        """x and y of the centre."""
        return self.x + self.width / 2, self.y + self.height / 2

    def scale_to_fit(self, width: int, height: int) -> float:
        """The factor by which the item can grow until it touches the sides of a frame of that size."""
        return min(width / self.width, height / self.height)


@dataclass(frozen=True, eq=False)
class SegmentedPhoto:
    """A photo separated into item and card. pixels: the photo. mask: H x W, True on the item, never empty. card: the card without the item."""

    pixels: Pixels
    mask: Mask
    card: Pixels

    @property
    def box(self) -> Box:
        """The bounding box of the item."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        return Box(int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1))


def segment_item(pixels: Pixels) -> SegmentedPhoto:
    """Separate the item from the card. pixels: H x W x 3 uint8 RGB, one item on light card, which may be lit unevenly.

    The colour of the card is a smooth surface, fitted to pixels at the frame's rim that look like card. The item is what differs from it in colour,
    in texture, or in brightness by more than a shadow. If the rim shows no card, the item is the whole frame. If nothing differs, it is the
    middle of the frame.
    """
    height, width = pixels.shape[:2]
    lab = _to_lab(pixels)
    surface = _card_surface(lab)
    if surface is None:
        return SegmentedPhoto(pixels, np.ones((height, width), bool), np.full_like(pixels, NO_CARD))
    found = _find_mask(*_distance_from_card(lab, surface))
    if found.mean() < LEAST_ITEM:
        rows, columns = found.shape
        found[rows // 8 : rows - rows // 8, columns // 8 : columns - columns // 8] = True
    mask = _resize_mask(found, height, width)
    colours = np.clip(cv2.cvtColor(surface, cv2.COLOR_LAB2RGB) * 255, 0, 255)
    card = np.rint(cv2.resize(colours, (width, height), interpolation=cv2.INTER_LINEAR)).astype(np.uint8)
    return SegmentedPhoto(pixels, mask if mask.any() else np.ones_like(mask), card)


def find_item(pixels: Pixels) -> Mask | None:
    """The mask of the item, H x W, or None where it is uncertain. pixels: H x W x 3 uint8 RGB.

    It is certain when something differs from the card, covers neither too much of the picture nor of its rim, and the rest is light nearly
    everywhere and half of it close to the card's surface.
    """
    lab = _to_lab(pixels)
    surface = _card_surface(lab)
    if surface is None:
        return None
    found = _find_mask(*_distance_from_card(lab, surface))
    if not LEAST_ITEM <= found.mean() <= MOST_ITEM or found[_rim(found.shape)].mean() > MOST_RIM:
        return None
    near = cv2.dilate(found.astype(np.uint8), np.ones((11, 11), np.uint8))
    some = near[::3, ::3] == 0
    left, card = lab[::3, ::3][some], surface[::3, ::3][some]
    if not len(left) or np.quantile(left[:, 0], 0.1) < CARD_LIGHT or np.median(np.linalg.norm(left - card, axis=1)) > UNLIKE_CARD:
        return None
    mask = _resize_mask(found, *pixels.shape[:2])
    return mask if mask.any() else None


def _to_lab(pixels: Pixels) -> Float32Array:
    """The picture in Lab, with WORKING_PX on its longer side."""
    height, width = pixels.shape[:2]
    scale = WORKING_PX / max(height, width)
    size = max(8, round(width * scale)), max(8, round(height * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def _rim(shape: tuple[int, ...]) -> Mask:
    edge = max(1, round(0.06 * min(shape[:2])))
    rim = np.ones(shape[:2], bool)
    rim[edge:-edge, edge:-edge] = False
    return rim


def _card_surface(lab: Float32Array) -> Float32Array | None:
    """The colour of the card at each pixel: a quadratic in x and y for each channel, fitted to the card on the rim. None if the rim shows too little.

    Card is light and has almost no colour. The fit is repeated without outliers, so that pale items on the rim do not count.
    """
    terms, rim = _polynomial_terms(*lab.shape[:2]), _rim(lab.shape)
    positions, colours = terms[rim].astype(np.float64), lab[rim].astype(np.float64)
    like_card = (colours[:, 0] > CARD_LIGHT) & (np.hypot(colours[:, 1], colours[:, 2]) < CARD_COLOUR)
    if like_card.mean() < LEAST_CARD:
        return None
    inliers = like_card & (colours[:, 0] >= np.quantile(colours[like_card, 0], 0.3))
    for _ in range(4):
        there = positions[inliers]
        weights = np.linalg.lstsq(there.T @ there, there.T @ colours[inliers], rcond=None)[0]
        left = colours - positions @ weights
        off = np.sqrt(np.einsum("ij,ij->i", left, left))
        inliers = like_card & (off <= max(2.5 * float(np.median(off[inliers])), 2.0))
    surface: Float32Array = terms.reshape(-1, terms.shape[-1]) @ weights.astype(np.float32)
    return surface.reshape(lab.shape)


@functools.lru_cache(8)
def _polynomial_terms(rows: int, columns: int) -> Float32Array:
    """1, x, y, xy, x², y² at each pixel, rows x columns x 6. x and y go from -1 to 1."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j].astype(np.float32)
    return np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)


def _distance_from_card(lab: Float32Array, card: Float32Array) -> tuple[Float32Array, Float32Array]:
    """For each pixel its distance from the card in Lab, and the part of it that is colour and texture, which shadows do not have."""
    difference = cv2.GaussianBlur(lab - card, (0, 0), 1.0)
    lighter, darker = np.maximum(difference[..., 0], 0), np.maximum(-difference[..., 0] - SHADOW, 0)
    light = lab[..., 0]
    texture = np.sqrt(np.maximum(cv2.blur(light * light, (5, 5)) - cv2.blur(light, (5, 5)) ** 2, 0))
    marked = np.hypot(difference[..., 1], difference[..., 2]) + 1.5 * texture
    return (lighter + 0.7 * darker + marked).astype(np.float32), marked.astype(np.float32)


def _find_mask(distance: Float32Array, marked: Float32Array) -> Mask:
    return _clean_mask(distance > _threshold(distance), marked)


def _threshold(distance: Float32Array) -> float:
    usual = float(np.median(distance[_rim(distance.shape)]))
    return float(np.clip(_otsu(distance), 4 * usual, 12.0))


def _resize_mask(found: Mask, height: int, width: int) -> Mask:
    return cv2.resize(found.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5


def _otsu(distance: Float32Array) -> float:
    top = max(float(np.quantile(distance, 0.995)), 1e-3)
    level, _ = cv2.threshold(np.clip(distance / top * 255, 0, 255).astype(np.uint8), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return 0.6 * level / 255 * top  # below Otsu's, so that pale sides of an item count too


def _clean_mask(found: Mask, marked: Float32Array) -> Mask:
    """Close gaps and fill holes. Keep the most marked piece and other large ones that are no shadow. Replace fragments by their hull."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    closed = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    closed = cv2.morphologyEx(closed, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    pieces = [cv2.drawContours(np.zeros_like(closed), [contour], -1, (1,), cv2.FILLED).astype(bool) for contour in contours]
    if not pieces:
        return found & False
    item = max(pieces, key=lambda piece: marked[piece].sum())
    for piece in pieces:
        if piece.sum() >= item.sum() / 5 and marked[piece].mean() > SMOOTH:
            item = item | piece
    filled = item.astype(np.uint8)
    outlines, _ = cv2.findContours(filled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.convexHull(np.vstack(outlines))
    if filled.sum() < WHOLE * cv2.contourArea(hull):
        cv2.fillConvexPoly(filled, hull, (1,))
    # The texture filter reaches some pixels beyond the item's edge, so that much is eroded. At the frame's edge the item continues: nothing is.
    core = cv2.erode(filled, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)), borderType=cv2.BORDER_REPLICATE)
    return (core if core.any() else filled).astype(bool)
