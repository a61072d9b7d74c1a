"""What lies on the tray: steps that wait until something is there, lies still, or has gone."""

from collections.abc import Generator
from dataclasses import replace
from typing import NamedTuple

from device.cameras import Frame
from device.failure import Failure
from device.steps import Steps, Tick
from device.vision.empty import EmptyViews
from device.vision.isolate import lies_there
from device.vision.preprocess import Pixels
from device.vision.presence import EmptyView, Floats, PresenceSettings, Sight

OTHER_PLACE = 0.8
"""share of the view's cells that differ from the remembered empty tray, at the start, above which it is another view or another light"""

LEARN_S = 30.0
"""how long the view may move before that is said to keep the empty tray from being learned"""

SEE_EMPTY_S = 30.0
"""how often the empty tray is looked at again, so that items are isolated against it in today's light"""

CHECK_S = 1.0
"""how often a view in which nothing moves is looked at as carefully as an item, for something as dark as the tray, or another light"""


class View(NamedTuple):
    """A frame and what presence made of it."""

    now_s: float
    frame: Frame
    sight: Sight


class Bare(NamedTuple):
    """The tray with nothing on it: `view` to see that something is there, `empty` to see what."""

    view: EmptyView
    empty: EmptyViews


class Tray:
    """The tray as the camera shows it, against what it looks like with nothing on it.

    bare: what it looks like with nothing on it, remembered or still unknown. before: what it looked like before the last stop, where that is not
    trusted. A tray that looks as before is empty, for what was learned since then shows something that has gone.
    """

    def __init__(self, presence: PresenceSettings, bare: Bare, before: Bare | None, steps: Steps) -> None:
        self._presence, self._steps = presence, steps
        self.view, self.empty = bare
        self._before = before
        self._recognised = self._unproven = False
        self._saw_empty_s: float | None = None
        self._checked_s: float | None = None
        self._lies_there: bool | None = None

    def recognise(self) -> Generator[None, Tick, None]:
        """Wait for a frame. The first time, learn the empty view, unless the one of an earlier start still fits what the camera shows.

        Raises what `Steps.next` raises, and Failure where the view is never still.
        """
        began_s, frame = yield from self._steps.next_frame()
        if self._recognised:
            return
        if self.view.known and self.view.look(frame.pixels).spread > OTHER_PLACE:
            self.view.forget()
        self._unproven = self.view.known
        if not self.view.known:
            self.empty.forget()
            while not self.view.known:
                now_s, frame = yield from self._steps.next_frame()
                if now_s - began_s > LEARN_S:
                    cure = "does something move there, or the lamp flicker?"
                    raise Failure("camera", f"what it sees was never still in {LEARN_S:g} s, so the empty tray cannot be learned: {cure}")
                self.view.learn(frame.pixels)
            self.empty.see(frame.pixels)
        self._recognised = True

    def until_something_lies_there(self) -> Generator[None, Tick, float]:
        """Wait, and learn meanwhile how the empty tray changes. Returns when something was seen, monotonic seconds."""
        while True:
            now_s, frame, sight = yield from self.next_view()
            if sight.present:
                return now_s
            if not sight.moving:
                self.view.adapt()
                self._see_empty(now_s, frame)

    def until_it_lies_still(self) -> Generator[None, Tick, bool]:
        """Wait for an item to come to rest. False when it went away again."""
        began_s = still_since_s = None
        while True:
            now_s, _, sight = yield from self.next_view()
            began_s = now_s if began_s is None else began_s
            still_since_s = now_s if sight.moving or still_since_s is None else still_since_s
            settled = now_s - still_since_s >= self._presence.still_s
            if settled and not sight.present:
                return False
            if settled or now_s - began_s >= self._presence.settle_timeout_s:
                return sight.present

    def until_empty(self, deadline_s: float | None) -> Generator[None, Tick, float | None]:
        """Wait until the tray has been empty and still for a moment. Returns since when nothing lay there, None when the deadline came first."""
        gone_since_s = still_since_s = None
        while True:
            now_s, _, sight = yield from self.next_view()
            gone_since_s = None if sight.present else now_s if gone_since_s is None else gone_since_s
            still_since_s = None if sight.present or sight.moving else now_s if still_since_s is None else still_since_s
            if gone_since_s is not None and still_since_s is not None and now_s - still_since_s >= self._presence.still_s:
                self._unproven = False
                return gone_since_s
            if deadline_s is not None and now_s > deadline_s:
                return None

    def until_it_went(self, item: Pixels) -> Generator[None, Tick, None]:
        """Wait until an item has gone that did not leave through its gate. item: H x W x 3 uint8 RGB, the frame that shows it.

        Where nothing has left the tray since the start, the tray rather looks otherwise than it was remembered: then that is its empty look from
        now on.
        """
        if not self._unproven:
            yield from self.until_empty(deadline_s=None)
            return
        self._unproven = False
        self._before = Bare(self.view.copy(), self.empty.copy())
        self.view.adopt(item)
        self.empty.forget()
        self.empty.see(item)

    def still_shows(self, thumbnail: Floats) -> Generator[None, Tick, bool]:
        """Whether the same thing lies there as when `view.thumbnail` was this, waiting for whatever moves to come to rest."""
        _, _, sight = yield from self.next_view()
        if sight.present and not self.view.moved_since(thumbnail):
            return True
        there = yield from self.until_it_lies_still()
        return there and not self.view.moved_since(thumbnail)

    def next_view(self) -> Generator[None, Tick, View]:
        """Steps until there is a frame that was not seen before, and what is on it. Raises what `Steps.next` raises."""
        now_s, frame = yield from self._steps.next_frame()
        return View(now_s, frame, self._checked(now_s, frame, self.view.look(frame.pixels)))

    def _see_empty(self, now_s: float, frame: Frame) -> None:
        if self._saw_empty_s is None or now_s - self._saw_empty_s >= SEE_EMPTY_S:
            self._saw_empty_s = now_s
            self.empty.see(frame.pixels)

    def _checked(self, now_s: float, frame: Frame, sight: Sight) -> Sight:
        """The same sight, with a second opinion where nothing moves: a lamp's step is no item, and a dark item on dark ground is one."""
        if sight.moving or not self.empty.known:
            self._checked_s = None
            return sight
        if self._checked_s is None or now_s - self._checked_s >= CHECK_S:
            self._checked_s, self._lies_there = now_s, lies_there(frame.pixels, self.empty)
            if (sight.present or self._lies_there) and self._looks_as_before(frame.pixels):
                self._lies_there = False
        return sight if self._lies_there is None else replace(sight, present=self._lies_there)

    def _looks_as_before(self, pixels: Pixels) -> bool:
        """Whether the tray looks as before. Then that is its bare look again."""
        if self._before is None or not (self._before.view.known and self._before.empty.known):
            return False
        view, empty = self._before
        if view.look(pixels).present or lies_there(pixels, empty) is not False:
            return False
        self._before = None
        self.view.take_over(view)
        self.empty.take_over(empty)
        return True
