"""A whole bin in simulated time: virtual tray and camera, simulated gates, and the real model, ledger and sorter."""

import concurrent.futures
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from device.adaptation.drift import DriftMonitor
from device.adaptation.label_prior import LabelPrior, SiteSettings
from device.cameras import Frame
from device.common.clock import Clock
from device.daemon.startup import item_counts
from device.events import AnyEvent, Event
from device.gates.gates import Gates
from device.gates.simulated import SimulatedGate, SimulatedSettings
from device.ledger.ledger import Ledger
from device.ledger.schema import LedgerError
from device.policy.rules import default_rules, read_rules
from device.samples.collector import Sample
from device.sensors import CountItems
from device.sensors.estimate import Estimate, EstimateSettings
from device.sensors.levels import Levels, WiredSensor
from device.sensors.sensor_reader import InlineReader
from device.sensors.simulated import SensorFaults, SimulatedLevelSettings
from device.simulation.bin import DelayedExposure, FallenItem, Scenario, VirtualBin
from device.simulation.contents import BinContents
from device.simulation.hardware import simulated_gates, virtual_sensor
from device.simulation.items import VirtualItem
from device.sorting.control_steps import SortingSettings
from device.sorting.empty_reference import EmptyReference
from device.sorting.sorter import Sorter, SortingParts
from device.vision.fewshot.fewshot_head import FewshotHead
from device.vision.inference.bundle import Bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.occupancy import OccupancyDetector, PresenceSettings
from device.vision.judge import Judge

FRAME_S = 0.1
STEP_S = 0.02


class Disk:
    """The ledger as the sorter uses it, with faults: while `works` is False it refuses events. before_intents: called before an intent is stored."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._pending: list[Future[AnyEvent]] = []
        self.works = True
        self.before_intents: Callable[[], None] = lambda: None

    def intend(self, item: str, to_bin: str, label: str) -> "Future[None]":
        self.before_intents()
        intent = self._ledger.intend(item, to_bin, label)
        concurrent.futures.wait([intent], 10.0)
        return intent

    def stamped(self, event: Event) -> Event:
        return self._ledger.stamped(event)

    def record(self, event: Event) -> "Future[AnyEvent]":
        if not self.works:
            refused: Future[AnyEvent] = Future()
            refused.set_exception(LedgerError("the disk is full"))
            return refused
        stored = self._ledger.record(event)
        self._pending.append(stored)
        return stored

    def stored(self) -> list[AnyEvent]:
        """Wait until the disk has answered. Returns the events that were stored since the last call."""
        pending, self._pending = self._pending, []
        concurrent.futures.wait(pending, 10.0)
        return [event.result() for event in pending]


@dataclass(frozen=True, kw_only=True)
class BenchSetup:
    """How a bench differs from an ordinary bin that starts for the first time."""

    sorting: SortingSettings = field(default_factory=SortingSettings)
    presence: PresenceSettings = field(default_factory=PresenceSettings)
    site: SiteSettings = field(default_factory=SiteSettings)
    rules: Path | None = None
    teaching: FewshotHead | None = None
    classifier: Classifier | None = None
    open_spare: Callable[[str], Classifier] | None = None
    detector: OccupancyDetector | None = None
    """the occupancy detector that an earlier start has stored"""
    background: BackgroundModel | None = None
    """the background model that an earlier start has stored"""
    earlier_reference: EmptyReference | None = None
    """the earlier reference, see TrayMonitor"""
    residual_only: bool = False
    sticks: Callable[[VirtualItem], bool] = lambda _: False
    """things that do not fall"""
    first_after_s: float = 1.5
    """when the first thing comes"""
    back_lit: float = 1.0
    """how many times as much light comes from behind a thing as falls on its front"""
    exposure: Callable[[], DelayedExposure] = DelayedExposure
    """how the camera follows what the sorter asks of its exposure"""
    gates: Sequence[SimulatedSettings] = ()
    """empty: a flap for each bin of the rule pack"""
    levels: Sequence[SimulatedLevelSettings | EstimateSettings] = ()
    """its level sensors, none by default"""
    items_to_fill: int = 4
    """so many items fill a bin"""
    contents: BinContents | None = None
    """what an earlier start has left in the bins"""


class Bench:
    """One bin whose time passes only while `live` runs. It waits for the disk, so simulated time never outruns it."""

    def __init__(self, bundle: Bundle, state: Path, things: Iterable[VirtualItem], setup: BenchSetup = BenchSetup()) -> None:
        self.classifier = setup.classifier or Classifier(bundle)
        labels = self.classifier.labels if setup.teaching is None else setup.teaching.labels
        self.rules = read_rules(setup.rules or default_rules(), labels, self.classifier.labels)
        actuators = [each.claim() for each in setup.gates] or list(simulated_gates(self.rules).values())
        self.gates: dict[str, SimulatedGate] = {name: gate for gate in actuators for name in gate.bins}
        self.thrown: list[VirtualItem] = []
        self.landed: list[FallenItem] = []
        self.bin = VirtualBin(
            actuators,
            self._throw(things),
            Scenario(
                first_after_s=setup.first_after_s,
                may_begin=lambda: self.throws,
                sticks=setup.sticks,
                on_fallen=self._land,
                back_lit=setup.back_lit,
            ),
        )
        self.ledger = Ledger(state, "bench", Clock())
        self.disk = Disk(self.ledger)
        self.now_s = 100.0
        self.contents = setup.contents or BinContents(self.rules.bins, setup.items_to_fill)
        self.sensor_faults = {each.bin: SensorFaults() for each in setup.levels}
        wired = [self._wire(each) for each in setup.levels]
        self.levels = Levels(wired, self.rules.bins, lambda: item_counts(self.ledger), self.ledger.full_before, start=_read_inline)
        self.events: list[AnyEvent] = []
        self.offered: list[Sample] = []
        self.camera_works = True
        self.camera_says = ""
        self.lamp_flickers = False
        self.throws = True
        self.sees: Callable[[Pixels], Pixels] = lambda pixels: pixels
        self.opened: set[str] = set()
        self.exposure = setup.exposure()
        self.exposures: list[float] = []
        self.ignores_exposure = False
        self.judge = Judge(self.classifier, setup.teaching, setup.open_spare)
        self.detector, self.background = setup.detector or OccupancyDetector(PresenceSettings()), setup.background or BackgroundModel()
        self.sorter = Sorter(
            setup.sorting,
            setup.presence,
            SortingParts(
                judge=self.judge,
                label_prior=LabelPrior(labels, np.ones(len(labels)), setup.site),
                drift_monitor=DriftMonitor(len(labels)),
                rules=self.rules,
                gates=Gates(actuators),
                reference=EmptyReference(self.detector, self.background),
                earlier_reference=setup.earlier_reference,
                hazard_held=self.ledger.hazard_held,
                levels=self.levels,
                ledger=self.disk,
                on_stored=lambda _: None,
                collect=self.offered.append,
                ask_exposure=self._ask_exposure,
            ),
            residual_only=setup.residual_only,
        )
        self._frames = 0
        self._frame_due_s = self.now_s

    def live(self, most_s: float, until: Callable[[], bool] = lambda: False, *, frame_s: float = FRAME_S) -> bool:
        """Let at most `most_s` seconds pass. True when `until` became true before that. frame_s: time between frames; longer runs faster."""
        end_s = self.now_s + most_s
        while self.now_s < end_s:
            self.now_s += STEP_S
            frame = None
            if self.now_s >= self._frame_due_s:
                self._frame_due_s = self.now_s + frame_s
                self._frames += 1
                exposure = self.exposure.next_frame()
                pixels = self.bin.picture(self.now_s, 1.0 if self.ignores_exposure else exposure)
                if self.lamp_flickers and self._frames % 2:
                    pixels = np.asarray(pixels // 2, np.uint8)
                pixels = self.sees(pixels)
                frame = Frame(pixels, self._frames, self.now_s, exposure) if self.camera_works else None
            for event in self.levels.update(self.now_s):
                self.sorter.record(event)
            self.sorter.tick(self.now_s, frame, "" if self.camera_works else self.camera_says)
            self.opened |= {name for name, gate in self.gates.items() if gate.openings(self.now_s)[name] > 0}
            self.events += self.disk.stored()
            if until():
                return True
        return False

    def _ask_exposure(self, exposure: float, frames: int) -> float:
        self.exposures.append(exposure)
        return self.exposure.ask(exposure, frames)

    def recorded(self, kind: type[Event]) -> list[Event]:
        """The events of one type, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def _land(self, fallen: FallenItem) -> None:
        self.landed.append(fallen)
        self.contents.add(fallen.bin, fallen.at_s)

    def _wire(self, settings: SimulatedLevelSettings | EstimateSettings) -> WiredSensor:
        if isinstance(settings, EstimateSettings):
            return WiredSensor(settings, lambda count_items: Estimate(settings, count_items, now_s=lambda: self.now_s))
        return virtual_sensor(settings, self.contents, lambda: self.now_s, self.sensor_faults[settings.bin])

    def _throw(self, things: Iterable[VirtualItem]) -> Iterator[VirtualItem]:
        for thing in things:
            self.thrown.append(thing)
            yield thing

    def cut_power(self) -> None:
        """End without a stop of the sorter and the ledger."""
        self.events += self.disk.stored()
        self.ledger.close(5.0, "crash")

    def close(self) -> None:
        self.sorter.stop()
        self.events += self.disk.stored()
        self.ledger.close(5.0)


def _read_inline(sensor: WiredSensor, count_items: CountItems) -> InlineReader:
    """Read on the control thread, under simulated time."""
    return InlineReader(sensor.settings.name, lambda: sensor.open(count_items), sensor.settings.pace_s)


def photos(folder: Path, painted: Callable[..., Pixels], labels: Iterable[str]) -> list[VirtualItem]:
    """One plain photo a label, in order, that the tiny bundle gives that label."""
    things = []
    for number, label in enumerate(labels):
        file = folder / f"{number:02}-{label}.png"
        cv2.imwrite(str(file), cv2.cvtColor(painted(label, 48, 64), cv2.COLOR_RGB2BGR))
        things.append(VirtualItem(file.stem, label, file, None))
    return things
