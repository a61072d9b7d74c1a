"""The control loop: up to 50 times a second it passes the newest frame to the sorter, feeds the watchdog and reports. Stopping closes all gates."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from device import __version__
from device.adaptation.drift import DriftMonitor
from device.cameras import EndOfFrames
from device.common.memory import release_code_pages
from device.daemon.home_assistant import open_discovery
from device.daemon.learned_state import LearnedStateFile, empty_reference_files
from device.daemon.parts import BinParts
from device.daemon.status_reporter import StatusReporter
from device.daemon.watchdog import Heartbeats, SystemdNotifier
from device.events import AnyEvent, Started
from device.gates import GateError
from device.gates.gates import Gates
from device.ledger.ledger import Ledger
from device.ledger.restart_count import CRASH_LOOP_S
from device.remote.controls import BinControls
from device.remote.lessons import RemoteLessons
from device.remote.pause_note import PauseNote
from device.remote.remote_control import RemoteControl
from device.samples.collector import Sample, SampleCollector
from device.settings import BinSettings
from device.sorting.empty_reference import EmptyReference
from device.sorting.sorter import Sorter, SortingParts
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.occupancy import OccupancyDetector

log = logging.getLogger("sortbin")

TICK_S = 0.02
"""longest pause between two steps while a gate moves: a move is updated 50 times a second"""
REST_S = 0.1
"""longest pause between two steps while no gate moves; a new frame ends the pause"""
STORED_S = 0.5
"""longest wait at a stop until the last events are stored"""


def run_control_loop(
    settings: BinSettings, parts: BinParts, stop: threading.Event, on_event: Callable[[AnyEvent], None], notifier: SystemdNotifier
) -> None:
    """Sort until `stop` is set, a command asks for a restart, or a replay has no more frames.

    on_event: called with each event once it is stored, on the ledger's thread; it must return at once.
    """
    loop = _ControlLoop(settings, parts, on_event, notifier)
    try:
        while not (stop.is_set() or loop.restarts_now):
            loop.step()
    except EndOfFrames:
        log.info("the replay has ended")
    finally:
        loop.close()


class _ControlLoop:
    def __init__(self, settings: BinSettings, parts: BinParts, on_event: Callable[[AnyEvent], None], notifier: SystemdNotifier) -> None:
        self._parts, self._notifier, self._gate_s = parts, notifier, settings.sorting.gate_s
        reference, earlier_reference = _empty_reference(settings), _empty_reference(settings)
        drift_monitor = DriftMonitor(len(parts.judge.labels))
        state = Path(settings.device.state)
        learned = (
            LearnedStateFile(state / parts.label_prior.file, parts.label_prior),
            LearnedStateFile(state / parts.judge.drift_file, drift_monitor),
        )
        # After a clean stop the tray may have changed: what was stored of it is only compared with what is learned now.
        restored = reference if parts.ledger.restarts else earlier_reference
        for file in (*empty_reference_files(state, restored), *learned):
            file.restore()
        self._learned_files = (*empty_reference_files(state, reference), *learned)
        self._reporter = StatusReporter(settings, drift_monitor, parts)
        self._discovery = open_discovery(settings, parts)
        self._samples = SampleCollector(settings.keep)
        self._lessons = RemoteLessons(parts.judge, state, settings.model.rules)

        def on_stored(event: AnyEvent) -> None:
            self._reporter.note(event)
            on_event(event)

        self._sorter = Sorter(
            settings.sorting,
            settings.presence,
            SortingParts(
                judge=parts.judge,
                label_prior=parts.label_prior,
                drift_monitor=drift_monitor,
                rules=parts.rules,
                gates=parts.hardware.gates,
                reference=reference,
                earlier_reference=earlier_reference,
                hazard_held=parts.ledger.hazard_held,
                levels=parts.levels,
                ledger=parts.ledger,
                on_stored=on_stored,
                collect=self._collect,
                ask_exposure=parts.hardware.camera.ask_exposure,
            ),
            residual_only=parts.safe_mode,
        )
        self._restart_asked = False
        self._remote = self._listen(settings)
        release_code_pages()  # opening the parts is over
        self._began_s = time.monotonic()
        self._heartbeats = Heartbeats(["control", "ledger", "camera", "link"], self._began_s)
        self._frame_number = 0
        self._started = False

    def step(self) -> None:
        """Wait for the next frame, a short time at most, and go one step on. Raises EndOfFrames at the end of a replay."""
        camera, gates = self._parts.hardware.camera, self._parts.hardware.gates
        frame = camera.latest(self._frame_number, TICK_S if gates.moving else REST_S)
        now_s = time.monotonic()
        if frame is not None:
            self._frame_number = frame.number
        for event in self._parts.levels.update(now_s):
            self._sorter.record(event)
        self._sorter.tick(now_s, frame, str(camera.last_error or ""))
        if self._remote is not None:
            self._remote.update(now_s)
        self._notify_progress()
        self._feed_watchdog(now_s)
        if self._sorter.safe_mode and now_s - self._began_s >= CRASH_LOOP_S:
            log.info("safe mode is over: the bin has run for %g min", CRASH_LOOP_S / 60)
            self._sorter.leave_safe_mode()
        self._report(now_s)
        if self._discovery is not None:
            self._discovery.update(now_s)
        self._notifier.status(self._reporter.line)
        for file in self._learned_files:
            file.update(now_s)

    def close(self) -> None:
        """Close the gates, then store what was learned and report a last time."""
        self._notifier.stopping()
        if self._remote is not None:
            self._remote.close()
        try:
            self._sorter.stop()
        finally:
            _close_gates(self._parts.hardware.gates, self._gate_s)
        for file in self._learned_files:
            file.close()
        self._samples.close()
        if self._discovery is not None:
            self._discovery.close()
        # The totals that stay at the broker while the bin is off include the last event.
        _wait_until_stored(self._parts.ledger, STORED_S)
        self._report(time.monotonic())

    @property
    def restarts_now(self) -> bool:
        """Whether a command has asked for a restart, and all commands are answered."""
        return self._restart_asked and not (self._remote is not None and self._remote.busy)

    def _listen(self, settings: BinSettings) -> RemoteControl | None:
        """Listen to commands where the settings say so. A bin that was paused when it ended stays paused."""
        link, mqtt, note = self._parts.link, settings.mqtt, PauseNote(Path(settings.device.state))
        if link is None or mqtt is None or not mqtt.commands:
            if note.is_there:
                log.warning("was paused by a command, and sorts again: [mqtt] commands is off now, so nobody could resume it")
                note.delete()
            return None
        if note.is_there:
            log.warning("is still paused by a command of before this start: the command resume ends that")
            self._sorter.manual.paused = True
        controls = BinControls(
            sorter=self._sorter,
            newest_frame=self._parts.hardware.camera.latest,
            rules=self._parts.rules,
            levels=self._parts.levels,
            lessons=self._lessons,
            pause_note=note,
            publish_image=link.publish_image if mqtt.images else None,
            ask_restart=self._ask_restart,
        )
        remote = RemoteControl(controls, self._parts.ledger, link.publish_result)
        link.subscribe(link.topics.commands, remote.receive)
        return remote

    def _ask_restart(self) -> None:
        self._restart_asked = True

    def _collect(self, sample: Sample) -> None:
        """Pass on an item that was judged to what may store it, and to lessons from afar."""
        self._samples.offer(sample)
        if self._remote is not None:
            self._lessons.remember(sample)

    def _notify_progress(self) -> None:
        """Tell systemd when start-up is over, and record the `started` event once the bin can sort."""
        if self._sorter.mode == "fault" or (self._frame_number and self._parts.hardware.gates.all_closed):
            # Ready with a fault too: it is published and cleared without a restart, and no restart repairs a camera.
            self._notifier.ready()
        if not self._started and self._sorter.mode in ("ready", "paused"):
            self._started = True
            classifier, restarts = self._parts.judge.classifier, self._parts.ledger.restarts
            bundle = classifier.bundle.info.name
            self._sorter.record(Started(version=__version__, bundle=bundle, runtime=classifier.runtime.name, restarts=restarts))
            release_code_pages()  # learning the empty tray is over

    def _feed_watchdog(self, now_s: float) -> None:
        """Feed systemd's watchdog while no thread hangs."""
        link = self._parts.link
        alive = {
            "control": True,
            "ledger": self._parts.ledger.alive,
            "camera": not self._parts.hardware.camera.stuck,
            "link": link is None or link.alive,
        }
        for thread, is_alive in alive.items():
            if is_alive:
                self._heartbeats.beat(thread, now_s)
        if silent := self._heartbeats.silent(now_s):
            log.error("hung: %s; waiting for the watchdog", ", ".join(silent))
        else:
            self._notifier.alive(now_s)

    def _report(self, now_s: float) -> None:
        self._reporter.update(now_s, self._sorter.mode, self._sorter.faults, self._sorter.safe_mode)


def _empty_reference(settings: BinSettings) -> EmptyReference:
    return EmptyReference(OccupancyDetector(settings.presence), BackgroundModel())


def _wait_until_stored(ledger: Ledger, most_s: float) -> None:
    deadline_s = time.monotonic() + most_s
    while ledger.busy and time.monotonic() < deadline_s:
        time.sleep(TICK_S)


def _close_gates(gates: Gates, most_s: float) -> None:
    """Close all gates and switch their outputs off. Nothing that may wait for a disk or a network comes before this."""
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
