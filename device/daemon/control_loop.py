"""The daemon: opens the parts of a bin, runs the control loop, and stops them so that nothing moves and nothing is lost."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from device import __version__
from device.adaptation.drift import DriftMonitor
from device.cameras import EndOfFrames
from device.common.memory import release_code_pages
from device.daemon.learned_state import VIEW_FILE, VIEWS_FILE, LearnedStateFile
from device.daemon.parts import BinParts
from device.daemon.status_reporter import StatusReporter
from device.daemon.watchdog import Heartbeats, SystemdNotifier
from device.events import AnyEvent, Started
from device.gates import GateError
from device.gates.gates import Gates
from device.ledger.ledger import Ledger
from device.ledger.restart_count import CRASH_LOOP_S
from device.samples.collector import SampleCollector
from device.settings import BinSettings
from device.sorting.sorter import Sorter, SortingParts
from device.sorting.tray_monitor import EmptyReference
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.occupancy import OccupancyDetector

log = logging.getLogger("sortbin")

TICK_S = 0.02
"""longest pause between two steps of the sorter while a gate moves, so that it is carried on 50 times a second"""
REST_S = 0.1
"""the same while none moves; a new frame ends the pause in any case"""
STORED_S = 0.5
"""longest wait at a stop until the last events are stored"""


def run_control_loop(
    settings: BinSettings, parts: BinParts, stop: threading.Event, told: Callable[[AnyEvent], None], notifier: SystemdNotifier
) -> None:
    """Sort until `stop` is set or a replayed camera has shown all it has.

    told: called with each event once it is stored, on the ledger's thread; it must return at once.
    """
    ledger, camera, gates = parts.ledger, parts.hardware.camera, parts.hardware.gates
    state = Path(settings.device.state)
    bare, before = (
        EmptyReference(OccupancyDetector(settings.presence), BackgroundModel()),
        EmptyReference(OccupancyDetector(settings.presence), BackgroundModel()),
    )
    drift_monitor = DriftMonitor(len(parts.judge.labels))
    learned = LearnedStateFile(state / parts.label_prior.file, parts.label_prior), LearnedStateFile(state / parts.judge.drift_file, drift_monitor)
    keepers = (*_kept(state, bare), *learned)
    for keeper in (*_kept(state, bare if ledger.restarts else before), *learned):
        keeper.restore()
    reporter = StatusReporter(settings.device, drift_monitor, parts)

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
    release_code_pages()  # that opening the parts took
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
                release_code_pages()  # that the first looks took
            silent = beats.silent(now_s)
            if silent:
                log.error("hung: %s; waiting for the watchdog", ", ".join(silent))
            else:
                notifier.alive(now_s)
            if sorter.safe_mode and now_s - began_s >= CRASH_LOOP_S:
                log.info("safe mode is over: the bin has run for %g min", CRASH_LOOP_S / 60)
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


def _kept(state: Path, bare: EmptyReference) -> tuple[LearnedStateFile, LearnedStateFile]:
    return LearnedStateFile(state / VIEW_FILE, bare.view), LearnedStateFile(state / VIEWS_FILE, bare.empty)


def _wait_until_stored(ledger: Ledger, most_s: float) -> None:
    deadline_s = time.monotonic() + most_s
    while ledger.busy and time.monotonic() < deadline_s:
        time.sleep(TICK_S)


def _started(parts: BinParts) -> Started:
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
