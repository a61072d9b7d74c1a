"""Test-time augmentation: several looks at one item, also mirrored, so that chance errors of one crop average out.

An isolated item is looked at up close. One that is large in the view is looked at in the whole view too, in turn: there the network has pixels enough
of it, and the surroundings that it may know. A small item is lost in the whole view. Without an isolated item the looks are at the whole frame and
its middle, where most items lie (docs/research/looks.md).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from device.vision.inference.ground import Ground
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.isolate import MARGIN, Isolated, paint

NEAR, FAR = 0.06, 0.25
"""margins, see `paint`"""
WHOLE = 0.0
MIDDLE, NEARER = 1.0, 0.7
LEAST_AREA_IN_VIEW, EVEN_AREA_IN_VIEW = 0.3, 0.4
"""the box of an item, as a share of the view, up to which the whole view does not count, and from which on it counts as much as the item cut out"""
MOST_VIEW_SHARE = 0.5


class ItemCrop(NamedTuple):
    """A crop of an isolated item. margin: see `paint`. weight: relative to other crops of the item."""

    margin: float
    mirrored: bool
    weight: float = 1.0


class FrameCrop(NamedTuple):
    """A crop of the frame.

    share: the side of the square in its middle, as a share of the frame's shorter side; WHOLE is the whole frame. weight: relative to other crops of
    the frame, for a network that was trained on whole photos.
    """

    share: float
    mirrored: bool
    weight: float


Crops = Sequence[ItemCrop | FrameCrop]

ITEM_CROPS = (
    *(ItemCrop(MARGIN, False), ItemCrop(NEAR, True), ItemCrop(FAR, False)),
    *(ItemCrop(MARGIN, True), ItemCrop(NEAR, False), ItemCrop(FAR, True)),
)
"""crops of an isolated item; the first one is the picture of `isolate`"""
FRAME_CROPS = FrameCrop(WHOLE, False, 3.0), FrameCrop(MIDDLE, True, 1.0), FrameCrop(NEARER, False, 1.0)
"""crops of a frame without an isolated item"""
BOTH_CROPS: Crops = *(crop for pair in zip(ITEM_CROPS, FRAME_CROPS, strict=False) for crop in pair), *ITEM_CROPS[len(FRAME_CROPS) :]
"""crops of an isolated item that is large in its view: in turn of the item and of the frame"""
TEACHING_CROPS = 3
"""crops of each taught item; with all of them the head is hardly better, and teaching takes twice as long"""


class Look(NamedTuple):
    """One look at an item. picture: RGB uint8 of any size. of_item: whether it is a crop of the item, not of the frame. weight: that of the crop."""

    picture: Pixels
    of_item: bool
    weight: float


def view_share(item: Isolated) -> float:
    """How much the looks at the whole view count, all together, beside those at the isolated item: 0 to MOST_VIEW_SHARE."""
    left, top, right, bottom = item.box
    area = (right - left) * (bottom - top) / item.mask.size
    return float(np.interp(area, [LEAST_AREA_IN_VIEW, EVEN_AREA_IN_VIEW], [0.0, MOST_VIEW_SHARE]))


def crops_of(item: Isolated) -> Crops:
    """The crops by which an item is judged."""
    if not item.found:
        return FRAME_CROPS
    return BOTH_CROPS if view_share(item) else ITEM_CROPS


def look_weights(looks: Sequence[tuple[bool, float]], share: float) -> list[float]:
    """The weight of each look in the fusion. looks: `of_item` and `weight` of each. share: of all looks at the frame, where there are both kinds."""
    totals = [sum(weight for of_item, weight in looks if of_item is kind) for kind in (False, True)]
    if not all(totals):
        return [weight for _, weight in looks]
    return [(1 - share if of_item else share) * weight / totals[of_item] for of_item, weight in looks]


def take_look(frame: Pixels, item: Isolated, ground: Ground, number: int, crops: Crops) -> Look:
    """Look `number`, from 0; after the last of `crops` they repeat.

    frame: H x W x 3 uint8 RGB. item: isolated in it, or in another frame where it lay the same.
    """
    match crops[number % len(crops)]:
        case ItemCrop(margin, mirrored, weight):
            return Look(_mirror(paint(frame, item.mask, ground, margin), mirrored), True, weight)
        case FrameCrop(share, mirrored, weight):
            return Look(_crop_frame(frame, share, mirrored), False, weight)


def take_looks(frame: Pixels, item: Isolated, ground: Ground, crops: Crops) -> list[Look]:
    """A look for each of `crops`. Arguments as for `take_look`."""
    return [take_look(frame, item, ground, number, crops) for number in range(len(crops))]


def frame_crops(frame: Pixels) -> list[Pixels]:
    """FRAME_CROPS of a frame, H x W x 3 uint8 RGB."""
    return [_crop_frame(frame, crop.share, crop.mirrored) for crop in FRAME_CROPS]


def teaching_crops(frame: Pixels, item: Isolated, ground: Ground) -> list[Pixels]:
    """The crops of a taught frame: the first TEACHING_CROPS, all of the item where it was isolated. Arguments as for `take_look`."""
    return [look.picture for look in take_looks(frame, item, ground, (ITEM_CROPS if item.found else FRAME_CROPS)[:TEACHING_CROPS])]


def mask_crop(frame: Pixels, mask: Pixels, ground: Ground, number: int) -> Pixels:
    """Crop `number` of ITEM_CROPS of what a mask shows. frame: H x W x 3 uint8 RGB; mask: H x W uint8, 0 ground to 255 item."""
    margin, mirrored, _ = ITEM_CROPS[number % len(ITEM_CROPS)]
    return _mirror(paint(frame, mask, ground, margin), mirrored)


def _crop_frame(frame: Pixels, share: float, mirrored: bool) -> Pixels:
    if share == WHOLE:
        return _mirror(frame, mirrored)
    height, width = frame.shape[:2]
    side = max(1, round(share * min(height, width)))
    top, left = (height - side) // 2, (width - side) // 2
    return _mirror(frame[top : top + side, left : left + side], mirrored)


def _mirror(picture: Pixels, mirrored: bool) -> Pixels:
    return np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture
