"""Find the outline of one item with a small segmentation network, which tells items from shadows and glints and finds clear bottles.

The network (`device/models/outline`, written by `training outline`) is a U-Net (Ronneberger, Fischer and Brox 2015) with 0.16 million INT8 weights.
Its input is differences in units of the camera's own noise, not colours, so it works at sites that it was not trained on.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels
from device.vision.inference.runtime import Interpreter, RuntimeFault, first_line, open_model

MODEL = Path(__file__).parents[2] / "models" / "outline" / "outline_int8.tflite"
LEAST_CERTAINTY = 2.5
"""least of the highest logit for an item. In rendered places items reached at least 4.3 (n = 288), empty views at most 0.2 (n = 36)"""
PART = 0.15
"""least area of a further piece of an item, as a share of the largest piece"""
NEAR = 0.12
"""largest distance of a further piece from the largest one, as a share of the view's width"""
SOFT = 2.0
"""the mask's edge is soft between minus and plus this logit"""
INSIDE = 32
"""least distance of the mask from its middle value 127, both on the item, with its holes, and around it"""
_LEAST_INSIDE, _MOST_AROUND = np.uint8(127 + INSIDE), np.uint8(127 - INSIDE)
_NEIGHBOURS = np.ones((5, 5), np.uint8)


class Outline(NamedTuple):
    """Where the item is.

    item: HEIGHT x WIDTH uint8, 128 to 255 on the item, 0 beyond two pixels from it. certainty: the highest logit on the item. likely: 255 wherever
    something may lie, in any number of pieces, else 0.
    """

    item: Pixels
    certainty: float
    likely: Pixels


def find_outline(difference: Float32Array) -> Outline:
    """Find the outline of the item.

    difference: CHANNELS x HEIGHT x WIDTH, from `difference_channels`. For one thread at a time. Raises RuntimeFault where no runtime is installed, or
    it fails.
    """
    logits = _network().run(difference)
    likely = np.asarray(cv2.threshold(logits, 0, 255, cv2.THRESH_BINARY)[1], np.uint8)
    item = _one_item(likely)
    if item is None:
        return Outline(np.zeros(logits.shape, np.uint8), 0.0, likely)
    soft = np.asarray(cv2.addWeighted(logits, 127 / SOFT, logits, 0, 127, dtype=cv2.CV_8U), np.uint8)
    around = cv2.bitwise_and(np.minimum(soft, _MOST_AROUND), cv2.dilate(item, _NEIGHBOURS))
    drawn = np.asarray(cv2.copyTo(np.maximum(soft, _LEAST_INSIDE), item, around), np.uint8)
    return Outline(drawn, cv2.minMaxLoc(logits, item)[1], likely)


def _one_item(likely: Pixels) -> Pixels | None:
    """The largest piece with holes filled, and near pieces that are not much smaller: of a clear bottle only cap and glints differ. 255 on it."""
    contours, within = cv2.findContours(likely, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    if len(contours) == 1:
        return likely  # one piece without a hole
    contours = [contour for contour, (_, _, _, outer) in zip(contours, within[0], strict=True) if outer < 0]
    pieces = [(cv2.contourArea(contour) + len(contour) / 2, contour) for contour in contours]
    most, largest = max(pieces, key=lambda piece: piece[0])
    box, reach = cv2.boundingRect(largest), NEAR * likely.shape[1]
    item = [contour for area, contour in pieces if area >= PART * most and _gap(cv2.boundingRect(contour), box) <= reach]
    return np.asarray(cv2.drawContours(np.zeros_like(likely), item, -1, (255,), cv2.FILLED), np.uint8)


def _gap(box: "cv2.typing.Rect", other: "cv2.typing.Rect") -> float:
    across = max(box[0], other[0]) - min(box[0] + box[2], other[0] + other[2])
    down = max(box[1], other[1]) - min(box[1] + box[3], other[1] + other[3])
    return math.hypot(max(across, 0), max(down, 0))


@dataclass(frozen=True, slots=True)
class _Network:
    interpreter: Interpreter
    source: Callable[[], npt.NDArray[Any]]
    result: Callable[[], npt.NDArray[Any]]

    def run(self, difference: Float32Array) -> Float32Array:
        cv2.merge(list(difference), self.source()[0])
        try:
            self.interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise RuntimeFault(f"{MODEL.name} failed on a picture: {first_line(error)}") from error
        return np.asarray(self.result()[0, ..., 0], np.float32).copy()


@functools.cache
def _network() -> _Network:
    interpreter = open_model(MODEL)
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    return _Network(interpreter, interpreter.tensor(source["index"]), interpreter.tensor(result["index"]))
