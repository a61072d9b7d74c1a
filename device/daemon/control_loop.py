"""The daemon: opens the parts of a bin, runs the control loop, and stops them so that nothing moves and nothing is lost."""

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from device import __version__
from device.adaptation.drift import DriftMonitor
from device.adaptation.head_store import read_head
from device.adaptation.label_prior import LabelPrior, SiteError
from device.cameras import EndOfFrames
from device.common.clock import Clock
from device.common.errors import SortbinError
from device.common.files import replacing_durably
from device.common.memory import give_back_code
from device.daemon.health import Heartbeats, Notifier
from device.daemon.parts import Parts, remarked
from device.daemon.status import Reporter
from device.events import AnyEvent, Started
from device.gates import GateError
from device.gates.gates import Gates
from device.hardware import BinHardware
from device.ledger.ledger import LOOP_S, Ledger
from device.mqtt.link import Link
from device.policy.rules import RulePack, default_rules, find_rules, read_rules
from device.samples.collector import SampleCollector
from device.settings import BinSettings, ModelSettings
from device.sorting.sorter import Sorter, SortingParts
from device.sorting.tray_monitor import EmptyReference
from device.vision.fewshot.fewshot_head import Teaching, TeachingError
from device.vision.inference.bundle import Bundle, BundleError, default_bundle, find_bundle, read_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.runtime import Kernels, RuntimeFault, load_runtime
from device.vision.isolation.background import EmptyViews
from device.vision.isolation.occupancy import EmptyView
from device.vision.judge import Judge

log = logging.getLogger("sortbin")

TICK_S = 0.02
"""longest pause between two steps of the sorter while a gate moves, so that it is carried on 50 times a second"""
REST_S = 0.1
"""the same while none moves; a new frame ends the pause in any case"""
SAFE_AFTER = 5
"""crashes in a row, each soon after its start, after which everything goes to the residual bin"""
STORED_S = 0.5
"""longest wait at a stop until the last events are stored"""
KEEP_VIEW_S = 600.0
"""how often the learned empty views are written to disk"""
VIEW_FILE, VIEWS_FILE = "empty-view.npy", "empty-views.npy"


class Crash(SortbinError, RuntimeError):
    """A part that was opened and has given up, with its reason. The end of the process counts as a crash, and a new start may help."""


@contextlib.contextmanager
def opened(settings: BinSettings, open_hardware: Callable[[RulePack], BinHardware], told: Callable[[AnyEvent], None]) -> Iterator[Parts]:
    """Open every part, and close them in the opposite order whatever happens.

    open_hardware: opens what this bin sees with and moves, given its rule pack. told: called with each event that opening the ledger has stored.
    Raises BundleError (also for a wrong known answer), RuntimeFault, RulesError, SiteError, GateError, LedgerError where a part cannot be opened, and
    Crash for what a part raises once all are.
    """
    with contextlib.ExitStack() as stack:
        # The ledger first: it knows of crashes, and an accelerator may be what they come from.
        ledger = Ledger(Path(settings.device.state), settings.device.id, Clock())
        begun = False
        stack.push(lambda error, *_: _close(ledger, error, begun))
        for event in ledger.interrupted:
            told(event)
        safe_mode = ledger.crashes >= SAFE_AFTER
        if safe_mode:
            log.warning(
                "safe mode after %d crashes in a row: everything goes to the residual bin, and no Edge TPU is used, until the bin has run for %g min",
                ledger.crashes,
                LOOP_S / 60,
            )
        with remarked() as remarks:
            for warning in ledger.warnings:
                log.warning("%s", warning)
            judge = open_judge(_without_edgetpu(settings) if safe_mode else settings)
            rules = read_rule_pack(settings, judge.labels, judge.classifier.labels)
            for label in rules.hazards_without_label(judge.labels):
                log.warning("rule pack %s: the hazard %s passes unnoticed until the bin is taught it", rules.name, label)
            label_prior = open_label_prior(settings, judge)
            hardware = open_hardware(rules)
            stack.callback(hardware.close)
        link = None if settings.mqtt is None else Link(settings.mqtt, settings.device.id, ledger)
        if link is not None:
            stack.callback(link.stop, 0.5)
        begun = True
        try:
            yield Parts(judge, label_prior, rules, hardware, ledger, link, safe_mode, tuple(remarks))
        except SortbinError as error:
            raise Crash(str(error)) from error


def _close(ledger: Ledger, error: type[BaseException] | None, begun: bool) -> None:
    """A start that was refused before all parts were open does not count: what the ledger knows of crashes stays as it was."""
    refused = error is not None and issubclass(error, SortbinError) and not begun
    ledger.close(0.5, "not begun" if refused else "crash" if error is not None else "clean")


def _without_edgetpu(settings: BinSettings) -> BinSettings:
    return msgspec.structs.replace(settings, model=msgspec.structs.replace(settings.model, edgetpu=False))


def open_classifier(settings: BinSettings) -> Classifier:
    """Load the bundle on the runtime that will be used and check its known answer.

    An Edge TPU that is missing, sick or wrong is said in the log, and the CPU does the work. Raises BundleError and RuntimeFault.
    """
    bundle = read_bundle(find_bundle(settings.model.bundle) if settings.model.bundle else default_bundle())
    if not settings.model.edgetpu:
        return _checked(bundle, settings.model, "default")
    try:
        classifier = _checked(bundle, settings.model, "edgetpu")
    except (BundleError, RuntimeFault) as error:
        return _on_cpu(bundle, settings.model, str(error))
    if classifier.runtime.degraded:
        log.warning("no Edge TPU, on the CPU instead: %s", classifier.runtime.degraded)
    return classifier


def open_judge(settings: BinSettings) -> Judge:
    """The classifier, and what was taught on top of it. Raises as `open_classifier` does."""
    classifier = open_classifier(settings)
    bundle = classifier.bundle
    on_edgetpu = settings.model.edgetpu and not classifier.runtime.degraded
    return Judge(classifier, _taught(Path(settings.device.state), bundle), functools.partial(_on_cpu, bundle, settings.model) if on_edgetpu else None)


def _on_cpu(bundle: Bundle, model: ModelSettings, why: str) -> Classifier:
    """In place of an Edge TPU. why: what is wrong with that."""
    classifier = _checked(bundle, model, "default", degraded=why)
    log.warning("no Edge TPU, on the CPU instead: %s", why)
    return classifier


def _taught(state: Path, bundle: Bundle) -> Teaching | None:
    """What the bin was taught. What does not fit the bundle is said in the log: better to sort with the bundle alone than not at all."""
    try:
        return read_head(state, bundle)
    except TeachingError as error:
        log.warning("what was taught does not count: %s", error)
        return None


def _checked(bundle: Bundle, model: ModelSettings, kernels: Kernels, degraded: str = "") -> Classifier:
    runtime = load_runtime(bundle, package=model.runtime or None, kernels=kernels, threads=model.threads, degraded=degraded)
    classifier = Classifier(bundle, runtime)
    classifier.check_known_answer()
    return classifier


def read_rule_pack(settings: BinSettings, labels: tuple[str, ...], also: tuple[str, ...] = ()) -> RulePack:
    """The rule pack that the settings name; labels, also: as for `read_rules`. Raises RulesError."""
    return read_rules(find_rules(settings.model.rules) if settings.model.rules else default_rules(), labels, also)


def open_label_prior(settings: BinSettings, judge: Judge) -> LabelPrior:
    """What the settings say of the place, for the labels that are judged. Raises SiteError."""
    try:
        return LabelPrior(judge.labels, judge.usual, settings.site)
    except SiteError as error:
        raise SiteError(f"site.{error}") from error


def run(settings: BinSettings, parts: Parts, stop: threading.Event, told: Callable[[AnyEvent], None], notifier: Notifier) -> None:
    """Sort until `stop` is set or a replayed camera has shown all it has.

    told: called with each event once it is stored, on the ledger's thread; it must return at once.
    """
    ledger, camera, gates = parts.ledger, parts.hardware.camera, parts.hardware.gates
    state = Path(settings.device.state)
    bare, before = EmptyReference(EmptyView(settings.presence), EmptyViews()), EmptyReference(EmptyView(settings.presence), EmptyViews())
    drift_monitor = DriftMonitor(len(parts.judge.labels))
    learned = ViewKeeper(state / parts.label_prior.file, parts.label_prior), ViewKeeper(state / parts.judge.drift_file, drift_monitor)
    keepers = (*_kept(state, bare), *learned)
    for keeper in (*_kept(state, bare if ledger.restarts else before), *learned):
        keeper.restore()
    reporter = Reporter(settings.device, drift_monitor, parts)

    frames = SampleCollector(settings.keep)

    def stored(event: AnyEvent) -> None:
        reporter.note(event)
        told(event)

    sorter = Sorter(
        settings.sorting,
        settings.presence,
        SortingParts(
            judge=parts.judge,
            label_prior=parts.label_prior,
            drift_monitor=drift_monitor,
            rules=parts.rules,
            gates=gates,
            reference=bare,
            earlier_reference=before,
            ledger=ledger,
            on_stored=stored,
            collect=frames.offer,
        ),
        residual_only=parts.safe_mode,
    )
    give_back_code()  # that opening the parts took
    began_s = time.monotonic()
    beats = Heartbeats(["control", "ledger", "camera", "link"], began_s)
    number, started = 0, False
    try:
        while not stop.is_set():
            frame = camera.latest(number, TICK_S if gates.moving else REST_S)
            now_s = time.monotonic()
            number = frame.number if frame is not None else number
            sorter.tick(now_s, frame, str(camera.last_error or ""))
            beats.beat("control", now_s)
            if ledger.alive:
                beats.beat("ledger", now_s)
            if not camera.stuck:
                beats.beat("camera", now_s)
            if parts.link is None or parts.link.alive:
                beats.beat("link", now_s)
            if sorter.mode == "fault" or (number and gates.all_closed):
                # Ready also with a fault: it is reported, and mends itself; a restart would mend no camera.
                notifier.ready()
            if not started and sorter.mode == "ready":
                started = True
                sorter.tell(_started(parts))
                give_back_code()  # that the first looks took
            silent = beats.silent(now_s)
            if silent:
                log.error("hung: %s; waiting for the watchdog", ", ".join(silent))
            else:
                notifier.alive(now_s)
            if sorter.safe_mode and now_s - began_s >= LOOP_S:
                log.info("safe mode is over: the bin has run for %g min", LOOP_S / 60)
                sorter.leave_safe_mode()
            reporter.update(now_s, sorter.mode, sorter.fault, sorter.safe_mode)
            notifier.status(reporter.line)
            for keeper in keepers:
                keeper.update(now_s)
    except EndOfFrames:
        log.info("the camera has shown all it has")
    finally:
        notifier.stopping()
        try:
            sorter.stop()
        finally:
            _close_gates(gates, settings.sorting.gate_s)
        for keeper in keepers:
            keeper.close()
        frames.close()
        # What is left at the broker while the bin is off counts what it did last.
        _wait_until_stored(ledger, STORED_S)
        reporter.update(time.monotonic(), sorter.mode, sorter.fault, sorter.safe_mode)


class Learned(Protocol):
    """What was learned of the empty tray, or of the site, as an array that can be kept."""

    @property
    def known(self) -> bool: ...
    def export(self) -> npt.NDArray[Any] | None: ...
    def restore(self, stored: npt.NDArray[Any], /) -> None: ...


class ViewKeeper:
    """Keeps what was learned on disk: of the site for good; of the empty tray so that a restart amid an item knows what lies on the tray for an item.

    After a clean stop the tray is learned anew, for somebody may have cleaned it, or moved the camera or the lamp; what is kept then tells a tray
    that is empty from one that was learned with something on it.
    """

    def __init__(self, file: Path, view: Learned) -> None:
        self._file, self._view = file, view
        self._due_s: float | None = None
        self._writing: threading.Thread | None = None

    def restore(self) -> None:
        """Take the view that an earlier start has kept, where there is a sound one."""
        try:
            stored = np.load(self._file)
            if not np.isfinite(stored).all():
                raise ValueError("expected finite numbers")
            self._view.restore(stored)
        except FileNotFoundError:
            return
        except Exception as error:  # NumPy's reader lets through whatever its parsers meet in a damaged header
            log.warning("%s: cannot be used, it will be learned anew: %s", self._file, error)

    def update(self, now_s: float) -> None:
        """Write the view when it was just learned and every KEEP_VIEW_S seconds, on a thread of its own."""
        if not self._view.known or (self._due_s is not None and now_s < self._due_s):
            return
        self._due_s = now_s + KEEP_VIEW_S
        if self._writing is None or not self._writing.is_alive():
            self._writing = threading.Thread(target=self._write, args=(self._view.export(),), name="view", daemon=True)
            self._writing.start()

    def close(self) -> None:
        """Write the view a last time."""
        if self._view.known:
            self._write(self._view.export())

    def _write(self, view: npt.NDArray[Any] | None) -> None:
        try:
            with replacing_durably(self._file) as new, new.open("wb") as file:
                np.save(file, np.asarray(view))
        except OSError as error:
            log.warning("%s: %s; it will be learned anew at the next start", self._file, error.strerror)


def _kept(state: Path, bare: EmptyReference) -> tuple[ViewKeeper, ViewKeeper]:
    return ViewKeeper(state / VIEW_FILE, bare.view), ViewKeeper(state / VIEWS_FILE, bare.empty)


def _wait_until_stored(ledger: Ledger, most_s: float) -> None:
    deadline_s = time.monotonic() + most_s
    while ledger.busy and time.monotonic() < deadline_s:
        time.sleep(TICK_S)


def _started(parts: Parts) -> Started:
    classifier = parts.judge.classifier
    return Started(version=__version__, bundle=classifier.bundle.info.name, runtime=classifier.runtime.name, restarts=parts.ledger.restarts)


def _close_gates(gates: Gates, most_s: float) -> None:
    """Close them and switch their outputs off, before anything else at the end has to wait for a disk or a network."""
    deadline_s = time.monotonic() + most_s
    try:
        gates.close_all(time.monotonic())
        while not gates.all_closed and time.monotonic() < deadline_s:
            gates.update(time.monotonic())
            time.sleep(TICK_S)
    except GateError as error:
        log.error("%s", error)
    finally:
        gates.release()
