"""Frames of an item at an exposure of its own, where it is black or white all over at that of the whole view, as against the light.

They are judged with the mask that was found at the usual exposure, and never compared with the tray.
"""

import logging
import math
from collections.abc import Callable, Generator

from device.sorting.control_steps import ControlSteps, Tick
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.exposure import exposure_change, item_light

log = logging.getLogger(__name__)

ANSWER_S = 0.6
"""longest wait for a frame at the exposure that was asked for. At ten frames a second a ribbon camera may need five: two or three are in its queue,
and the sensor takes two more"""
FRAMES = 2
"""frames of an item at its own exposure"""
MOST_ASKED = 2
"""how often another exposure is asked for, for one item: once more where the first frame shows that it was not metered well"""
LEAST_CHANGE = math.log(1.5)
"""least change of exposure that is worth a frame, as a logarithm"""
LEAST_EFFECT = 0.3
"""least share of the change that was asked for, in logarithms, that has to show in the item; a camera that ignores it shows none"""
MOST_FAILURES = 3
"""after so many items in a row for which the camera did nothing it is not asked again"""


AskExposure = Callable[[float, int], float]
"""see `CameraThread.ask_exposure`"""


class ItemExposure:
    """Asks the camera for frames exposed for an item, and sets it back. Its methods are steps of the sorter (see `sorter.py`)."""

    def __init__(self, steps: ControlSteps, ask: AskExposure) -> None:
        self._steps, self._ask = steps, ask
        self._failures = 0

    def frames(self, pixels: Pixels, mask: Pixels) -> Generator[None, Tick, list[Pixels]]:
        """Frames of the item at its own exposure, H x W x 3 uint8 RGB; none where it needs none, or the camera gives none in time.

        pixels: the item at the usual exposure. mask: H x W uint8, 255 on the item. The usual exposure is set again in every case. Frames at that
        come later. Raises as `ControlSteps.next` does.
        """
        change = exposure_change(pixels, mask)
        if change == 1.0 or self._failures >= MOST_FAILURES:
            return []
        try:
            granted = self._ask(change, FRAMES)
            found = (yield from self._exposed(pixels, mask, granted)) if abs(math.log(granted)) >= LEAST_CHANGE else []
        finally:
            self._ask(1.0, 0)
        if granted != 1.0:
            self._count_failure(not found)
        return found

    def _exposed(self, pixels: Pixels, mask: Pixels, granted: float) -> Generator[None, Tick, list[Pixels]]:
        before, light = 1.0, item_light(pixels, mask)
        found: list[Pixels] = []
        for _ in range(MOST_ASKED):
            answer = yield from self._next_answer(before, granted)
            if answer is None:
                return found
            brighter = item_light(answer, mask) / light
            if math.log(brighter) / math.log(granted / before) < LEAST_EFFECT:
                return found
            found, before, light = [answer], granted, light * brighter
            change = exposure_change(answer, mask)
            granted = before if change == 1.0 else self._ask(before * change, FRAMES)
            if abs(math.log(granted / before)) < LEAST_CHANGE:
                break
        return found + (yield from self._more(FRAMES - len(found)))

    def _more(self, number: int) -> Generator[None, Tick, list[Pixels]]:
        """At most so many frames that follow at this exposure: until a usual one comes, since a slow loop may have missed some."""
        found: list[Pixels] = []
        until_s = math.inf
        while len(found) < number:
            tick = yield from self._steps.next()
            until_s = min(until_s, tick.now_s + ANSWER_S)
            if tick.frame is not None or tick.now_s > until_s:
                break
            if tick.exposed is not None and tick.exposed.exposure is not None:
                found.append(tick.exposed.pixels)
        return found

    def _next_answer(self, before: float, asked: float) -> Generator[None, Tick, Pixels | None]:
        """The next frame whose exposure is nearer to what was asked for than to what it was before; None if none comes in time."""
        tick = yield from self._steps.next()
        until_s = tick.now_s + ANSWER_S
        while tick.now_s < until_s:
            if tick.exposed is not None and tick.exposed.exposure is not None:
                step = math.log(tick.exposed.exposure / before) / math.log(asked / before)
                if step > 0.5:
                    return tick.exposed.pixels
            tick = yield from self._steps.next()
        return None

    def _count_failure(self, failed: bool) -> None:
        self._failures = self._failures + 1 if failed else 0
        if self._failures == MOST_FAILURES:
            log.warning("camera: does not expose for an item, %d times in a row, and is not asked again until the next start", MOST_FAILURES)
