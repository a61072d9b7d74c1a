"""Lessons from afar: the last items that were judged, and the process that fits the head to them."""

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from device.common.run_in_subprocess import ChildFault, ask
from device.remote import Refused
from device.remote.background import in_background
from device.remote.lesson_process import Forgotten, RemoteLesson, TaughtHead, TaughtItem
from device.samples.collector import Sample
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.tta import TEACHING_CROPS, frame_crops, mask_crop
from device.vision.judge import Judge

REMEMBERED = 4
"""items whose frames are kept in memory"""
JPEG_QUALITY = 95
"""of those frames: as they are, they would take 0.9 MB each at 640 x 480"""
PROCESS = "device.remote.lesson_process"
FIT_S = 300.0
"""longest time for fitting a head"""


@dataclass(frozen=True, slots=True)
class _RememberedItem:
    """One item, compressed: its frame as JPEG, its mask as PNG, None where it was not isolated."""

    item: str
    jpeg: npt.NDArray[np.uint8]
    png: npt.NDArray[np.uint8] | None

    @classmethod
    def of(cls, sample: Sample) -> "_RememberedItem":
        bgr = cv2.cvtColor(sample.pixels, cv2.COLOR_RGB2BGR)
        jpeg = np.asarray(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1], np.uint8)
        png = None if sample.mask is None else np.asarray(cv2.imencode(".png", sample.mask)[1], np.uint8)
        return cls(sample.note.item, jpeg, png)

    @property
    def pixels(self) -> Pixels:
        return np.asarray(cv2.cvtColor(_decoded(self.jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)

    @property
    def mask(self) -> Pixels | None:
        return None if self.png is None else _decoded(self.png, cv2.IMREAD_GRAYSCALE)


class RemoteLessons:
    """Teaches and forgets, one lesson at a time. Everything here is on the control thread; the fit runs in a process of its own.

    rules: the rule pack's file or name as in the settings, which must have a bin for every label.
    """

    def __init__(self, judge: Judge, state: Path, rules: str) -> None:
        self._judge, self._state, self._rules = judge, state, rules
        self._items: deque[_RememberedItem] = deque(maxlen=REMEMBERED)
        self._busy = False

    def remember(self, sample: Sample) -> None:
        """Keep an item that was judged, and forget the oldest."""
        self._items.append(_RememberedItem.of(sample))

    def teach(self, item: str, label: str) -> Generator[None, float, TaughtHead]:
        """Teach that an item is a `label`. item: its id; empty for the last one. Raises Refused."""
        remembered = next((each for each in reversed(self._items) if item in ("", each.item)), None)
        if remembered is None:
            raise Refused("out_of_range", f"item: expected one of the last {REMEMBERED} items since the start, or none for the last one")
        taught = yield from self._seen(remembered.pixels, remembered.mask)
        return (yield from self._in_process(RemoteLesson(label=label, item=taught)))

    def forget(self, label: str) -> Generator[None, float, TaughtHead]:
        """Forget every photo of a label that was taught. Raises Refused."""
        return (yield from self._in_process(RemoteLesson(label=label, item=Forgotten())))

    def _seen(self, pixels: Pixels, mask: Pixels | None) -> Generator[None, float, TaughtItem]:
        """The item as the network sees it. One crop a step: a network takes milliseconds for each."""
        bundle = self._judge.classifier.bundle
        outputs = []
        for number in range(TEACHING_CROPS):
            crop = frame_crops(pixels)[number] if mask is None else mask_crop(pixels, mask, bundle.info.ground, number)
            outputs.append(self._judge.classifier.outputs(crop))
            yield
        return TaughtItem(
            logits=tuple(tuple(each.logits.tolist()) for each in outputs),
            embeddings=tuple(tuple(each.embedding.tolist()) for each in outputs),
            isolated=mask is not None,
        )

    def _in_process(self, lesson: RemoteLesson) -> Generator[None, float, TaughtHead]:
        if self._busy:
            raise Refused("not_now", "another lesson is being learned")
        self._busy = True
        complete = lesson.at(self._state, self._judge.classifier.bundle.folder, self._rules)
        try:
            return (yield from in_background(lambda: ask(PROCESS, complete, TaughtHead, timeout_s=FIT_S), "teach"))
        except ChildFault as error:
            raise Refused("failed", str(error)) from error
        finally:
            self._busy = False


def _decoded(picture: npt.NDArray[np.uint8], how: int) -> Pixels:
    decoded = cv2.imdecode(picture, how)
    assert decoded is not None, "it was encoded here"
    return np.asarray(decoded, np.uint8)
