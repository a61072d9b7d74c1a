"""The life of one item: it appears, settles, is looked at, judged, let through a gate, and remembered.

The sorter is one story told in steps. `Sorter.tick` is called with the time and the newest frame and returns at once; each
`yield from self._steps.next()` below is one such call. What breaks the story off is a fault, and `recovery` leads out of it. Nothing here
waits, touches a disk or a network, or reads a clock, so the same code runs on a bin, in the demo and under simulated time.
"""

import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from device.adaptation.drift import DriftMonitor, measure_item
from device.adaptation.label_prior import LabelPrior
from device.cameras import Frame
from device.events import AnyEvent, Event, Fault, Hazard, Jam
from device.gates import GateError
from device.gates.gates import Gates
from device.ledger.schema import LedgerError
from device.policy.decision import Choice, Evidence, Reason, decide
from device.policy.rules import RulePack
from device.samples.collector import Sample
from device.sorting.control_steps import ControlSteps, SortingSettings, Tick
from device.sorting.event_queue import EventQueue, EventStore
from device.sorting.fault_recovery import Recovery
from device.sorting.faults import Failure, failure_of
from device.sorting.judgement import Judgement
from device.sorting.tray_monitor import EmptyReference, TrayMonitor
from device.vision.inference.fusion import fuse
from device.vision.inference.preprocess import Pixels
from device.vision.inference.runtime import RuntimeFault
from device.vision.isolation.burst import Burst
from device.vision.isolation.occupancy import PresenceSettings
from device.vision.judge import Judge, Opinion, PieceByPiece, mean_unknown

FALL_S = 0.2
"""least time from a gate's command until what lies on it can be out of sight: free fall through 20 cm, g t^2 / 2"""

REVERSALS = 3
"""how often a gate that closes turns round for something that reaches in, before that is told and it closes once the way is clear"""

Mode = Literal["starting", "ready", "sorting", "fault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SortingParts:
    """What the sorter works with.

    reference: what the empty tray looks like, stored by an earlier start or not learned yet. earlier_reference: an older one that is not trusted, see
    TrayMonitor. on_stored: called with each event once it is stored, on the ledger's thread. collect: takes the frame of each item, and may store it
    for review.
    """

    judge: Judge
    label_prior: LabelPrior
    drift_monitor: DriftMonitor
    rules: RulePack
    gates: Gates
    reference: EmptyReference
    earlier_reference: EmptyReference | None
    ledger: EventStore
    on_stored: Callable[[AnyEvent], None]
    collect: Callable[[Sample], None]


class Sorter:
    """Sorts items, one at a time, for ever.

    residual_only: everything goes to the residual bin, the safe mode after repeated crashes.
    """

    def __init__(self, settings: SortingSettings, presence: PresenceSettings, parts: SortingParts, *, residual_only: bool = False) -> None:
        self._settings, self._rules = settings, parts.rules
        self._judge, self._label_prior, self._drift_monitor = parts.judge, parts.label_prior, parts.drift_monitor
        self._gates, self._ledger, self._collect = parts.gates, parts.ledger, parts.collect
        self._events = EventQueue(parts.ledger, parts.on_stored)
        self._steps = ControlSteps(settings, parts.gates, self._events.check)
        self._tray = TrayMonitor(presence, parts.reference, parts.earlier_reference, self._steps)
        self._recovery = Recovery(
            self._steps,
            self._events,
            settings.retry_s,
            {
                "camera": self._tray.until_it_sees,
                "obstruction": self._tray.until_clear_amid_a_fault,
                "classifier": self._until_another_classifies,
                "jam": self._until_the_jam_is_gone,
                "hazard": self._until_the_hazard_is_out,
            },
            self._finish_what_is_in_hand,
        )
        self._closed: dict[str, Reason] = dict.fromkeys(parts.rules.bins, "safe_mode") if residual_only else {}
        self._in_hand: Judgement | None = None
        self._judged_pixels: Pixels = np.zeros((1, 1, 3), np.uint8)
        self._runtime_fault: RuntimeFault | None = None
        self._mode: Mode = "starting"
        self._story = self._life()
        next(self._story)

    def tick(self, now_s: float, frame: Frame | None, no_frame_because: str = "") -> None:
        """Go one step on. frame is the newest one, or None when it was already given; now_s is monotonic and never goes back.

        no_frame_because: why the camera gives no frames, where that is known.
        Raises RuntimeFault or BundleError when nothing is left that could classify.
        """
        self._story.send(Tick(now_s, frame, no_frame_because))

    @property
    def mode(self) -> Mode:
        """What it is doing."""
        return self._mode if self.fault is None else "fault"

    @property
    def fault(self) -> Fault | None:
        """What keeps the bin from sorting, None while nothing does."""
        return self._recovery.fault

    @property
    def safe_mode(self) -> bool:
        """Whether everything goes to the residual bin."""
        return bool(self._closed)

    def leave_safe_mode(self) -> None:
        """Send items where they belong from the next one on."""
        self._closed = {}

    def stop(self) -> None:
        """Abort what is going on; an item in hand is recorded as interrupted. The caller closes the gates."""
        self._story.close()
        judged, self._in_hand = self._in_hand, None
        if judged is not None:
            self.tell(judged.interrupted("stopped"))

    def _life(self) -> Generator[None, Tick, None]:
        while True:
            try:
                yield from self._steps.close_all()
                yield from self._tray.recognise()
                while True:
                    yield from self._sort_one_item()
            except (Failure, GateError, LedgerError) as error:
                yield from self._recovery.recover(failure_of(error))
            except RuntimeFault as error:
                self._runtime_fault = error
                yield from self._recovery.recover(failure_of(error))

    def _sort_one_item(self) -> Generator[None, Tick, None]:
        self._mode = "ready"
        arrived_s = yield from self._tray.until_something_lies_there()
        self._mode = "sorting"
        if not (yield from self._tray.until_it_lies_still()):
            return
        judged = yield from self._look(arrived_s)
        if judged is None:
            return
        self._warn(judged)
        self._in_hand = judged
        yield from self._deliver(judged, "removed")

    def _warn(self, judged: Judgement) -> None:
        """Say that an item may be a hazard. Raises Failure where no gate may open until a hand has taken it out."""
        hazard = judged.choice.hazard
        if hazard is None:
            return
        self.tell(Hazard(item=judged.item, bin=judged.choice.bin, label=hazard.label, p=round(hazard.p, 6)))
        if judged.choice.held:
            self._learn(judged)
            self._tray.holds = True
            cure = "take it out by hand, sorting goes on by itself; if none lies there, restart the bin"
            raise Failure("hazard", f"what lies on the tray may be {hazard.label} ({hazard.p:.0%}), which is a hazard: {cure}")

    def _deliver(self, judged: Judgement, gone: Literal["removed", "fault"]) -> Generator[None, Tick, None]:
        """Let the item in hand through, and tell what became of it: `gone` where it does not lie there any more.

        Raises Failure, GateError or LedgerError with the item still in hand, but for a jam.
        """
        yield from self._write_intent(judged)
        there = yield from self._tray.still_shows(judged.thumbnail)
        emptied_s = (yield from self._let_through(judged)) if there else None
        self._in_hand = None
        if emptied_s is None:
            self.tell(judged.interrupted(gone))
        else:
            self.tell(judged.outcome(emptied_s))
            self._learn(judged)
        yield from self._close(judged.choice.bin)

    def _finish_what_is_in_hand(self) -> Generator[None, Tick, None]:
        """After a fault: let the item that it left on the tray through."""
        if self._in_hand is not None:
            yield from self._deliver(self._in_hand, "fault")

    def _learn(self, judged: Judgement) -> None:
        """What an item tells of the place: which labels come here, and whether the bin still sees what it saw at first."""
        if judged.choice.reason not in ("unknown", "several"):
            self._label_prior.observe(judged.seen)
        for drift in self._drift_monitor.observe(measure_item(self._judged_pixels, judged.seen, judged.unknown)):
            self.tell(drift)
        self._collect(Sample(self._judged_pixels, judged.mask, judged.embedding, judged.note()))

    def _look(self, arrived_s: float) -> Generator[None, Tick, Judgement | None]:
        """Judge a burst of frames, ended early once the bin is clear. None when the item went away meanwhile, or something reached in."""
        item = uuid.uuid4().hex
        opinions: list[Opinion] = []
        weights: list[float] = []
        burst, apart = Burst(self._tray.view, self._tray.empty, self._judge.classifier.bundle.info.ground), PieceByPiece(self._judge)
        while True:
            now_s, frame, sight = yield from self._tray.next_view()
            if not sight.present or self._tray.reached_into:
                return None
            isolated = burst.isolated(frame.pixels)
            weights.append(self._judge.weight(isolated, len(opinions)))
            opinions.append(self._judge.look(isolated.picture, here=True))
            self._judged_pixels = frame.pixels
            seen, unknown = fuse([opinion.probabilities for opinion in opinions], weights=weights), mean_unknown(opinions)
            probabilities = self._label_prior.apply_prior(seen)
            pieces = tuple(self._label_prior.apply_prior(piece) for piece in apart.look(burst.piece_looks(frame.pixels)))
            gap = 0.0 if burst.pieces is None else burst.pieces.gap
            choice = self._choose(Evidence(probabilities, seen, self._judge.rejects(unknown), pieces, gap))
            decided = choice.p_bin >= self._settings.decided_above and choice.reason not in ("unknown", "several")
            if decided or len(opinions) == self._settings.burst:
                return Judgement(
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
                    pieces=max(1, len(pieces)),
                    mask=isolated.mask if isolated.found else None,
                    thumbnail=self._tray.view.thumbnail,
                )

    def _write_intent(self, judged: Judgement) -> Generator[None, Tick, None]:
        """Have it on disk where the item is going before anything moves, so that a power cut cannot make it vanish."""
        intent = self._ledger.intend(judged.item, judged.choice.bin, judged.choice.label)
        tick = yield from self._steps.next()
        deadline_s = tick.now_s + self._settings.commit_s
        while not intent.done():
            tick = yield from self._steps.next()
            if tick.now_s > deadline_s:
                raise Failure("ledger", f"the ledger stored nothing for {self._settings.commit_s:g} s: is the disk stuck?")
        intent.result()

    def _let_through(self, judged: Judgement) -> Generator[None, Tick, float | None]:
        """Open the gate until the tray is empty. Returns when it was seen empty, None where that was too soon for the item to have fallen, or
        it was gone before another try. Raises Failure for a jam, with the gate closed.
        """
        name = judged.choice.bin
        for attempt in range(self._settings.tries):
            if attempt and not (yield from self._tray.still_holds_something()):
                return None
            yield from self._tray.until_clear()
            tick = yield from self._steps.next()
            self._gates.open(name, tick.now_s)
            emptied_s = yield from self._tray.until_empty(tick.now_s + self._settings.drop_s)
            if emptied_s is not None:
                return emptied_s if emptied_s - tick.now_s >= FALL_S else None
            yield from self._close(name)
        self.tell(Jam(item=judged.item, bin=name, waited_s=round(tick.now_s + self._settings.drop_s - judged.decided_s, 3)))
        self._in_hand = None
        self.tell(judged.interrupted("fault"))
        cure = "take it off the tray, sorting goes on by itself; if none lies there, restart the bin"
        raise Failure("jam", f"an item did not leave through the gate of {name}: {cure}")

    def _until_another_classifies(self) -> Generator[None, Tick, None]:
        """Raises RuntimeFault where no other runtime is left, and what the other one raises: then only a new start can help."""
        assert self._runtime_fault is not None, "a runtime is replaced because it failed"
        spare = self._judge.spare(str(self._runtime_fault))
        if spare is None:
            raise self._runtime_fault
        while not spare.done():
            yield from self._steps.rest()
        self._judge.go_on_with(spare.result())

    def _close(self, name: str) -> Generator[None, Tick, None]:
        """Close the gate of a bin, but not on a hand: where something reaches in meanwhile, it opens again and waits."""
        for _ in range(REVERSALS):
            if (yield from self._steps.close(name, self._tray.reaches_in)):
                return
            yield from self._tray.until_clear()
        raise Failure("obstruction", f"something reaches in whenever the gate of {name} closes: is the gate itself in view?")

    def _until_the_jam_is_gone(self) -> Generator[None, Tick, None]:
        yield from self._tray.until_it_went(self._judged_pixels)

    def _until_the_hazard_is_out(self) -> Generator[None, Tick, None]:
        yield from self._tray.until_empty(deadline_s=None)
        self._tray.holds = False

    def tell(self, event: Event) -> None:
        """Record an event; one that cannot be stored becomes the fault `ledger`, and is stored once that is over."""
        self._events.put(event)

    def _choose(self, evidence: Evidence) -> Choice:
        return decide(evidence, self._judge.labels, self._rules, reject_below=self._judge.reject_below, closed=self._closed)
