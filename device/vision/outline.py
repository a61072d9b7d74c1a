"""The outline of one item, drawn by a small network from what differs: it knows how items, shadows, glints and clear bottles differ.

The network (`device/models/outline`, written by `training outline`) is a U-Net (Ronneberger, Fischer and Brox 2015) of 0.16 million INT8
weights. It sees differences in units of this very camera's noise, not colours, so it carries over to places that it was not trained on.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from device.vision.runtime import Interpreter, open_model

Floats = npt.NDArray[np.float32]

MODEL = Path(__file__).parents[1] / "models" / "outline" / "outline_int8.tflite"
CERTAIN = 2.5
"""logit that an item reaches somewhere. On rendered places items reached at least 4.3 (n = 288), empty views at most 0.2 (n = 36)"""
PART = 0.15
"""least size of a second piece of an item, as a share of the largest"""
NEAR = 0.12
"""farthest that a second piece is from the largest, as a share of the view's width"""


INSIDE, OUTSIDE = np.float32(0.5), np.float32(-8)
"""logits that are certain at least on the item, holes and all, and that are given to all that is farther than two pixels from it"""

_NEIGHBOURS = np.ones((5, 5), np.uint8)


def outline(differs: Floats) -> Floats:
    """How likely each pixel belongs to the item, in logits; OUTSIDE where none is near.

    differs: HEIGHT x WIDTH x CHANNELS as `difference` gives it. Returns HEIGHT x WIDTH float32. Not for two threads at once. Raises RuntimeFault
    where nothing can run the network.
    """
    return _one_item(_network().run(differs))


def _one_item(logits: Floats) -> Floats:
    """The largest piece with its holes filled, and others that are near and not much smaller: a bottle is seen by its cap and its glints."""
    likely = (logits > 0).astype(np.uint8)
    contours, _ = cv2.findContours(likely, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.minimum(logits, 0)
    areas = [cv2.contourArea(contour) + len(contour) / 2 for contour in contours]
    boxes = [cv2.boundingRect(contour) for contour in contours]
    largest = int(np.argmax(areas))
    reach = NEAR * likely.shape[1]
    item = [
        contour
        for contour, area, box in zip(contours, areas, boxes, strict=True)
        if area >= PART * areas[largest] and _gap(box, boxes[largest]) <= reach
    ]
    inside = np.asarray(cv2.drawContours(np.zeros_like(likely), item, -1, (1,), cv2.FILLED), np.uint8)
    kept = np.where(inside, np.maximum(logits, INSIDE), np.minimum(logits, -INSIDE))
    kept[cv2.dilate(inside, _NEIGHBOURS) == 0] = OUTSIDE
    return np.asarray(kept, np.float32)


def _gap(box: "cv2.typing.Rect", other: "cv2.typing.Rect") -> float:
    across = max(box[0], other[0]) - min(box[0] + box[2], other[0] + other[2])
    down = max(box[1], other[1]) - min(box[1] + box[3], other[1] + other[3])
    return float(np.hypot(max(across, 0), max(down, 0)))


@dataclass(frozen=True, slots=True)
class _Network:
    interpreter: Interpreter
    source: Callable[[], npt.NDArray[Any]]
    result: Callable[[], npt.NDArray[Any]]

    def run(self, differs: Floats) -> Floats:
        np.copyto(self.source()[0], differs)
        self.interpreter.invoke()
        return np.asarray(self.result()[0, ..., 0], np.float32).copy()


@functools.cache
def _network() -> _Network:
    interpreter = open_model(MODEL)
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    return _Network(interpreter, interpreter.tensor(source["index"]), interpreter.tensor(result["index"]))
