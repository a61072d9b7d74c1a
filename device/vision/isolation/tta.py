"""The looks at one item: with more or less round it, and mirrored, so that what one errs in by chance the others do not.

Where no item is told apart, the looks are at the whole view and at its middle, where most things lie: near to, a print or a cap is large
enough to be seen.
"""

import numpy as np

from device.vision.inference.ground import Ground
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.isolate import MARGIN, Isolated, paint

NEAR, FAR = 0.06, 0.25
ITEM_CROPS = ((MARGIN, False), (NEAR, True), (FAR, False), (MARGIN, True), (NEAR, False), (FAR, True))
"""the margin of each look at an item, as `paint` has it, and whether it is mirrored; the first is what `isolate` gives"""
TEACHING_CROPS = 3
"""looks at each taught item; with all of them the head is hardly better, and teaching takes twice as long"""

WHOLE = 0.0
MIDDLE, NEARER = 1.0, 0.7
FRAME_CROPS = ((WHOLE, False), (MIDDLE, True), (NEARER, False))
"""looks at a view in which no item is told apart: the side of a square in its middle, as a share of the view's shorter side, and whether it is
mirrored; WHOLE shows all of the view"""
FRAME_CROP_WEIGHTS = 3.0, 1.0, 1.0
"""how much each of these tells a network that was trained on whole photos"""


def tta_crop(frame: Pixels, item: Isolated, ground: Ground, number: int) -> Pixels:
    """What the network is shown in the look of that number, from 0 on; after the last they begin again.

    frame: H x W x 3 uint8 RGB; item: what was isolated in it, or in another frame where it lay the same. Returns RGB uint8 of any size.
    """
    if item.found:
        return mask_crop(frame, item.mask, ground, number)
    return _of_view(frame, *FRAME_CROPS[number % len(FRAME_CROPS)])


def mask_crop(frame: Pixels, mask: Pixels, ground: Ground, number: int) -> Pixels:
    """The look of that number at what a mask shows. frame: H x W x 3 uint8 RGB; mask: H x W uint8, 0 ground to 255 item."""
    return _of_item(frame, mask, ground, *ITEM_CROPS[number % len(ITEM_CROPS)])


def tta_crops(frame: Pixels, item: Isolated, ground: Ground) -> list[Pixels]:
    """What the network is shown in all looks. frame, item: as for `tta_crop`."""
    return [tta_crop(frame, item, ground, number) for number in range(len(ITEM_CROPS if item.found else FRAME_CROPS))]


def teaching_crops(frame: Pixels, item: Isolated, ground: Ground) -> list[Pixels]:
    """What the network is shown of a frame that something is taught by: the first looks at it. frame, item: as for `tta_crop`."""
    return [tta_crop(frame, item, ground, number) for number in range(TEACHING_CROPS)]


def _of_item(frame: Pixels, mask: Pixels, ground: Ground, margin: float, mirrored: bool) -> Pixels:
    return _turned(paint(frame, mask, ground, margin), mirrored)


def _of_view(frame: Pixels, share: float, mirrored: bool) -> Pixels:
    if share == WHOLE:
        return _turned(frame, mirrored)
    height, width = frame.shape[:2]
    side = max(1, round(share * min(height, width)))
    top, left = (height - side) // 2, (width - side) // 2
    return _turned(frame[top : top + side, left : left + side], mirrored)


def _turned(picture: Pixels, mirrored: bool) -> Pixels:
    return np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture
