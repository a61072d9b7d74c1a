"""The life of one item: it appears, settles, is looked at, judged, let through a gate, and remembered.

The sorter is one story told in steps. `Sorter.tick` is called with the time and the newest frame and returns at once; each
`yield from self._steps.next()` below is one such call. What breaks the story off is a fault, and `recovery` leads out of it. Nothing here
waits, touches a disk or a network, or reads a clock, so the same code runs on a bin, in the demo and under simulated time.
"""

import uuid
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import replace
from typing import Literal, NamedTuple, Protocol

import numpy as np

from device.cameras import Frame
from device.decision import Choice, Reason, decide
from device.drift import Watch, look_of
from device.events import Event, Fault, Jam
from device.failure import Failure, failure_of
from device.hardware import GateError
from device.hardware.gates import Gates
from device.judged import Judged
from device.keeping import Sighting
from device.ledger import LedgerError
from device.recovery import Recovery
from device.rules import RulePack
from device.site import Site
from device.steps import SortingSettings, Steps, Tick
from device.telling import Recorder, Telling
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


class View(NamedTuple):
    """A frame and what presence made of it."""

    now_s: float
    frame: Frame
    sight: Sight


class Intender(Protocol):
    """Writes down that an item is about to go to a bin; done when that is on disk."""

    def __call__(self, item: str, to_bin: str, label: str) -> "Future[None]": ...


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
        self._gates, self._intend, self._keep = gates, intend, keep
        self._telling = Telling(record)
        self._steps = Steps(settings, gates, self._telling)
        self._recovery = Recovery(self._steps, self._telling, self._clear_the_tray, settings.retry_s)
        self._closed: dict[str, Reason] = dict.fromkeys(rules.bins, "safe_mode") if residual_only else {}
        self._remembered = view.known
        self._judged_pixels: Pixels = np.zeros((1, 1, 3), np.uint8)
        self._saw_empty_s: float | None = None
        self._checked_s: float | None = None
        self._lies_there: bool | None = None
        self.mode: Mode = "starting"
        self._story = self._life()
        next(self._story)

    def tick(self, now_s: float, frame: Frame | None) -> None:
        """Go one step on. frame is the newest one, or None when it was already given; now_s is monotonic and never goes back."""
        self._story.send(Tick(now_s, frame))

    @property
    def fault(self) -> Fault | None:
        """What keeps the bin from sorting, None while nothing does."""
        return self._recovery.fault

    def stop(self) -> None:
        """Abort what is going on; an item in hand is recorded as interrupted. The caller closes the gates."""
        self._story.close()

    def _life(self) -> Generator[None, Tick, None]:
        recognised = False
        while True:
            try:
                yield from self._steps.close_all()
                if not recognised:
                    yield from self._recognise_the_tray()
                    recognised = True
                while True:
                    yield from self._sort_one_item()
            except (Failure, GateError, LedgerError) as error:
                self.mode = "fault"
                yield from self._recovery.recover(failure_of(error))

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
        _, frame = yield from self._steps.next_frame()
        if self._view.known and self._view.look(frame.pixels).spread > OTHER_PLACE:
            self._view.forget()
        if self._view.known:
            return
        self._empty.forget()
        while not self._view.known:
            _, frame = yield from self._steps.next_frame()
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
        weights: list[float] = []
        burst = Burst(self._view, self._empty, self._judge.classifier.bundle.info.ground)
        while True:
            now_s, frame, sight = yield from self._next_view()
            if not sight.present:
                return None
            isolated = burst.isolated(frame.pixels)
            weights.append(self._judge.weight(isolated, len(opinions)))
            opinions.append(self._judge.look(isolated.picture, here=True))
            self._judged_pixels = frame.pixels
            seen, unknown = fuse([opinion.probabilities for opinion in opinions], weights=weights), mean_unknown(opinions)
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
                    embedding=opinions[0].embedding,
                    mask=isolated.mask if isolated.found else None,
                )

    def _write_intent(self, judged: Judged) -> Generator[None, Tick, None]:
        """Have it on disk where the item is going before anything moves, so that a power cut cannot make it vanish."""
        intent = self._intend(judged.item, judged.choice.bin, judged.choice.label)
        deadline_s = judged.decided_s + self._settings.commit_s
        while not intent.done():
            tick = yield from self._steps.next()
            if tick.now_s > deadline_s:
                raise Failure("ledger", f"the ledger stored nothing for {self._settings.commit_s:g} s: is the disk stuck?")
        intent.result()

    def _let_through(self, judged: Judged) -> Generator[None, Tick, float]:
        """Open the gate until the tray is empty, close it, and return when the tray was seen empty. Raises Failure for a jam."""
        name, began_s = judged.choice.bin, judged.decided_s
        for _ in range(self._settings.tries):
            tick = yield from self._steps.next()
            self._gates.open(name, tick.now_s)
            emptied_s = yield from self._until_empty(tick.now_s + self._settings.drop_s)
            yield from self._steps.close(name)
            if emptied_s is not None:
                self._remembered = False
                return emptied_s
        waited_s = round(tick.now_s + self._settings.drop_s - began_s, 3)
        self.tell(Jam(item=judged.item, bin=name, waited_s=waited_s))
        raise Failure("jam", f"an item did not leave through the gate of {name}: take it off the tray, sorting goes on by itself")

    def _clear_the_tray(self) -> Generator[None, Tick, None]:
        """Wait until an item that did not leave has gone."""
        if not self._remembered:
            yield from self._until_empty(deadline_s=None)
            return
        # The first thing since the start did not leave: rather, the tray looks different from what was remembered, and that was it.
        self._remembered = False
        self._view.adopt(self._judged_pixels)
        self._empty.forget()
        self._empty.see(self._judged_pixels)

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

    def tell(self, event: Event) -> None:
        """Record an event; one that cannot be stored becomes the fault `ledger`, and is stored once that is over."""
        self._telling.tell(event)

    def _next_view(self) -> Generator[None, Tick, View]:
        now_s, frame = yield from self._steps.next_frame()
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
