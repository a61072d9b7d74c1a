"""One item's journey: arrive, settle, burst, judge, intent, open, drop, confirm empty, close. `Sorter._sort_one_item` is that journey.

Threads: everything here runs on the control thread. The camera's thread brings the frames, the ledger's thread stores the events.

The sorter is a generator: `Sorter.tick(now_s, frame)` is called many times a second, resumes it, and returns when it has run up to its next `yield`,
which is at once. The protocol:

- A step is a generator that is called with `yield from`. `tick = yield from self._steps.next()` gives control back to the loop; nothing is handed
  out. What comes back with the next call is a `Tick`: the monotonic time and the newest frame, None where there is no new one.
- There is no clock, disk or network in here. Time and frames come with the tick. Events and intents go to the ledger, which answers with futures;
  the sorter polls them once a tick and never waits for one. So the same code runs on a bin, in the demo and in tests under simulated time.
- A step that fails raises SortingFault, GateError, LedgerError or RuntimeFault. That ends the journey, and `fault_recovery` takes over: it reports
  the fault, closes the gates, waits until every fault is over, and delivers the item that is still on the tray.

What is decided where:

- Intent before move: `_store_intent`. A gate opens only after the ledger has stored where the item goes. After a power cut the next
  start makes `item_interrupted` (reason `restart`) of an intent without an event; what still lies on the tray then is judged as a new item.
- An item counts once its gate has opened and the tray was seen empty afterwards, but no sooner than the item can have fallen: `_open_until_empty`.
  Any other end of an item that was judged is the event `item_interrupted`; a hazard that is held until a hand takes it out has its own event.
- It is a jam when the gate has opened `tries` times and the item still lies there: `_open_until_empty`. `FaultRecovery._until_jam_is_over` decides
  when it is over.
"""

import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Literal

from device.adaptation.drift import DriftMonitor, measure_item
from device.adaptation.label_prior import LabelPrior
from device.cameras import Frame
from device.events import AnyEvent, Event, Fault, Hazard, Jam
from device.gates import GateError
from device.gates.gates import Gates
from device.ledger.schema import LedgerError
from device.policy.decision import Evidence, Reason, decide
from device.policy.rules import RulePack
from device.samples.collector import Sample
from device.sensors.levels import Levels
from device.sorting.control_steps import ControlSteps, SortingSettings, Tick
from device.sorting.empty_reference import EmptyReference
from device.sorting.event_queue import EventQueue, EventStore
from device.sorting.fault_recovery import FaultRecovery
from device.sorting.faults import Jammed, SortingFault, as_sorting_fault
from device.sorting.item_exposure import AskExposure, ItemExposure
from device.sorting.judgement import Judgement
from device.sorting.manual_control import ManualControl
from device.sorting.tray_monitor import TrayMonitor
from device.vision.inference.preprocess import Pixels
from device.vision.inference.runtime import RuntimeFault
from device.vision.isolation.burst import Burst
from device.vision.isolation.occupancy import PresenceSettings
from device.vision.judge import ItemFusion, Judge, PieceFusion

FALL_S = 0.2
"""least time from a gate's command until an item can have fallen out of sight: free fall through 20 cm, g t^2 / 2"""
CONFIRM_S = 0.5
"""how long a beam may take to see an item after the tray was seen empty: it falls through 1 m meanwhile"""
MOST_REOPENINGS = 3
"""how often a closing gate reopens for something that reaches in, before that is a fault"""

REMOVE_HAZARD = "take it out by hand, sorting goes on by itself; if none lies there, restart the bin"

Mode = Literal["starting", "ready", "sorting", "paused", "fault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SortingParts:
    """What the sorter works with.

    reference: what the empty tray looks like: the stored one after a crash or power cut, else not learned yet. earlier_reference: the stored one
    after a clean stop, when somebody may have cleaned or moved something; see TrayMonitor. hazard_held: whether the previous run broke off while a
    hazard was held on the tray. levels: which bins are full, and so closed. on_stored: called with each event once it is stored, on the ledger's
    thread. collect: takes the frame of each item, and may store it for review. ask_exposure: see `CameraThread.ask_exposure`; it must return at once.
    """

    judge: Judge
    label_prior: LabelPrior
    drift_monitor: DriftMonitor
    rules: RulePack
    gates: Gates
    reference: EmptyReference
    earlier_reference: EmptyReference | None
    hazard_held: bool
    levels: Levels
    ledger: EventStore
    on_stored: Callable[[AnyEvent], None]
    collect: Callable[[Sample], None]
    ask_exposure: AskExposure = lambda _, __: 1.0


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
        self.manual = ManualControl(self._steps, self._tray, parts.gates, settings)
        """what a person asks for from afar"""
        self._item_exposure = ItemExposure(self._steps, parts.ask_exposure)
        self._recovery = FaultRecovery(
            self._steps,
            self._tray,
            self._events,
            settings.retry_s,
            replace_runtime=self._replace_runtime,
            finish_item=self._finish_item,
        )
        self._levels, self._residual_only = parts.levels, residual_only
        self._current: Judgement | None = None
        """the item that was judged and whose end is not recorded yet"""
        self._runtime_fault: RuntimeFault | None = None
        self._hazard_held = parts.hazard_held
        self._mode: Mode = "starting"
        self._generator = self._run()
        next(self._generator)

    def tick(self, now_s: float, frame: Frame | None, no_frame_because: str = "") -> None:
        """Go one step on. now_s is monotonic and never goes back; frame is the newest one, or None when it was already given.

        no_frame_because: why the camera gives no frames, where that is known.
        Raises RuntimeFault or BundleError when no runtime is left that could classify.
        """
        usual = frame is None or frame.exposure == 1.0
        self._generator.send(Tick(now_s, frame if usual else None, no_frame_because, None if usual else frame))

    @property
    def mode(self) -> Mode:
        """What it is doing."""
        return self._mode if self.fault is None else "fault"

    @property
    def fault(self) -> Fault | None:
        """The newest of `faults`, None where there is none."""
        return next(iter(self.faults), None)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Everything that keeps the bin from sorting, the newest first."""
        return self._recovery.faults

    def try_again(self, *, tray_is_empty: bool) -> None:
        """Try at once what a fault waits for. tray_is_empty: see `FaultRecovery.try_again`."""
        self._recovery.try_again(tray_is_empty=tray_is_empty)

    @property
    def safe_mode(self) -> bool:
        """Whether everything goes to the residual bin."""
        return self._residual_only

    def leave_safe_mode(self) -> None:
        """Send items where they belong, from the next one on."""
        self._residual_only = False

    def record(self, event: Event) -> None:
        """Record an event. While the ledger refuses it, the bin is in the fault `ledger`; it is stored once that is over."""
        self._events.put(event)

    def stop(self) -> None:
        """End the journey of the present item, which is recorded as interrupted. The caller closes the gates."""
        self._generator.close()
        judgement, self._current = self._current, None
        if judgement is not None:
            self.record(judgement.interrupted("stopped"))

    def _run(self) -> Generator[None, Tick, None]:
        if self._hazard_held:
            self._tray.hold_hazard()
            fault = SortingFault("hazard", f"a hazard lay on the tray when the bin broke off, and may still lie there: {REMOVE_HAZARD}")
            yield from self._recovery.recover(fault)
        while True:
            try:
                yield from self._steps.close_all()
                yield from self._tray.recognise_or_learn()
                while True:
                    self._mode = "paused" if self.manual.paused else "ready"
                    yield from self.manual.serve()
                    if self.manual.paused:
                        yield from self.manual.stay_paused()
                    else:
                        yield from self._sort_one_item()
            except (SortingFault, GateError, LedgerError) as error:
                yield from self._recovery.recover(as_sorting_fault(error))
            except RuntimeFault as error:
                self._runtime_fault = error
                yield from self._recovery.recover(as_sorting_fault(error))

    def _sort_one_item(self) -> Generator[None, Tick, None]:
        """Arrive, settle, burst and judge, deliver."""
        arrived_s = yield from self._tray.wait_until_occupied(lambda: self.manual.wanted)
        if arrived_s is None or self.manual.wanted:
            return
        self._mode = "sorting"
        if not (yield from self._tray.wait_until_settled()):
            return
        judgement = yield from self._judge_burst(arrived_s)
        if judgement is None:
            return
        self._report_hazard(judgement)
        self._current = judgement
        yield from self._deliver(judgement, "removed")

    def _judge_burst(self, arrived_s: float) -> Generator[None, Tick, Judgement | None]:
        """Judge the item by several frames, fewer once its bin is clear. Returns None when it went away meanwhile, or something reached in."""
        item = uuid.uuid4().hex
        ground = self._judge.classifier.bundle.info.ground
        burst = Burst(self._tray.detector, self._tray.background, ground, self._judge.crops)
        looks, by_piece = ItemFusion(self._judge), PieceFusion(self._judge)
        while True:
            now_s, frame, occupancy = yield from self._tray.next_observation()
            if not occupancy.present or self._tray.reached_into:
                return None
            isolated, look = burst.add_frame(frame.pixels)
            exposed: list[Pixels] = []
            if isolated.found and not looks.predictions:
                exposed = yield from self._item_exposure.frames(frame.pixels, isolated.mask)
            if exposed:
                thumbnail = self._tray.detector.thumbnail
                now_s, frame, occupancy = yield from self._tray.next_observation()
                if not occupancy.present or self._tray.reached_into:
                    return None
                exposed = [] if self._tray.detector.moved_since(thumbnail) else exposed
            for pixels, shown in [(each, burst.add_exposed(each)) for each in exposed] or [(frame.pixels, look)]:
                looks.add_look(shown, isolated, in_domain=True)
                pieces = tuple(self._label_prior.apply_prior(piece) for piece in by_piece.add_frame(burst.piece_crops(pixels)))
            posterior, unknown, frames = looks.posterior, looks.unknown, len(looks.predictions)
            probabilities = self._label_prior.apply_prior(posterior)
            gap = 0.0 if burst.pieces is None else burst.pieces.gap
            evidence = Evidence(probabilities, posterior, self._judge.is_unknown(unknown), pieces, gap)
            choice = decide(evidence, self._judge.labels, self._rules, reject_below=self._judge.reject_below, closed=self._closed_bins())
            decided = looks.complete and choice.p_bin >= self._settings.decided_above and choice.reason not in ("unknown", "several")
            if decided or exposed or frames >= self._settings.burst:
                return Judgement(
                    item=item,
                    arrived_s=arrived_s,
                    decided_s=now_s,
                    labels=self._judge.labels,
                    bundle=self._judge.classifier.bundle.info.name,
                    posterior=posterior,
                    probabilities=probabilities,
                    unknown=unknown,
                    frames=frames,
                    choice=choice,
                    not_isolated=isolated.why,
                    pieces=max(1, len(pieces)),
                    embedding=looks.predictions[0].embedding,
                    pixels=frame.pixels,
                    judged_pixels=exposed[-1] if exposed else frame.pixels,
                    mask=isolated.mask if isolated.found else None,
                    thumbnail=self._tray.detector.thumbnail,
                )

    def _closed_bins(self) -> dict[str, Reason]:
        """The bins that take nothing now, and why."""
        return dict.fromkeys(self._rules.bins, "safe_mode") if self._residual_only else dict.fromkeys(self._levels.full, "full")

    def _report_hazard(self, judgement: Judgement) -> None:
        """Record that an item may be a hazard. Raises SortingFault where no gate may open until a hand has taken it out."""
        hazard = judgement.choice.hazard
        if hazard is None:
            return
        self.record(Hazard(item=judgement.item, bin=judgement.choice.bin, label=hazard.label, p=round(hazard.p, 6)))
        if judgement.choice.held:
            self._adapt(judgement)
            self._tray.hold_hazard()
            raise SortingFault("hazard", f"what lies on the tray may be {hazard.label} ({hazard.p:.0%}), which is a hazard: {REMOVE_HAZARD}")

    def _deliver(self, judgement: Judgement, if_gone: Literal["removed", "fault"]) -> Generator[None, Tick, None]:
        """Intent, open, drop, confirm empty, close; record how it ended. if_gone: why it was interrupted, should the item not lie there any more.

        Raises SortingFault, GateError or LedgerError with the item still current, except for a jam.
        """
        yield from self._store_intent(judgement)
        there = yield from self._tray.still_shows(judgement.thumbnail)
        dropped = (yield from self._open_until_empty(judgement)) if there else None
        self._current = None
        if dropped is None:
            self.record(judgement.interrupted(if_gone))
        else:
            self.record(judgement.outcome(*dropped))
            self._adapt(judgement)
        yield from self._close(judgement.choice.bin)

    def _store_intent(self, judgement: Judgement) -> Generator[None, Tick, None]:
        """Wait until it is on disk where the item goes. Nothing moves before: a power cut then leaves the intent, and loses no item."""
        intent = self._ledger.intend(judgement.item, judgement.choice.bin, judgement.choice.label)
        tick = yield from self._steps.next()
        deadline_s = tick.now_s + self._settings.commit_s
        while not intent.done():
            tick = yield from self._steps.next()
            if tick.now_s > deadline_s:
                raise SortingFault("ledger", f"the ledger stored nothing for {self._settings.commit_s:g} s: is the disk stuck?")
        intent.result()

    def _open_until_empty(self, judgement: Judgement) -> Generator[None, Tick, tuple[float, bool | None] | None]:
        """Open the gate until the tray is empty, and try again a few times.

        Returns when the tray was seen empty, and whether a beam saw the item fall. None where nobody knows where the item went: the tray was empty
        before it can have fallen, or once the gate had closed. Raises Jammed, with the gate closed.
        """
        name = judgement.choice.bin
        for _ in range(self._settings.tries):
            yield from self._tray.wait_until_clear()
            tick = yield from self._steps.next()
            self._gates.open(name, tick.now_s)
            emptied = yield from self._tray.wait_until_empty(tick.now_s + self._settings.drop_s)
            if emptied is not None:
                if emptied.first_s - tick.now_s < FALL_S:
                    return None
                return emptied.since_s, (yield from self._confirm_drop(name, tick.now_s))
            yield from self._close(name)
            if not (yield from self._tray.still_occupied()):  # it slipped through as the gate closed
                return None
        self.record(Jam(item=judgement.item, bin=name, waited_s=round(tick.now_s + self._settings.drop_s - judgement.decided_s, 3)))
        self._current = None
        self.record(judgement.interrupted("fault"))
        cure = "take it off the tray, sorting goes on by itself; if none lies there, restart the bin"
        raise Jammed(f"an item did not leave through the gate of {name}: {cure}", judgement.pixels)

    def _confirm_drop(self, name: str, opened_s: float) -> Generator[None, Tick, bool | None]:
        """Whether a beam behind the gate saw the item fall, which is waited for a moment. None: there is no beam, or it cannot say."""
        if not self._levels.confirms(name):
            return None
        tick = yield from self._steps.next()
        until_s = tick.now_s + CONFIRM_S
        while not (confirmed := self._levels.saw_fall(name, opened_s, tick.now_s)) and tick.now_s < until_s:
            tick = yield from self._steps.next()
        self._levels.note_drop(name, confirmed)
        return confirmed

    def _close(self, name: str) -> Generator[None, Tick, None]:
        """Close the gate of a bin, but not on a hand: where an arm reaches in meanwhile, the gate reopens and waits."""
        for _ in range(MOST_REOPENINGS):
            if (yield from self._steps.close(name, must_reopen=self._tray.sees_arm)):
                return
            yield from self._tray.wait_until_clear()
        raise SortingFault("obstruction", f"something reaches in whenever the gate of {name} closes: is the gate itself in view?")

    def _adapt(self, judgement: Judgement) -> None:
        """Pass one item on to what adapts to this site: label prior, drift monitor, samples for review."""
        if judgement.choice.reason not in ("unknown", "several"):
            self._label_prior.observe(judgement.posterior)
        for drift in self._drift_monitor.observe(measure_item(judgement.pixels, judgement.posterior, judgement.unknown)):
            self.record(drift)
        self._collect(Sample(judgement.judged_pixels, judgement.mask, judgement.embedding, judgement.note()))

    def _finish_item(self) -> Generator[None, Tick, None]:
        """After a fault: deliver the item that it left on the tray, if any. While the bin is paused it stays there, and is judged anew later."""
        if self._current is not None and self.manual.paused:
            judgement, self._current = self._current, None
            self.record(judgement.interrupted("fault"))
        elif self._current is not None:
            yield from self._deliver(self._current, "fault")

    def _replace_runtime(self) -> Generator[None, Tick, None]:
        """Go on with the spare runtime. Raises RuntimeFault where there is none, and what opening it raises: only a restart helps."""
        assert self._runtime_fault is not None, "a runtime is replaced because it failed"
        spare = self._judge.start_spare(str(self._runtime_fault))
        if spare is None:
            raise self._runtime_fault
        while not spare.done():
            yield from self._steps.rest()
        self._judge.switch_to(spare.result())
