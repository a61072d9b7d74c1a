"""The frames of one still item. It is isolated in the first one; while it lies still, the others use the same mask.

Each frame gives the next look.
"""

from collections.abc import Callable
from typing import NamedTuple

from device.common.arrays import Float32Array
from device.vision.inference.ground import Ground
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.isolate import Isolated, isolate, whole_frame
from device.vision.isolation.occupancy import OccupancyDetector
from device.vision.isolation.pieces import Pieces, find_pieces, piece_crops
from device.vision.isolation.tta import ITEM_CROPS, Crops, Look, crops_of, take_look

Isolate = Callable[[Pixels, BackgroundModel, Ground], Isolated]


class BurstFrame(NamedTuple):
    """One frame. item: what was isolated in it, or in an earlier frame where it lay the same. look: what is to be judged."""

    item: Isolated
    look: Look


class Burst:
    """The frames that one item is judged by.

    view: detects movement between frames. empty: the empty tray, against which items are isolated. ground: the bundle's, painted round the item.
    crops: by which an item is judged.
    """

    def __init__(
        self,
        view: OccupancyDetector,
        empty: BackgroundModel,
        ground: Ground,
        crops: Callable[[Isolated], Crops] = crops_of,
        isolate: Isolate = isolate,
    ) -> None:
        self._view, self._empty, self._ground, self._crops, self._isolate = view, empty, ground, crops, isolate
        self._drawn: tuple[Isolated, Float32Array] | None = None
        self.pieces: Pieces | None = None
        """the pieces of the item that was isolated last; None where it is in one piece"""
        self._frames = 0

    def add_frame(self, pixels: Pixels) -> BurstFrame:
        """Isolate the item in one more frame (H x W x 3 uint8 RGB), the one that `view` observed last. It is the whole frame without an empty view.

        The mask is reused until something moves against the frame that it was drawn in. The look is the next one.
        """
        number, self._frames = self._frames, self._frames + 1
        item = self._item(pixels)
        crops = self._crops(item)
        if number == 0:
            return BurstFrame(item, Look(item.picture, item.found, crops[0].weight))
        return BurstFrame(item, take_look(pixels, item, self._ground, number, crops))

    def add_exposed(self, pixels: Pixels) -> Look:
        """The next look at the item in a frame at another exposure (H x W x 3 uint8 RGB), where it lies as in the frame that was added last.

        It has the mask of that frame. The look is of the item alone: at its exposure the rest of the view is white or black.
        """
        assert self._drawn is not None, "add_exposed() without an isolated item"
        number, self._frames = self._frames, self._frames + 1
        return take_look(pixels, self._drawn[0], self._ground, number, ITEM_CROPS)

    def piece_crops(self, pixels: Pixels) -> list[Pixels]:
        """A picture of each piece in the frame that was added last; none where the item is in one piece."""
        return piece_crops(pixels, self.pieces, self._ground, self._frames - 1)

    def _item(self, pixels: Pixels) -> Isolated:
        if not self._empty.learned:
            return whole_frame(pixels, "no empty view yet")
        if self._drawn is None or self._view.moved_since(self._drawn[1]):
            item = self._isolate(pixels, self._empty, self._ground)
            self._drawn = (item, self._view.thumbnail) if item.found else None
            self.pieces = find_pieces(item)
            return item
        return self._drawn[0]
