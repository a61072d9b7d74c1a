"""The life of one item: it appears, settles, is looked at, judged, let through a gate, and remembered.

The sorter is one story told in steps. `Sorter.tick` is called with the time and the newest frame and returns at once; each
`yield from self._next()` below is one such call. Nothing here waits, touches a disk or a network, or reads a clock, so the same code
runs on a bin, in the demo and under simulated time.
"""

import contextlib
import uuid
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import replace
from typing import Annotated, Literal, NamedTuple, Protocol

import msgspec
import numpy as np
from msgspec import Meta

from device.cameras import Frame
from device.decision import Choice, Reason, decide
from device.drift import Watch, look_of
from device.events import AnyEvent, Cleared, Event, Fault, Jam
from device.hardware import GateError
from device.hardware.gates import Gates
from device.judged import Judged
from device.keeping import Sighting
from device.ledger import LedgerError
from device.rules import RulePack
from device.site import Site
from device.vision.burst import Burst
from device.vision.classifier import Floats
from device.vision.empty import EmptyViews
from device.vision.fusion import fuse
from device.vision.isolate import lies_there
from device.vision.judge import Judge, Opinion, mean_unknown
from device.vision.preprocess import Pixels
from device.vision.presence import EmptyView, PresenceSettings, Sight

OTHER_PLACE = 0.8
"""share of the view's cells that differ from the remembered empty tray, at the start, above which it is another view or another light"""

SEE_EMPTY_S = 30.0
"""how often the empty tray is looked at again, so that items are isolated against it in today's light"""

CHECK_S = 1.0
"""how often a view in which nothing moves is looked at as carefully as an item, for something as dark as the tray, or another light"""

Mode = Literal["starting", "ready", "sorting", "fault"]
FaultName = Literal["camera", "gate", "jam", "model", "ledger", "hot"]


class SortingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long each step of an item's life may take, and how many looks it gets."""

    burst: Annotated[int, Meta(ge=1, le=50)] = 5
    """most frames an item is judged by"""
    decided_above: Annotated[float, Meta(gt=0, le=1)] = 0.97
    """probability of the best bin at which the burst ends early"""
    drop_s: Annotated[float, Meta(ge=0.5, le=10)] = 4.0
    """time from the gate's opening until the tray has to be empty; then the gate closes and tries again"""
    tries: Annotated[int, Meta(ge=1, le=5)] = 2
    """openings before an item counts as jammed"""
    gate_s: Annotated[float, Meta(ge=0.2, le=30)] = 3.0
    """most time a gate may take to open or to close"""
    commit_s: Annotated[float, Meta(ge=0.5, le=30)] = 5.0
    """most time the ledger may take to store an intent"""
    stale_s: Annotated[float, Meta(ge=0.5, le=60)] = 3.0
    """age of the newest frame at which the camera counts as lost"""
    retry_s: Annotated[float, Meta(ge=1, le=600)] = 10.0
    """pause between attempts to recover from a fault"""


class Tick(NamedTuple):
    """One call of the control loop: monotonic seconds, and the newest frame unless it was seen before."""

    now_s: float
    frame: Frame | None


class View(NamedTuple):
    """A frame and what presence made of it."""

    now_s: float
    frame: Frame
    sight: Sight


class Failure(Exception):
    """Sorting cannot go on; the fault and a line for a person."""

    def __init__(self, fault: FaultName, message: str) -> None:
        super().__init__(message)
        self.fault: FaultName = fault
        self.message = message


class Intender(Protocol):
    """Writes down that an item is about to go to a bin; done when that is on disk."""

    def __call__(self, item: str, to_bin: str, label: str) -> "Future[None]": ...


class Recorder(Protocol):
    """What happens to an event that the sorter tells: it is stamped, stored, and published once it is safe."""

    def __call__(self, event: Event) -> "Future[AnyEvent]": ...


class Sorter:
    """Sorts items, one at a time, for ever.

    Parts it is given: `view` (the empty tray, to see that something is there), `empty` (the same, to see what), `judge`, `site` (which
    labels occur), `watch` (for drift), `rules`, `gates`, `intend`, which writes down an intent, `record`, which stores an event, and
    `keep`, which may keep a frame.
    `residual_only` sends everything to the residual bin: the safe mode after repeated crashes.
    """

    def __init__(
        self,
        settings: SortingSettings,
        presence: PresenceSettings,
        view: EmptyView,
        empty: EmptyViews,
        judge: Judge,
        site: Site,
        watch: Watch,
        rules: RulePack,
        gates: Gates,
        intend: Intender,
        record: Recorder,
        keep: Callable[[Sighting], None],
        *,
        residual_only: bool = False,
    ) -> None:
        self._settings, self._presence = settings, presence
        self._view, self._empty, self._rules = view, empty, rules
        self._judge, self._site, self._watch = judge, site, watch
        self._gates, self._intend, self._record, self._keep = gates, intend, record, keep
        self._closed: dict[str, Reason] = dict.fromkeys(rules.bins, "safe_mode") if residual_only else {}
        self._frame_seen_s: float | None = None
        self._remembered = view.known
        self._judged_pixels: Pixels = np.zeros((1, 1, 3), np.uint8)
        self._saw_empty_s: float | None = None
        self._checked_s: float | None = None
        self._lies_there: bool | None = None
        self._telling: deque[tuple[Event, Future[AnyEvent]]] = deque()
        self.mode: Mode = "starting"
        self.fault: Fault | None = None
        self._story = self._life()
        next(self._story)

    def tick(self, now_s: float, frame: Frame | None) -> None:
        """Go one step on. frame is the newest one, or None when it was already given; now_s is monotonic and never goes back."""
        self._story.send(Tick(now_s, frame))

    def stop(self) -> None:
        """Abort what is going on; an item in hand is recorded as interrupted. The caller closes the gates."""
        self._story.close()

    def _life(self) -> Generator[None, Tick, None]:
        recognised = False
        while True:
            try:
                yield from self._close_all()
                if not recognised:
                    yield from self._recognise_the_tray()
                    recognised = True
                while True:
                    yield from self._sort_one_item()
            except (Failure, GateError, LedgerError) as error:
                yield from self._recover(_failure(error))

    def _sort_one_item(self) -> Generator[None, Tick, None]:
        self.mode = "ready"
        arrived_s = yield from self._until_something_lies_there()
        self.mode = "sorting"
        if not (yield from self._until_it_lies_still()):
            return
        judged = yield from self._look(arrived_s)
        if judged is None:
            return
        try:
            yield from self._write_intent(judged)
            emptied_s = yield from self._let_through(judged)
        except BaseException as error:
            self.tell(judged.interrupted("stopped" if isinstance(error, GeneratorExit) else "fault"))
            raise
        self.tell(judged.outcome(emptied_s))
        self._learn(judged)

    def _learn(self, judged: Judged) -> None:
        """What an item tells of the place: which labels come here, and whether the bin still sees what it saw at first."""
        if judged.choice.reason != "unknown":
            self._site.note(judged.seen)
        for drift in self._watch.note(look_of(self._judged_pixels, judged.seen, judged.unknown)):
            self.tell(drift)
        self._keep(Sighting(self._judged_pixels, judged.mask, judged.embedding, judged.note()))

    def _recognise_the_tray(self) -> Generator[None, Tick, None]:
        """Learn the empty view, unless the one of an earlier start still fits what the camera shows."""
        _, frame = yield from self._next_frame()
        if self._view.known and self._view.look(frame.pixels).spread > OTHER_PLACE:
            self._view.forget()
        if self._view.known:
            return
        self._empty.forget()
        while not self._view.known:
            _, frame = yield from self._next_frame()
            self._view.learn(frame.pixels)
        self._empty.see(frame.pixels)

    def _until_something_lies_there(self) -> Generator[None, Tick, float]:
        while True:
            now_s, frame, sight = yield from self._next_view()
            if sight.present:
                return now_s
            if not sight.moving:
                self._view.adapt()
                self._see_empty(now_s, frame)

    def _see_empty(self, now_s: float, frame: Frame) -> None:
        if self._saw_empty_s is None or now_s - self._saw_empty_s >= SEE_EMPTY_S:
            self._saw_empty_s = now_s
            self._empty.see(frame.pixels)

    def _until_it_lies_still(self) -> Generator[None, Tick, bool]:
        """Wait for an item to come to rest. False when it went away again."""
        began_s = still_since_s = None
        while True:
            now_s, _, sight = yield from self._next_view()
            began_s = now_s if began_s is None else began_s
            still_since_s = now_s if sight.moving or still_since_s is None else still_since_s
            settled = now_s - still_since_s >= self._presence.still_s
            if settled and not sight.present:
                return False
            if settled or now_s - began_s >= self._presence.settle_timeout_s:
                return sight.present

    def _look(self, arrived_s: float) -> Generator[None, Tick, Judged | None]:
        """Judge a burst of frames, ended early once the bin is clear. None when the item went away meanwhile."""
        item = uuid.uuid4().hex
        opinions: list[Opinion] = []
        burst = Burst(self._view, self._empty, self._judge.classifier.bundle.info.ground)
        while True:
            now_s, frame, sight = yield from self._next_view()
            if not sight.present:
                return None
            isolated = burst.isolated(frame.pixels)
            opinions.append(self._judge.look(isolated.picture))
            self._judged_pixels = frame.pixels
            seen, unknown = fuse([opinion.probabilities for opinion in opinions]), mean_unknown(opinions)
            probabilities = self._site.weighed(seen)
            choice = self._choose(probabilities, unknown)
            decided = choice.p_bin >= self._settings.decided_above and choice.reason != "unknown"
            if decided or len(opinions) == self._settings.burst:
                return Judged(
                    item=item,
                    arrived_s=arrived_s,
                    decided_s=now_s,
                    labels=self._judge.labels,
                    bundle=self._judge.classifier.bundle.info.name,
                    seen=seen,
                    probabilities=probabilities,
                    unknown=unknown,
                    frames=len(opinions),
                    choice=choice,
                    not_isolated=isolated.why,
                    embedding=opinions[-1].embedding,
                    mask=isolated.mask if isolated.found else None,
                )

    def _write_intent(self, judged: Judged) -> Generator[None, Tick, None]:
        """Have it on disk where the item is going before anything moves, so that a power cut cannot make it vanish."""
        intent = self._intend(judged.item, judged.choice.bin, judged.choice.label)
        deadline_s = judged.decided_s + self._settings.commit_s
        while not intent.done():
            tick = yield from self._next()
            if tick.now_s > deadline_s:
                raise Failure("ledger", f"the ledger stored nothing for {self._settings.commit_s:g} s: is the disk stuck?")
        intent.result()

    def _let_through(self, judged: Judged) -> Generator[None, Tick, float]:
        """Open the gate until the tray is empty, close it, and return when the tray was seen empty. Raises Failure for a jam."""
        name, began_s = judged.choice.bin, judged.decided_s
        for _ in range(self._settings.tries):
            tick = yield from self._next()
            self._gates.open(name, tick.now_s)
            emptied_s = yield from self._until_empty(tick.now_s + self._settings.drop_s)
            yield from self._close(name)
            if emptied_s is not None:
                self._remembered = False
                return emptied_s
        waited_s = round(tick.now_s + self._settings.drop_s - began_s, 3)
        self.tell(Jam(item=judged.item, bin=name, waited_s=waited_s))
        raise Failure("jam", f"an item did not leave through the gate of {name}: take it off the tray, sorting goes on by itself")

    def _until_empty(self, deadline_s: float | None) -> Generator[None, Tick, float | None]:
        """Wait until the tray has been empty and still for a moment. None when the deadline came first."""
        empty_since_s: float | None = None
        while True:
            now_s, _, sight = yield from self._next_view()
            if sight.present or sight.moving:
                empty_since_s = None
            else:
                empty_since_s = now_s if empty_since_s is None else empty_since_s
                if now_s - empty_since_s >= self._presence.still_s:
                    return empty_since_s
            if deadline_s is not None and now_s > deadline_s:
                return None

    def _close(self, name: str) -> Generator[None, Tick, None]:
        tick = yield from self._next()
        self._gates.close(name, tick.now_s)
        deadline_s = tick.now_s + self._settings.gate_s
        while not self._gates.all_closed:
            tick = yield from self._next()
            if tick.now_s > deadline_s:
                raise Failure("gate", f"the gate of {name} did not close within {self._settings.gate_s:g} s")

    def _close_all(self) -> Generator[None, Tick, None]:
        """Bring every gate home, wherever it stands."""
        tick = yield from self._next()
        self._gates.close_all(tick.now_s)
        wait_s = self._settings.gate_s * len(self._gates.bins)
        deadline_s = tick.now_s + wait_s
        while not self._gates.all_closed:
            tick = yield from self._next()
            if tick.now_s > deadline_s:
                raise Failure("gate", f"the gates did not close within {wait_s:g} s")

    def _recover(self, failure: Failure) -> Generator[None, Tick, None]:
        """Make safe, say what is wrong, and stay here until it is mended. What goes wrong meanwhile is said too."""
        self._declare(failure)
        tick = yield from self._rest()
        began_s = {failure.fault: tick.now_s}
        while True:
            try:
                yield from self._until_mended(failure.fault)
                break
            except (Failure, GateError) as error:
                failure = _failure(error)
                if failure.fault not in began_s:
                    began_s[failure.fault] = tick.now_s
                    self._declare(failure)
                tick = yield from self._pause(self._settings.retry_s)
        tick = yield from self._rest()
        for fault, since_s in began_s.items():
            self.tell(Cleared(fault=fault, lasted_s=round(tick.now_s - since_s, 3)))
        self.fault = None

    def _declare(self, failure: Failure) -> None:
        self.mode, self.fault = "fault", Fault(fault=failure.fault, message=failure.message)
        self.tell(self.fault)

    def _until_mended(self, fault: FaultName) -> Generator[None, Tick, None]:
        if fault == "ledger":
            yield from self._tell_again()
        self._frame_seen_s = None
        yield from self._close_all()
        if fault == "jam" and self._remembered:
            # The first thing since the start did not leave: rather, the tray looks different from what was remembered, and that was it.
            self._remembered = False
            self._view.adopt(self._judged_pixels)
            self._empty.forget()
            self._empty.see(self._judged_pixels)
        elif fault == "jam":
            yield from self._until_empty(deadline_s=None)
        elif fault == "camera":
            yield from self._next_frame()

    def _pause(self, seconds: float) -> Generator[None, Tick, Tick]:
        tick = yield from self._rest()
        until_s = tick.now_s + seconds
        while tick.now_s < until_s:
            tick = yield from self._rest()
        return tick

    def _rest(self) -> Generator[None, Tick, Tick]:
        """One step amid a fault: gates are still carried on, and one that fails again says nothing new."""
        tick = yield
        with contextlib.suppress(GateError):
            self._gates.update(tick.now_s)
        return tick

    def tell(self, event: Event) -> None:
        """Record an event; one that cannot be stored becomes the fault `ledger`, and is stored once that is over."""
        self._telling.append((event, self._record(event)))

    def _tell_again(self) -> Generator[None, Tick, None]:
        """Hand the events that could not be stored to the ledger again, in order, until it has them all."""
        while self._telling:
            self._telling = deque((event, self._record(event) if _failed(told) else told) for event, told in self._telling)
            while not all(told.done() for _, told in self._telling):
                yield from self._rest()
            while self._telling and not _failed(self._telling[0][1]):
                self._telling.popleft()
            if self._telling:
                yield from self._pause(self._settings.retry_s)

    def _next(self) -> Generator[None, Tick, Tick]:
        """One step. Raises Failure when the camera has been silent too long or an event could not be stored, GateError from the gates."""
        tick = yield
        self._gates.update(tick.now_s)
        if tick.frame is not None or self._frame_seen_s is None:
            self._frame_seen_s = tick.now_s
        elif tick.now_s - self._frame_seen_s > self._settings.stale_s:
            raise Failure("camera", f"no frame for {self._settings.stale_s:g} s: is the camera plugged in?")
        while self._telling and self._telling[0][1].done():
            error = self._telling[0][1].exception()
            if error is not None:
                raise Failure("ledger", str(error))
            self._telling.popleft()
        return tick

    def _next_frame(self) -> Generator[None, Tick, tuple[float, Frame]]:
        while True:
            now_s, frame = yield from self._next()
            if frame is not None:
                return now_s, frame

    def _next_view(self) -> Generator[None, Tick, View]:
        now_s, frame = yield from self._next_frame()
        return View(now_s, frame, self._checked(now_s, frame, self._view.look(frame.pixels)))

    def _checked(self, now_s: float, frame: Frame, sight: Sight) -> Sight:
        """The same sight, with a second opinion where nothing moves: a lamp's step is no item, and a dark item on dark ground is one."""
        if sight.moving or not self._empty.known:
            self._checked_s = None
            return sight
        if self._checked_s is None or now_s - self._checked_s >= CHECK_S:
            self._checked_s, self._lies_there = now_s, lies_there(frame.pixels, self._empty)
        return sight if self._lies_there is None else replace(sight, present=self._lies_there)

    def _choose(self, probabilities: Floats, unknown: float | None) -> Choice:
        judge = self._judge
        strange = judge.rejects(unknown)
        return decide(probabilities, judge.labels, self._rules, reject_below=judge.reject_below, unknown=strange, closed=self._closed)


def _failure(error: Failure | GateError | LedgerError) -> Failure:
    match error:
        case Failure():
            return error
        case GateError():
            return Failure("gate", str(error))
        case LedgerError():
            return Failure("ledger", str(error))


def _failed(told: "Future[AnyEvent]") -> bool:
    return told.done() and told.exception() is not None
