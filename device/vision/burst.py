"""Several frames of one lying item: while it lies still, it is in all of them where it is in the first, so it is isolated once."""

from collections.abc import Callable
from dataclasses import replace

from device.vision.empty import EmptyViews
from device.vision.ground import Ground
from device.vision.isolate import Isolated, isolate, paint, whole_frame
from device.vision.preprocess import Pixels
from device.vision.presence import EmptyView, Floats

Isolate = Callable[[Pixels, EmptyViews, Ground], Isolated]


class Burst:
    """The frames that one item is judged by.

    view: what told of each frame that something lies there. empty: what items are isolated against. ground: what is shown round them.
    """

    def __init__(self, view: EmptyView, empty: EmptyViews, ground: Ground, isolate: Isolate = isolate) -> None:
        self._view, self._empty, self._ground, self._isolate = view, empty, ground, isolate
        self._drawn: tuple[Isolated, Floats] | None = None

    def isolated(self, pixels: Pixels) -> Isolated:
        """The item of one more frame (H x W x 3 uint8 RGB), the one that `view` looked at last; the whole frame while there is no empty view.

        An item that was told apart keeps its mask until something moves against the frame that it was drawn in.
        """
        if not self._empty.known:
            return whole_frame(pixels, "no empty view yet")
        if self._drawn is not None and not self._view.moved_since(self._drawn[1]):
            return replace(self._drawn[0], picture=paint(pixels, self._drawn[0].mask, self._ground))
        found = self._isolate(pixels, self._empty, self._ground)
        self._drawn = (found, self._view.thumbnail) if found.found else None
        return found
