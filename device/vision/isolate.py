"""Isolate the item: what differs from the empty view is the item, and all else is painted a neutral ground.

The network then sees the item as it sees training photos, whatever chamber it lies in. Training and calibration prepare their photos with the
same `paint`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from device.vision.difference import STRAY, STRAY_GAIN, TONE, difference
from device.vision.empty import EmptyViews
from device.vision.light import logarithm
from device.vision.outline import CERTAIN, outline
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
UNLIKE = 0.25
"""how much half of what is left round the item may differ from the empty view, in logarithms of light: more, and it is another view"""
SOFT = 2.0
"""logits between which the mask's edge is soft"""
LAMP, LAMP_TINT = 0.2, 0.06
"""largest change of light, and of its channels among each other, in logarithms, that is taken for a lamp's drift"""


@dataclass(frozen=True, slots=True, eq=False)
class Isolated:
    """An item apart from its surroundings, or the whole frame where that cannot be told.

    found: whether an item was told apart; why: the reason when not, one of "nothing differs", "fills the view" and "another view", else empty.
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
    differs = difference(frame, views)
    item = outline(differs)
    area = float((item > 0).mean())
    if area < LEAST_AREA or item.max() < CERTAIN:
        return _whole_frame(frame, "nothing differs")
    if area > MOST_AREA:
        return _whole_frame(frame, "fills the view")
    if _unlike(differs, item) > UNLIKE:
        return _whole_frame(frame, "another view")
    mask = _drawn(item, frame)
    box = _box(mask)
    if box is None:
        return _whole_frame(frame, "nothing differs")
    return Isolated(True, "", mask, box, _cut(frame, mask, box, ground, MARGIN))


def lies_there(frame: Pixels, empty: EmptyViews) -> bool | None:
    """Whether something lies there. None where that cannot be told: it looks like another view, or is brighter or darker by more than LAMP.

    frame: H x W x 3 uint8 RGB. empty: at least one view must be known.
    """
    differs = difference(frame, empty)
    item = outline(differs)
    area = float((item > 0).mean())
    if area > MOST_AREA or _unlike(differs, item) > UNLIKE:
        return None
    if area >= LEAST_AREA and item.max() >= CERTAIN:
        return True
    return False if _like_a_lamp(frame, empty) else None


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


def _like_a_lamp(frame: Pixels, empty: EmptyViews) -> bool:
    """Whether a lamp may have changed so much. A plain sheet that covers the whole view is an even change too, but seldom so small a one."""
    change = logarithm(empty.shrunk(frame)[::3, ::3]) - empty.reference.middle[::3, ::3]
    channels = np.median(change.reshape(-1, 3), axis=0)
    return bool(abs(channels.mean()) < LAMP and np.ptp(channels) < LAMP_TINT)


def _unlike(differs: Floats, item: Floats) -> float:
    """How much half of what is round the item differs at least, in brightness or colour, judged by every third row and column."""
    around = differs[::3, ::3][item[::3, ::3] <= 0]
    if not len(around):
        return 0.0
    return float(np.median(np.maximum(np.abs(around[:, TONE]), around[:, STRAY] / STRAY_GAIN)))


def _whole_frame(frame: Pixels, why: str) -> Isolated:
    height, width = frame.shape[:2]
    return Isolated(False, why, np.full((height, width), 255, np.uint8), (0, 0, width, height), frame)


def _box(mask: Pixels) -> Box | None:
    left, top, width, height = cv2.boundingRect(cv2.threshold(mask, 127, 255, cv2.THRESH_TOZERO)[1])
    return (left, top, left + width, top + height) if width else None


def _cut(pixels: Pixels, mask: Pixels, box: Box, ground: Ground, margin: float) -> Pixels:
    left, top, right, bottom = box
    longer = max(right - left, bottom - top)
    side = max(1, round(longer * (1 + 2 * margin)))
    x, y = (left + right - side) // 2, (top + bottom - side) // 2
    from_x, from_y = max(x, 0), max(y, 0)
    to_x, to_y = min(x + side, pixels.shape[1]), min(y + side, pixels.shape[0])
    alpha = cv2.cvtColor(mask[from_y:to_y, from_x:to_x], cv2.COLOR_GRAY2RGB)
    plain = cv2.copyMakeBorder(np.array([[ground]], np.uint8), 0, alpha.shape[0] - 1, 0, alpha.shape[1] - 1, cv2.BORDER_CONSTANT, value=ground)
    item = cv2.multiply(pixels[from_y:to_y, from_x:to_x], alpha, scale=1 / 255)
    painted = cv2.add(item, cv2.multiply(plain, cv2.bitwise_not(alpha), scale=1 / 255))
    around = from_y - y, y + side - to_y, from_x - x, x + side - to_x
    return np.asarray(cv2.copyMakeBorder(painted, *around, cv2.BORDER_CONSTANT, value=ground), np.uint8)


def _drawn(item: Floats, frame: Pixels) -> Pixels:
    """Logits of the small view as a mask of the frame's size."""
    height, width = frame.shape[:2]
    small = np.clip(item * (127 / SOFT) + 127.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
