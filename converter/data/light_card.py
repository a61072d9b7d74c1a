"""One item on light card: find it and take it off.

Good enough to show an item by itself, to move it and to change its ground, not to cut out glass: what shines through a clear item stays as
bright as the card was.
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
"""longer side at which items are looked for"""
LEAST_ITEM = 0.01
"""share of the frame below which what was found is no item"""
NO_CARD = 200
"""grey to put behind an item that hides all card, counts of 255"""
CARD_LIGHT, CARD_COLOUR, LEAST_CARD = 45.0, 18.0, 0.12
"""card is at least so light and at most so coloured (Lab), and at least that share of the rim"""
SHADOW = 18.0
"""how much darker than the card (Lab) a shadow may be"""
SMOOTH = 3.5
"""least mean of colour and texture (Lab) of a piece that is no mere shadow"""
MOST_ITEM = 0.85
"""share of the frame above which too little card is left to tell the item from it"""
MOST_RIM = 0.75
"""share of the frame's rim that an item may hide"""
UNLIKE_CARD = 3.0
"""how far (Lab) half of what is left round an item may be from the card's surface: more, and it is no plain card"""
WHOLE = 0.7
"""least share of its convex hull that an item fills; less is the glints and rims of a clear one, and the hull is taken instead"""


@dataclass(frozen=True)
class Box:
    """The smallest upright rectangle round an item, in pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def middle(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2

    def scale_to_fit(self, width: int, height: int) -> float:
        """By how much the item can grow until it touches the sides of a frame of that size."""
        return min(width / self.width, height / self.height)


@dataclass(frozen=True, eq=False)
class SegmentedPhoto:
    """A photo taken apart. pixels: the photo; mask: True where the item is, never empty; card: the photo's card without the item."""

    pixels: Pixels
    mask: Mask
    card: Pixels

    @property
    def box(self) -> Box:
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        return Box(int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1))


def segment_item(pixels: Pixels) -> SegmentedPhoto:
    """Find the item. pixels: H x W x 3 uint8 RGB, one item on light card whose light may fall off.

    The card's colour is a smooth surface fitted to what looks like card on the frame's rim; the item is what strays from it in colour, in
    texture, or in brightness more than a shadow does. Where the rim shows no card, the item fills the frame; where nothing strays, the
    mask is the middle of the frame.
    """
    height, width = pixels.shape[:2]
    lab = _small(pixels)
    surface = _card_surface(lab)
    if surface is None:
        return SegmentedPhoto(pixels, np.ones((height, width), bool), np.full_like(pixels, NO_CARD))
    found = _found(*_strayed(lab, surface))
    if found.mean() < LEAST_ITEM:
        rows, columns = found.shape
        found[rows // 8 : rows - rows // 8, columns // 8 : columns - columns // 8] = True
    mask = _enlarged(found, height, width)
    colours = np.clip(cv2.cvtColor(surface, cv2.COLOR_LAB2RGB) * 255, 0, 255)
    card = np.rint(cv2.resize(colours, (width, height), interpolation=cv2.INTER_LINEAR)).astype(np.uint8)
    return SegmentedPhoto(pixels, mask if mask.any() else np.ones_like(mask), card)


def find_item(pixels: Pixels) -> Mask | None:
    """Where the item is, H x W, or None where that cannot be told. pixels: H x W x 3 uint8 RGB.

    Unlike `segment_item` it doubts: something has to stray from the card, neither hiding too much of the picture nor of its rim, and what is left
    has to be light nearly everywhere and half of it close to the card's surface.
    """
    lab = _small(pixels)
    surface = _card_surface(lab)
    if surface is None:
        return None
    found = _found(*_strayed(lab, surface))
    if not LEAST_ITEM <= found.mean() <= MOST_ITEM or found[_rim(found.shape)].mean() > MOST_RIM:
        return None
    near = cv2.dilate(found.astype(np.uint8), np.ones((11, 11), np.uint8))
    some = near[::3, ::3] == 0
    left, card = lab[::3, ::3][some], surface[::3, ::3][some]
    if not len(left) or np.quantile(left[:, 0], 0.1) < CARD_LIGHT or np.median(np.linalg.norm(left - card, axis=1)) > UNLIKE_CARD:
        return None
    mask = _enlarged(found, *pixels.shape[:2])
    return mask if mask.any() else None


def _small(pixels: Pixels) -> Float32Array:
    """The picture in Lab at the size that items are looked for."""
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
    """A quadratic in x and y for each channel, fitted to what looks like card on the rim; None where that is too little to tell.

    Card is light and has next to no colour; fitting again without what lies far off leaves pale items out.
    """
    terms, rim = _terms(*lab.shape[:2]), _rim(lab.shape)
    where, seen = terms[rim].astype(np.float64), lab[rim].astype(np.float64)
    like_card = (seen[:, 0] > CARD_LIGHT) & (np.hypot(seen[:, 1], seen[:, 2]) < CARD_COLOUR)
    if like_card.mean() < LEAST_CARD:
        return None
    kept = like_card & (seen[:, 0] >= np.quantile(seen[like_card, 0], 0.3))
    for _ in range(4):
        there = where[kept]
        weights = np.linalg.lstsq(there.T @ there, there.T @ seen[kept], rcond=None)[0]
        left = seen - where @ weights
        off = np.sqrt(np.einsum("ij,ij->i", left, left))
        kept = like_card & (off <= max(2.5 * float(np.median(off[kept])), 2.0))
    surface: Float32Array = terms.reshape(-1, terms.shape[-1]) @ weights.astype(np.float32)
    return surface.reshape(lab.shape)


@functools.lru_cache(8)
def _terms(rows: int, columns: int) -> Float32Array:
    """Powers of x and y up to the second, at each pixel; both go from -1 to 1."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j].astype(np.float32)
    return np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)


def _strayed(lab: Float32Array, card: Float32Array) -> tuple[Float32Array, Float32Array]:
    """How far each pixel is from the card in units of Lab, and how much of that is colour and texture, which no shadow has."""
    difference = cv2.GaussianBlur(lab - card, (0, 0), 1.0)
    lighter, darker = np.maximum(difference[..., 0], 0), np.maximum(-difference[..., 0] - SHADOW, 0)
    light = lab[..., 0]
    texture = np.sqrt(np.maximum(cv2.blur(light * light, (5, 5)) - cv2.blur(light, (5, 5)) ** 2, 0))
    marked = np.hypot(difference[..., 1], difference[..., 2]) + 1.5 * texture
    return (lighter + 0.7 * darker + marked).astype(np.float32), marked.astype(np.float32)


def _found(strayed: Float32Array, marked: Float32Array) -> Mask:
    return _solid(strayed > _threshold(strayed), marked)


def _threshold(strayed: Float32Array) -> float:
    usual = float(np.median(strayed[_rim(strayed.shape)]))
    return float(np.clip(_otsu(strayed), 4 * usual, 12.0))


def _enlarged(found: Mask, height: int, width: int) -> Mask:
    return cv2.resize(found.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5


def _otsu(strayed: Float32Array) -> float:
    top = max(float(np.quantile(strayed, 0.995)), 1e-3)
    level, _ = cv2.threshold(np.clip(strayed / top * 255, 0, 255).astype(np.uint8), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return 0.6 * level / 255 * top  # a little below Otsu's: pale sides of an item count too


def _solid(found: Mask, marked: Float32Array) -> Mask:
    """Close gaps, fill holes, keep the most marked piece with large ones that are no mere shadow, and take the hull of fragments."""
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
    # Texture is seen some pixels beyond the edge that makes it. Over the frame's own edge the item goes on.
    core = cv2.erode(filled, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)), borderType=cv2.BORDER_REPLICATE)
    return (core if core.any() else filled).astype(bool)
