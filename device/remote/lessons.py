"""Lessons from afar: the last items that were judged, and the process that fits the head to them."""

from collections import deque
from collections.abc import Generator
from pathlib import Path

from device.common.run_in_subprocess import ChildFault, ask
from device.remote import Refused
from device.remote.background import in_background
from device.remote.lesson_process import Forgotten, RemoteLesson, TaughtHead, TaughtItem
from device.samples.collector import Sample
from device.vision.isolation.tta import TEACHING_CROPS, frame_crops, mask_crop
from device.vision.judge import Judge

REMEMBERED = 4
"""items whose frames are kept in memory, 0.9 MB each at 640 x 480"""
PROCESS = "device.remote.lesson_process"
FIT_S = 300.0
"""longest time for fitting a head"""


class RemoteLessons:
    """Teaches and forgets, one lesson at a time. Everything here is on the control thread; the fit runs in a process of its own.

    rules: the rule pack's file or name as in the settings, which must have a bin for every label.
    """

    def __init__(self, judge: Judge, state: Path, rules: str) -> None:
        self._judge, self._state, self._rules = judge, state, rules
        self._items: deque[Sample] = deque(maxlen=REMEMBERED)
        self._busy = False

    def remember(self, sample: Sample) -> None:
        """Keep an item that was judged, and forget the oldest."""
        self._items.append(sample)

    def teach(self, item: str, label: str) -> Generator[None, float, TaughtHead]:
        """Teach that an item is a `label`. item: its id; empty for the last one. Raises Refused."""
        sample = next((each for each in reversed(self._items) if item in ("", each.note.item)), None)
        if sample is None:
            raise Refused("out_of_range", f"item: expected one of the last {REMEMBERED} items since the start, or none for the last one")
        taught = yield from self._seen(sample)
        return (yield from self._in_process(RemoteLesson(label=label, item=taught)))

    def forget(self, label: str) -> Generator[None, float, TaughtHead]:
        """Forget every photo of a label that was taught. Raises Refused."""
        return (yield from self._in_process(RemoteLesson(label=label, item=Forgotten())))

    def _seen(self, sample: Sample) -> Generator[None, float, TaughtItem]:
        """The item as the network sees it. One crop a step: a network takes milliseconds for each."""
        bundle = self._judge.classifier.bundle
        outputs = []
        for number in range(TEACHING_CROPS):
            crop = frame_crops(sample.pixels)[number] if sample.mask is None else mask_crop(sample.pixels, sample.mask, bundle.info.ground, number)
            outputs.append(self._judge.classifier.outputs(crop))
            yield
        return TaughtItem(
            logits=tuple(tuple(each.logits.tolist()) for each in outputs),
            embeddings=tuple(tuple(each.embedding.tolist()) for each in outputs),
            isolated=sample.mask is not None,
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
