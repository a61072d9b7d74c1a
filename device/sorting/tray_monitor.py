"""What lies on the tray: steps that wait until something is there, lies still, or has gone."""

from collections.abc import Generator
from dataclasses import replace
from typing import NamedTuple

from device.cameras import Frame
from device.common.arrays import Float32Array
from device.sorting.control_steps import ControlSteps, Tick
from device.sorting.faults import Failure
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.occupancy import OccupancyDetector, PresenceSettings, Sight
from device.vision.isolation.scene import Change, SceneChange, scene_of, unusable
from device.vision.isolation.view_change import NewLook, has_gone

OTHER_PLACE = 0.8
"""share of the view's cells that differ from the empty tray above which it is another view or another light"""

LEARN_S = 30.0
"""how long the view may move without a moment's rest before that is told"""

SEE_EMPTY_S = 30.0
"""how often the empty tray is looked at again, so that items are isolated against it in today's light"""

CHECK_S = 1.0
"""how often a view in which nothing moves is looked at as carefully as an item, for something as dark as the tray, or another light"""

LOST_S = 2.0
"""how long the tray may not be told from another view, another light or darkness before that is said"""

UNUSABLE_S = 5.0
"""the same at the start, while a camera may still find its exposure"""

CROSSES = 0.01
"""share of the view's border above which something crosses it: two fingers of the width of a tray"""

SILENT_S = 1.0
"""how long to wait for a frame amid a fault"""

REACT_S = 0.3
"""how long something crosses the border before a gate that closes turns round: an item that is thrown in passes faster, an arm stays longer"""

UNSTEADY = "what it sees is never still: does something move there, or the lamp flicker?"
LOST: dict[Change, str] = {
    "dark": "it sees next to nothing, the view is dark: is the lamp on, and the lens free?",
    "overexposed": "it sees next to nothing, the view is overexposed: does the sun or a lamp shine in?",
    "another light": "the light is not what it was when the empty tray was learned; it is learned anew once it stays as it is",
    "another view": "nearly all of the view has changed: was the camera knocked, or the tray covered? It is learned anew once it stays as it is",
}
"""what keeps the tray from being told, for a person"""

REACHES_IN = "something reaches in over the border of the view, no gate moves until it is gone: take the hand away, or push the item in"


class View(NamedTuple):
    """A frame and what presence made of it."""

    now_s: float
    frame: Frame
    sight: Sight


class EmptyReference(NamedTuple):
    """The tray with nothing on it: `view` to see that something is there, `empty` to see what."""

    view: OccupancyDetector
    empty: BackgroundModel


class TrayMonitor:
    """The tray as the camera shows it, against what it looks like with nothing on it.

    bare: what it looks like with nothing on it, remembered or still unknown. before: what it looked like before the last stop, where that is not
    trusted. A tray that looks as before is empty, for what was learned since then shows something that has gone, or another light.
    holds: what lies there must not leave unseen. No new look is learned with it, only one that it was seen to leave.
    """

    def __init__(self, presence: PresenceSettings, bare: EmptyReference, before: EmptyReference | None, steps: ControlSteps) -> None:
        self._presence, self._steps = presence, steps
        self.view, self.empty = bare
        self.holds = False
        self._before = before
        self._recognised = self._unproven = False
        self._saw_empty_s: float | None = None
        self._checked_s: float | None = None
        self._scene = SceneChange("nothing")
        self._lost_since_s: float | None = None
        self._is_lost = False
        self._look_when_lost: NewLook | None = None
        self._unsteady_since_s: float | None = None
        self._crossing_since_s: float | None = None
        self._told_of_crossing = False

    def recognise(self) -> Generator[None, Tick, None]:
        """Wait for a frame. The first time, learn the empty view, unless the one of an earlier start still fits what the camera shows.

        Raises what `ControlSteps.next` raises, and Failure where the view is never still, or nothing can be seen in it.
        """
        began_s, frame = yield from self._steps.next_frame()
        if self._recognised:
            return
        frame = yield from self._until_usable(began_s, frame)
        if self.view.known and self._shows_another_place(frame.pixels):
            self.view.forget()
        self._unproven = self.view.known
        if not self.view.known:
            self.empty.forget()
            while not self.view.known:
                now_s, frame = yield from self._steps.next_frame()
                if now_s - began_s > LEARN_S:
                    raise Failure("camera", f"the empty tray cannot be learned in {LEARN_S:g} s: {UNSTEADY}")
                if unusable(frame.pixels) is None:
                    self.view.learn(frame.pixels)
            self.empty.see(frame.pixels)
        self._recognised = True

    def until_it_sees(self) -> Generator[None, Tick, None]:
        """After a fault of the camera: wait for a frame, and where the tray was lost until it is seen as it was, or a new look of it has stayed."""
        if not self._recognised:
            yield from self.recognise()
            return
        now_s, frame = yield from self._steps.next_frame()
        look = self._look_when_lost if self.holds else None
        still_since_s: float | None = None
        while self._is_lost:
            now_s, frame = yield from self._steps.next_frame()
            still_since_s = None if self.view.look(frame.pixels).moving else now_s if still_since_s is None else still_since_s
            if still_since_s is None or now_s - still_since_s < self._presence.still_s:
                continue
            change = scene_of(frame.pixels, self.empty).change
            if change not in LOST or self._looks_as_before(frame.pixels):
                self._found()
            elif unusable(frame.pixels) is not None:
                look = None
            elif look is None:
                look = NewLook(frame.pixels, now_s)
            elif look.stays(frame.pixels, now_s) and (look.something_left or not self.holds):
                self._learn(look)

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
        """Wait for an item to come to rest, with nothing reaching in. False when it went away again."""
        began_s = still_since_s = None
        while True:
            now_s, frame, sight = yield from self.next_view()
            waits = self._crossing_since_s is not None
            began_s = now_s if began_s is None or waits else began_s
            still_since_s = now_s if sight.moving or waits or still_since_s is None else still_since_s
            if now_s - still_since_s >= self._presence.still_s:
                return sight.present
            if now_s - began_s >= self._presence.settle_timeout_s:
                return sight.present and self._is_an_item_that_moves(frame.pixels)

    def until_empty(self, deadline_s: float | None) -> Generator[None, Tick, float | None]:
        """Wait until the tray has been empty and still for a moment. Returns since when nothing lay there, None when the deadline came first.

        The deadline waits while something reaches in.
        """
        gone_since_s = still_since_s = None
        while True:
            now_s, _, sight = yield from self.next_view()
            gone_since_s = None if sight.present else now_s if gone_since_s is None else gone_since_s
            still_since_s = None if sight.present or sight.moving else now_s if still_since_s is None else still_since_s
            if gone_since_s is not None and still_since_s is not None and now_s - still_since_s >= self._presence.still_s:
                self._unproven = False
                return gone_since_s
            if deadline_s is not None and self._crossing_since_s is not None:
                deadline_s = max(deadline_s, now_s + CHECK_S)
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
        self._before = EmptyReference(self.view.copy(), self.empty.copy())
        self.view.adopt(item)
        self.empty.forget()
        self.empty.see(item)

    def until_clear(self) -> Generator[None, Tick, None]:
        """Look whether something reaches in, and wait until it has been gone for a moment."""
        reached_in_s: float | None = None
        while True:
            now_s, _, _ = yield from self.next_view()
            if self._crossing_since_s is not None:
                reached_in_s = now_s
            elif reached_in_s is None or now_s - reached_in_s >= self._presence.still_s:
                return

    def until_clear_amid_a_fault(self) -> Generator[None, Tick, None]:
        """The same while a part has failed, and its failing again is no news. Returns, too, where the camera shows nothing for SILENT_S.

        What was learned as a part of the empty tray and has gone since is no hand: the tray is learned anew without it.
        """
        reached_in_s = frame_s = None
        look: NewLook | None = None
        while self.view.known and self._recognised:
            tick = yield from self._steps.rest()
            frame_s = tick.now_s if frame_s is None or tick.frame is not None else frame_s
            if tick.now_s - frame_s > SILENT_S:
                return
            if tick.frame is None:
                continue
            _, frame, sight = self._seen(tick.now_s, tick.frame)
            if self._crossing_since_s is not None:
                reached_in_s = tick.now_s
                look = None if sight.moving else NewLook(frame.pixels, tick.now_s) if look is None else look
                if look is not None and self.empty.known and look.stays(frame.pixels, tick.now_s) and has_gone(frame.pixels, self.empty):
                    self._learn(look)
            elif reached_in_s is None or tick.now_s - reached_in_s >= self._presence.still_s:
                return

    def still_shows(self, thumbnail: Float32Array) -> Generator[None, Tick, bool]:
        """Whether the same thing lies there as when `view.thumbnail` was this, waiting for whatever moves or reaches in."""
        _, _, sight = yield from self.next_view()
        if sight.present and self._crossing_since_s is None and not self.view.moved_since(thumbnail):
            return True
        there = yield from self.until_it_lies_still()
        return there and not self.view.moved_since(thumbnail)

    def still_holds_something(self) -> Generator[None, Tick, bool]:
        """Whether anything lies there, waiting for whatever moves or reaches in, or while the tray cannot be told."""
        _, _, sight = yield from self.next_view()
        if sight.present and not sight.moving and self._crossing_since_s is None:
            return True
        return (yield from self.until_it_lies_still())

    def next_view(self) -> Generator[None, Tick, View]:
        """ControlSteps until there is a frame that was not seen before, and what is on it.

        Raises what `ControlSteps.next` raises, and Failure where the tray cannot be told any more, or something has reached in for too long.
        """
        now_s, frame = yield from self._steps.next_frame()
        return self._seen(now_s, frame)

    @property
    def reached_into(self) -> bool:
        """Whether something crossed the border of the view in the last frame."""
        return self._crossing_since_s is not None

    def reaches_in(self, tick: Tick) -> bool:
        """Look at the frame of this tick, if there is one: whether an arm reaches in, rather than an item flying by. Raises as `next_view` does."""
        if tick.frame is not None:
            self._seen(tick.now_s, tick.frame)
        return self._crossing_since_s is not None and tick.now_s - self._crossing_since_s >= REACT_S

    def _seen(self, now_s: float, frame: Frame) -> View:
        sight = self.view.look(frame.pixels)
        self._unsteady_since_s = None if not sight.moving else now_s if self._unsteady_since_s is None else self._unsteady_since_s
        if self._unsteady_since_s is not None and now_s - self._unsteady_since_s > LEARN_S:
            self._lose(UNSTEADY)
        sight = self._checked(now_s, frame, sight)
        self._watch_the_border(now_s, sight)
        return View(now_s, frame, sight)

    def _see_empty(self, now_s: float, frame: Frame) -> None:
        if self._saw_empty_s is None or now_s - self._saw_empty_s >= SEE_EMPTY_S:
            self._saw_empty_s = now_s
            self.empty.see(frame.pixels)

    def _checked(self, now_s: float, frame: Frame, sight: Sight) -> Sight:
        """The same sight, with a second opinion where nothing moves: another light is no item, and a dark item on dark ground is one.

        While the tray cannot be told, the view counts as moving, so that nothing is decided on it.
        """
        if sight.moving or not self.empty.known:
            self._checked_s = None
            return sight
        if self._checked_s is None or now_s - self._checked_s >= CHECK_S:
            self._checked_s, self._scene = now_s, self._scene_of(frame.pixels, sight)
        change, crossing = self._scene
        if change not in LOST:
            self._lost_since_s = None
            return replace(sight, present=change == "item", crossing=crossing)
        self._lost_since_s = now_s if self._lost_since_s is None else self._lost_since_s
        if now_s - self._lost_since_s >= LOST_S:
            self._look_when_lost = NewLook(frame.pixels, now_s) if unusable(frame.pixels) is None else None
            self._lose(LOST[change])
        return replace(sight, present=True, moving=True, crossing=0.0)

    def _scene_of(self, pixels: Pixels, sight: Sight) -> SceneChange:
        scene = scene_of(pixels, self.empty, self._presence.border)
        if scene.change != "nothing" and self._looks_as_before(pixels):
            scene = SceneChange("nothing")
        if scene.change == "nothing" and sight.present:
            self.view.relight(pixels)
        return scene

    def _watch_the_border(self, now_s: float, sight: Sight) -> None:
        if sight.crossing <= CROSSES:
            self._crossing_since_s, self._told_of_crossing = None, False
            return
        self._steps.keep_open(now_s)
        self._crossing_since_s = now_s if self._crossing_since_s is None else self._crossing_since_s
        if now_s - self._crossing_since_s > self._presence.reach_s and not self._told_of_crossing:
            self._told_of_crossing = True
            if sight.spread > OTHER_PLACE:
                self._lose(UNSTEADY)
            raise Failure("obstruction", REACHES_IN)

    def _is_an_item_that_moves(self, pixels: Pixels) -> bool:
        """Whether what never came to rest is an item. Raises Failure where it rather is the light."""
        if not self.empty.known:
            return True
        change = scene_of(pixels, self.empty).change
        if change != "item":
            self._lose(LOST.get(change, UNSTEADY))
        return True

    def _lose(self, why: str) -> None:
        """Raise Failure: the tray cannot be told any more."""
        self._is_lost = True
        raise Failure("camera", why)

    def _found(self) -> None:
        self._is_lost = False
        self._lost_since_s = self._checked_s = self._crossing_since_s = self._unsteady_since_s = None
        self._told_of_crossing = False

    def _learn(self, look: NewLook) -> None:
        self._before = EmptyReference(self.view.copy(), self.empty.copy())
        self.view.adopt(look.pixels)
        self.empty.take_over(look.empty)
        self._unproven = True
        self._found()

    def _until_usable(self, began_s: float, frame: Frame) -> Generator[None, Tick, Frame]:
        while (trouble := unusable(frame.pixels)) is not None:
            now_s, frame = yield from self._steps.next_frame()
            if now_s - began_s > UNUSABLE_S:
                raise Failure("camera", LOST[trouble])
        return frame

    def _shows_another_place(self, pixels: Pixels) -> bool:
        if self.empty.known:
            return scene_of(pixels, self.empty).change in LOST
        return self.view.look(pixels).spread > OTHER_PLACE

    def _looks_as_before(self, pixels: Pixels) -> bool:
        """Whether the tray looks as before. Then that is its bare look again, and the one since then is what it looked like before."""
        if self._before is None or not (self._before.view.known and self._before.empty.known):
            return False
        view, empty = self._before
        if view.look(pixels).present or scene_of(pixels, empty).change != "nothing":
            return False
        self._before = EmptyReference(self.view.copy(), self.empty.copy())
        self.view.take_over(view)
        self.empty.take_over(empty)
        return True
