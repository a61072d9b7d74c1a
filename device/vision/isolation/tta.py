"""Test-time augmentation: crops of one item with different margins, also mirrored, so that chance errors of one crop average out.

Without an isolated item the crops are the whole frame and its middle, where most items lie: up close, a print or a cap is large enough to see.
"""

import numpy as np

from device.vision.inference.ground import Ground
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.isolate import MARGIN, Isolated, paint

NEAR, FAR = 0.06, 0.25
"""margins, see `paint`"""
ITEM_CROPS = ((MARGIN, False), (NEAR, True), (FAR, False), (MARGIN, True), (NEAR, False), (FAR, True))
"""margin of each crop of an isolated item, and whether it is mirrored; the first crop is the picture of `isolate`"""
TEACHING_CROPS = 3
"""crops of each taught item; with all of them the head is hardly better, and teaching takes twice as long"""

WHOLE = 0.0
MIDDLE, NEARER = 1.0, 0.7
FRAME_CROPS = ((WHOLE, False), (MIDDLE, True), (NEARER, False))
"""crops of a frame without an isolated item: the side of the square in its middle, as a share of the frame's shorter side, and whether it is
mirrored; WHOLE is the whole frame"""
FRAME_CROP_WEIGHTS = 3.0, 1.0, 1.0
"""weight of each of these crops for a network that was trained on whole photos"""


def tta_crop(frame: Pixels, item: Isolated, ground: Ground, number: int) -> Pixels:
    """Crop `number`, from 0; after the last crop they repeat.

    frame: H x W x 3 uint8 RGB. item: isolated in it, or in another frame where it lay the same. Returns RGB uint8 of any size.
    """
    if item.found:
        return mask_crop(frame, item.mask, ground, number)
    return _crop_frame(frame, *FRAME_CROPS[number % len(FRAME_CROPS)])


def mask_crop(frame: Pixels, mask: Pixels, ground: Ground, number: int) -> Pixels:
    """Crop `number` of what a mask shows. frame: H x W x 3 uint8 RGB; mask: H x W uint8, 0 ground to 255 item."""
    return _crop_item(frame, mask, ground, *ITEM_CROPS[number % len(ITEM_CROPS)])


def tta_crops(frame: Pixels, item: Isolated, ground: Ground) -> list[Pixels]:
    """All crops. frame, item: as for `tta_crop`."""
    return [tta_crop(frame, item, ground, number) for number in range(len(ITEM_CROPS if item.found else FRAME_CROPS))]


def teaching_crops(frame: Pixels, item: Isolated, ground: Ground) -> list[Pixels]:
    """The crops of a taught frame: the first TEACHING_CROPS. frame, item: as for `tta_crop`."""
    return [tta_crop(frame, item, ground, number) for number in range(TEACHING_CROPS)]


def _crop_item(frame: Pixels, mask: Pixels, ground: Ground, margin: float, mirrored: bool) -> Pixels:
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
