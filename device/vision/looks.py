"""The looks at one isolated item: with more or less round it, and mirrored, so that what one errs in by chance the others do not."""

import numpy as np

from device.vision.ground import Ground
from device.vision.isolate import MARGIN, Isolated, paint
from device.vision.preprocess import Pixels

NEAR, FAR = 0.06, 0.25
LOOKS = ((MARGIN, False), (NEAR, True), (FAR, False), (MARGIN, True), (NEAR, False), (FAR, True))
"""the margin of each look, as `paint` has it, and whether it is mirrored; the first is what `isolate` gives"""


TAUGHT_LOOKS = 3
"""looks at each taught item; with all of them the head is hardly better, and teaching takes twice as long"""


def look(frame: Pixels, mask: Pixels, ground: Ground, number: int) -> Pixels:
    """What the network is shown in the look of that number, from 0 on; after the last they begin again.

    frame: H x W x 3 uint8 RGB; mask: H x W uint8, 0 ground to 255 item. Returns RGB uint8 as `paint`.
    """
    margin, mirrored = LOOKS[number % len(LOOKS)]
    picture = paint(frame, mask, ground, margin)
    return np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture


def taught_views(frame: Pixels, item: Isolated, ground: Ground) -> tuple[Pixels, ...]:
    """What the network is shown of a frame that something is taught by: the first looks at its item, or the frame and its mirror image.

    item: what `isolate` made of the frame. RGB uint8, of any size.
    """
    if item.found:
        return tuple(look(frame, item.mask, ground, number) for number in range(TAUGHT_LOOKS))
    return item.picture, np.ascontiguousarray(item.picture[:, ::-1])
