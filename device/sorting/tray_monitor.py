"""Watches the tray: waits until something lies there, has settled, or has gone, and notices when the view itself cannot be judged any more.

Whatever is called `wait_...`, `next_...` or `still_...` is a step of the sorter (see `sorter.py`).
"""

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Literal, NamedTuple

from device.cameras import Frame
from device.common.arrays import Float32Array
from device.sorting.control_steps import ControlSteps, Tick
from device.sorting.empty_reference import EmptyReference
from device.sorting.faults import SortingFault
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.occupancy import Occupancy, PresenceSettings
from device.vision.isolation.scene import Change, SceneChange, classify_scene, unusable
from device.vision.isolation.view_change import NewViewCandidate, item_was_removed

OTHER_VIEW_SPREAD = 0.8
"""share of the view's cells that differ from the empty tray above which it is another view or another light, and no item"""
UNSTEADY_AFTER_S = 30.0
"""how long the view may move without a pause before that is the fault `camera`; also the longest time to learn the empty tray"""
BACKGROUND_EVERY_S = 30.0
"""how often the background model takes a new frame of the empty tray, so that items are isolated against it in today's light"""
SCENE_CHECK_S = 1.0
"""how often a view in which nothing moves is examined in full, for an item as dark as the tray, or another light"""
LOST_AFTER_S = 2.0
"""how long the view may be dark, overexposed, in another light or another view before that is the fault `camera`"""
EXPOSURE_S = 5.0
"""the same at the start, while a camera may still adjust its exposure"""
CROSSING_SHARE = 0.01
"""share of the view's border above which something crosses it: two fingers of the width of a tray"""
ARM_AFTER_S = 0.3
"""how long something crosses the border before a closing gate reopens: an item that is thrown in passes faster, an arm stays longer"""
RELEARN_S = 10.0
"""how long the tray may take to be still when a person asks to learn it again"""
NO_FRAME_S = 1.0
"""during a fault: how long to wait for a frame"""

UNSTEADY = "what it sees is never still: does something move there, or the lamp flicker?"
LOST: dict[Change, str] = {
    "dark": "it sees next to nothing, the view is dark: is the lamp on, and the lens free?",
    "overexposed": "it sees next to nothing, the view is overexposed: does the sun or a lamp shine in?",
    "another light": "the light is not what it was when the empty tray was learned; the tray is learned again once the light is steady",
    "another view": "nearly all of the view has changed: was the camera knocked, or the tray covered? It is learned again once the view is steady",
}
"""why the tray cannot be judged, for a person"""
REACHES_IN = "something reaches in over the border of the view, no gate moves until it is gone: take the hand away, or push the item in"


def never() -> bool:
    """What a wait gets that nothing but its own end ends."""
    return False


class Observation(NamedTuple):
    """One frame, when it came, and what the detector says of it."""

    now_s: float
    frame: Frame
    occupancy: Occupancy


class Emptied(NamedTuple):
    """When the tray became empty, monotonic seconds. first_s: the first frame without an item; since_s: the first one of those up to now.

    They differ where something seemed to lie there again in between, as when the light steps.
    """

    first_s: float
    since_s: float


class TrayMonitor:
    """The tray as the camera shows it, compared with the reference: what it looks like empty.

    reference: stored by an earlier start, or still to be learned. earlier_reference: what the tray looked like before the last clean stop. It is not
    trusted, but a tray that matches it is empty: the newer reference was then learned with an item on the tray, or in another light.
    """

    def __init__(self, presence: PresenceSettings, reference: EmptyReference, earlier_reference: EmptyReference | None, steps: ControlSteps) -> None:
        self._presence, self._steps = presence, steps
        self._reference, self._earlier = reference, earlier_reference
        self.detector, self.background = reference
        self._holds_hazard = False
        self._ready = False
        self._unproven: Literal["restored", "relearned"] | None = None
        """how the reference came about, until the tray has matched it once"""
        self._background_s: float | None = None
        self._scene = SceneChange("nothing")
        self._scene_checked_s: float | None = None
        self._lost = False
        self._lost_since_s: float | None = None
        self._view_when_lost: NewViewCandidate | None = None
        self._unsteady_since_s: float | None = None
        self._crossing_since_s: float | None = None
        self._crossing_reported = False

    def recognise_or_learn(self) -> Generator[None, Tick, None]:
        """Wait for a frame. The first time, learn the empty tray, unless a stored reference still fits what the camera shows.

        Raises SortingFault where the view is never still, or nothing can be seen in it, and whatever `ControlSteps.next` raises.
        """
        began_s, frame = yield from self._steps.next_frame()
        if self._ready:
            return
        frame = yield from self._wait_for_exposure(began_s, frame)
        if self.detector.learned and self._shows_another_view(frame.pixels):
            self.detector.reset()
        self._unproven = "restored" if self.detector.learned else None
        if not self.detector.learned:
            self.background.clear()
            while not self.detector.learned:
                now_s, frame = yield from self._steps.next_frame()
                if now_s - began_s > UNSTEADY_AFTER_S:
                    raise SortingFault("camera", f"the empty tray cannot be learned in {UNSTEADY_AFTER_S:g} s: {UNSTEADY}")
                if unusable(frame.pixels) is None:
                    self.detector.learn(frame.pixels)
            self.background.add(frame.pixels)
        self._ready = True

    def wait_until_occupied(self, unless: Callable[[], bool] = never) -> Generator[None, Tick, float | None]:
        """Wait until something lies there, and let the reference follow the empty tray meanwhile. Returns when, monotonic seconds.

        None where `unless` said so before.
        """
        empty_since_s: float | None = None
        while not unless():
            now_s, frame, occupancy = yield from self.next_observation()
            if occupancy.present:
                return now_s
            empty_since_s = _since(not occupancy.moving, empty_since_s, now_s)
            if self._unproven == "restored" and empty_since_s is not None and now_s - empty_since_s >= self._presence.still_s:
                self._unproven = None
            if not occupancy.moving:
                self.detector.adapt()
                self._update_background(now_s, frame)
        return None

    def wait_until_settled(self) -> Generator[None, Tick, bool]:
        """Wait until an item lies still and nothing reaches in. Returns False when it went away again."""
        began_s = still_since_s = None
        while True:
            now_s, frame, occupancy = yield from self.next_observation()
            began_s = now_s if began_s is None or self.reached_into else began_s
            still_since_s = now_s if occupancy.moving or self.reached_into or still_since_s is None else still_since_s
            if now_s - still_since_s >= self._presence.still_s:
                return occupancy.present
            if now_s - began_s >= self._presence.settle_timeout_s:
                if occupancy.present:
                    self._raise_unless_item(frame.pixels)
                return occupancy.present

    def wait_until_empty(self, deadline_s: float | None, unless: Callable[[], bool] = never) -> Generator[None, Tick, Emptied | None]:
        """Wait until the tray has been empty and still for a moment. Returns None when the deadline came first, or `unless` said so.

        The deadline waits while something reaches in.
        """
        first_gone_s: float | None = None
        gone_since_s: float | None = None
        still_since_s: float | None = None
        while not unless():
            now_s, _, occupancy = yield from self.next_observation()
            gone_since_s = _since(not occupancy.present, gone_since_s, now_s)
            still_since_s = _since(not (occupancy.present or occupancy.moving), still_since_s, now_s)
            if gone_since_s is not None:
                first_gone_s = gone_since_s if first_gone_s is None else first_gone_s
                if still_since_s is not None and now_s - still_since_s >= self._presence.still_s:
                    self._unproven = None
                    return Emptied(first_gone_s, gone_since_s)
            if deadline_s is not None and self.reached_into:
                deadline_s = max(deadline_s, now_s + SCENE_CHECK_S)
            if deadline_s is not None and now_s > deadline_s:
                return None
        return None

    def wait_until_clear(self) -> Generator[None, Tick, None]:
        """Wait until nothing has reached in for a moment. Takes one frame where nothing does."""
        reached_in_s: float | None = None
        while True:
            now_s, _, _ = yield from self.next_observation()
            if self.reached_into:
                reached_in_s = now_s
            elif reached_in_s is None or now_s - reached_in_s >= self._presence.still_s:
                return

    def wait_until_clear_during_fault(self) -> Generator[None, Tick, None]:
        """During a fault: wait until nothing has reached in for a moment, or the camera gives no frame for NO_FRAME_S.

        A hand that was learned with the empty tray and has gone leaves a difference at the border. That is no hand: the tray is learned again.
        """
        reached_in_s = frame_s = None
        candidate: NewViewCandidate | None = None
        while self.detector.learned and self._ready:
            tick = yield from self._steps.rest()
            frame_s = tick.now_s if frame_s is None or tick.frame is not None else frame_s
            if tick.now_s - frame_s > NO_FRAME_S:
                return
            if tick.frame is None:
                continue
            _, frame, occupancy = self._observe(tick.now_s, tick.frame)
            if self.reached_into:
                reached_in_s = tick.now_s
                candidate = None if occupancy.moving else NewViewCandidate(frame.pixels, tick.now_s) if candidate is None else candidate
                if (
                    candidate is not None
                    and self.background.learned
                    and candidate.is_confirmed_by(frame.pixels, tick.now_s)
                    and item_was_removed(frame.pixels, self.background)
                ):
                    self._relearn(candidate)
            elif reached_in_s is None or tick.now_s - reached_in_s >= self._presence.still_s:
                return

    def wait_until_view_is_usable(self) -> Generator[None, Tick, None]:
        """After a camera fault: wait for a frame; where the view was lost, until the tray looks as before, or a new view of it has stayed."""
        if not self._ready:
            yield from self.recognise_or_learn()
            return
        now_s, frame = yield from self._steps.next_frame()
        candidate = self._view_when_lost if self._holds_hazard else None
        still_since_s: float | None = None
        while self._lost:
            now_s, frame = yield from self._steps.next_frame()
            still_since_s = _since(not self.detector.observe(frame.pixels).moving, still_since_s, now_s)
            if still_since_s is None or now_s - still_since_s < self._presence.still_s:
                continue
            change = classify_scene(frame.pixels, self.background).change
            if change not in LOST or self._matches_earlier_reference(frame.pixels):
                self._end_lost()
            elif unusable(frame.pixels) is not None:
                candidate = None
            elif candidate is None:
                candidate = NewViewCandidate(frame.pixels, now_s)
            elif candidate.is_confirmed_by(frame.pixels, now_s) and (candidate.item_was_removed or not self._holds_hazard):
                self._relearn(candidate)

    def still_shows(self, thumbnail: Float32Array) -> Generator[None, Tick, bool]:
        """Whether the tray still looks as it did when `detector.thumbnail` was this. Waits while something moves or reaches in."""
        _, _, occupancy = yield from self.next_observation()
        if occupancy.present and not self.reached_into and not self.detector.moved_since(thumbnail):
            return True
        there = yield from self.wait_until_settled()
        return there and not self.detector.moved_since(thumbnail)

    def still_occupied(self) -> Generator[None, Tick, bool]:
        """Whether what lay there lies there still. Waits while something moves or reaches in, or the tray cannot be judged.

        False as soon as the tray is seen empty: what lies there afterwards is another item.
        """
        now_s, frame, occupancy = yield from self.next_observation()
        if occupancy.present and not (occupancy.moving or self.reached_into):
            return True
        began_s = calm_since_s = now_s
        while occupancy.present or self.reached_into:
            if now_s - calm_since_s >= self._presence.still_s:
                return True
            if now_s - began_s >= self._presence.settle_timeout_s:
                self._raise_unless_item(frame.pixels)
                return True
            now_s, frame, occupancy = yield from self.next_observation()
            began_s = now_s if self.reached_into else began_s
            calm_since_s = now_s if occupancy.moving or self.reached_into else calm_since_s
        return False

    def next_observation(self) -> Generator[None, Tick, Observation]:
        """Wait for a new frame, and look at it.

        Raises SortingFault where the tray cannot be judged any more, or something has reached in for too long; and as `ControlSteps.next` does.
        """
        now_s, frame = yield from self._steps.next_frame()
        return self._observe(now_s, frame)

    @property
    def reached_into(self) -> bool:
        """Whether something crossed the border of the view in the last frame."""
        return self._crossing_since_s is not None

    def sees_arm(self, tick: Tick) -> bool:
        """Look at the frame of this tick, if any. Whether an arm reaches in, rather than an item passes. Raises as `next_observation` does."""
        if tick.frame is not None:
            self._observe(tick.now_s, tick.frame)
        return self._crossing_since_s is not None and tick.now_s - self._crossing_since_s >= ARM_AFTER_S

    def hold_hazard(self) -> None:
        """Until `release_hazard`, learn a new view only once something was seen to leave the tray.

        Called before the first frame, it also keeps a restored reference as it is: what the camera shows may have the hazard in it.
        """
        self._holds_hazard = True
        self._ready = self.detector.learned

    def release_hazard(self) -> None:
        """The hazard has left the tray."""
        self._holds_hazard = False

    def reference_is_wrong(self, pixels: Pixels) -> bool:
        """Whether the tray is empty in a frame (H x W x 3 uint8 RGB) though it differs from the reference.

        That can be only until the tray has matched the reference once. A restored one is wrong where something will not leave: the tray changed while
        the bin was off. One that was learned again is wrong where something lay there then, and has gone.
        """
        return self._unproven == "restored" or (self._unproven == "relearned" and item_was_removed(pixels, self.background))

    def relearn(self) -> Generator[None, Tick, bool]:
        """Take the tray as it is for the empty one, once it is still and nothing reaches in: a person says that it is empty.

        False where it was not still in RELEARN_S, or nothing can be seen; then nothing has changed.
        """
        still_since_s: float | None = None
        began_s, frame = yield from self._steps.next_frame()
        now_s = began_s
        while now_s - began_s <= RELEARN_S:
            occupancy = self.detector.observe(frame.pixels)
            reaches_in = occupancy.crossing > CROSSING_SHARE and occupancy.spread <= OTHER_VIEW_SPREAD
            still = not (occupancy.moving or reaches_in) and unusable(frame.pixels) is None
            still_since_s = _since(still, still_since_s, now_s)
            if still_since_s is not None and now_s - still_since_s >= self._presence.still_s:
                self.adopt_as_empty(frame.pixels)
                self._end_lost()
                return True
            now_s, frame = yield from self._steps.next_frame()
        return False

    def adopt_as_empty(self, pixels: Pixels) -> None:
        """Take one frame (H x W x 3 uint8 RGB) for the empty tray from now on."""
        self._unproven = None
        self._earlier = self._reference.copy()
        self._reference.replace(pixels)

    def _observe(self, now_s: float, frame: Frame) -> Observation:
        occupancy = self.detector.observe(frame.pixels)
        self._unsteady_since_s = _since(occupancy.moving, self._unsteady_since_s, now_s)
        if self._unsteady_since_s is not None and now_s - self._unsteady_since_s > UNSTEADY_AFTER_S:
            self._lose_view(UNSTEADY)
        occupancy = self._check_scene(now_s, frame, occupancy)
        self._watch_border(now_s, occupancy)
        return Observation(now_s, frame, occupancy)

    def _check_scene(self, now_s: float, frame: Frame, occupancy: Occupancy) -> Occupancy:
        """Correct what the detector says of a still frame: another light is no item, and a dark item on dark ground is one.

        While the view cannot be judged it counts as moving, so that nothing is decided on it.
        """
        if occupancy.moving or not self.background.learned:
            self._scene_checked_s = None
            return occupancy
        if self._scene_checked_s is None or now_s - self._scene_checked_s >= SCENE_CHECK_S:
            self._scene_checked_s, self._scene = now_s, self._examine(frame.pixels, occupancy)
        change, crossing = self._scene
        if change not in LOST:
            self._lost_since_s = None
            return replace(occupancy, present=change == "item", crossing=crossing)
        self._lost_since_s = now_s if self._lost_since_s is None else self._lost_since_s
        if now_s - self._lost_since_s >= LOST_AFTER_S:
            self._view_when_lost = NewViewCandidate(frame.pixels, now_s) if unusable(frame.pixels) is None else None
            self._lose_view(LOST[change])
        return replace(occupancy, present=True, moving=True, crossing=0.0)

    def _examine(self, pixels: Pixels, occupancy: Occupancy) -> SceneChange:
        scene = classify_scene(pixels, self.background, self._presence.border)
        if scene.change != "nothing" and self._matches_earlier_reference(pixels):
            scene = SceneChange("nothing")
        if scene.change == "nothing" and occupancy.present:
            self.detector.relight(pixels)
        return scene

    def _watch_border(self, now_s: float, occupancy: Occupancy) -> None:
        self._crossing_since_s = _since(occupancy.crossing > CROSSING_SHARE, self._crossing_since_s, now_s)
        if self._crossing_since_s is None:
            self._crossing_reported = False
            return
        self._steps.keep_open(now_s)
        if now_s - self._crossing_since_s > self._presence.reach_s and not self._crossing_reported:
            self._crossing_reported = True
            if occupancy.spread > OTHER_VIEW_SPREAD:
                self._lose_view(UNSTEADY)
            raise SortingFault("obstruction", REACHES_IN)

    def _update_background(self, now_s: float, frame: Frame) -> None:
        if self._background_s is None or now_s - self._background_s >= BACKGROUND_EVERY_S:
            self._background_s = now_s
            self.background.add(frame.pixels)

    def _raise_unless_item(self, pixels: Pixels) -> None:
        """Raise SortingFault where what never settled is the light rather than an item."""
        change = classify_scene(pixels, self.background).change if self.background.learned else "item"
        if change != "item":
            self._lose_view(LOST.get(change, UNSTEADY))

    def _lose_view(self, why: str) -> None:
        """Raise SortingFault: the tray cannot be judged any more."""
        self._lost = True
        raise SortingFault("camera", why)

    def _end_lost(self) -> None:
        self._lost = False
        self._lost_since_s = self._scene_checked_s = self._crossing_since_s = self._unsteady_since_s = None
        self._crossing_reported = False

    def _relearn(self, candidate: NewViewCandidate) -> None:
        self._earlier = self._reference.copy()
        self.detector.replace(candidate.pixels)
        self.background.copy_from(candidate.empty)
        self._unproven = "relearned"
        self._end_lost()

    def _wait_for_exposure(self, began_s: float, frame: Frame) -> Generator[None, Tick, Frame]:
        while (trouble := unusable(frame.pixels)) is not None:
            now_s, frame = yield from self._steps.next_frame()
            if now_s - began_s > EXPOSURE_S:
                raise SortingFault("camera", LOST[trouble])
        return frame

    def _shows_another_view(self, pixels: Pixels) -> bool:
        if self.background.learned:
            return classify_scene(pixels, self.background).change in LOST
        return self.detector.observe(pixels).spread > OTHER_VIEW_SPREAD

    def _matches_earlier_reference(self, pixels: Pixels) -> bool:
        """Whether the tray looks as the earlier reference. Then the two change places."""
        if self._earlier is None or not self._earlier.learned:
            return False
        if self._earlier.detector.observe(pixels).present or classify_scene(pixels, self._earlier.background).change != "nothing":
            return False
        earlier, self._earlier = self._earlier, self._reference.copy()
        self._reference.copy_from(earlier)
        return True


def _since(holds: bool, since_s: float | None, now_s: float) -> float | None:
    """Since when a condition has held without a break; None while it does not hold. since_s: the same before this moment."""
    return None if not holds else now_s if since_s is None else since_s
