"""`sortbin check`: tries each part of this bin and says what to do where one fails."""

import argparse
import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from device.cameras import FIRST_FRAME_S, CameraError, EndOfFrames
from device.cameras.camera_thread import CameraThread, open_camera
from device.cameras.settings import LEAST_SIDE
from device.commands.check_levels import read_sensors
from device.common.default_paths import DEFAULT_FILE
from device.common.errors import SortbinError
from device.common.shutdown import stop_on_signals
from device.daemon.folder_checks import require_ledger, require_writable
from device.daemon.startup import open_judge, open_label_prior, read_rule_pack
from device.daemon.systemd_unit import find_service, require_reach, require_rights
from device.gates.gates import Gates, open_gates
from device.hardware import check_gates, check_sensors, wired_sensors
from device.mqtt import MqttError
from device.mqtt.probe import may_publish, probe
from device.mqtt.topics import Topics
from device.settings import Settings, read_settings
from device.sorting.control_steps import ControlSteps, Tick
from device.sorting.empty_reference import EmptyReference
from device.sorting.faults import SortingFault
from device.sorting.tray_monitor import TrayMonitor
from device.vision.inference.runtime import RuntimeFault
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.occupancy import OccupancyDetector
from device.vision.judge import Judge

SECOND_TRY_S = 4.0
"""how long a camera that reports an error is retried"""
BROKER_S = 5.0
PARTS = ("edgetpu", "site", "camera", "gates", "levels", "state", "keep", "service", "broker")
"""parts that may be left out; the others are needed by later ones"""
FRAME_S = 0.1
"""longest wait for a frame before the stop signal is checked"""
DARK_BELOW = 25.0
"""mean brightness, of 255, below which the picture is reported as very dark"""


class NotTriedError(SortbinError):
    """A part that was not tried, since it needs another one that does not work."""


@dataclass(frozen=True)
class Finding:
    """The result for one part. message: what was found, or what to do."""

    part: str
    ok: bool
    message: str


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `check` to the command line."""
    parser = commands.add_parser(
        "check",
        help="say for each part of this bin whether it works",
        description="Try each part as the daemon does at its start, up to the first movement: settings, bundle, its golden output, rule pack, site, "
        "camera, gates, folders, what the service may reach, broker. Stop the service first, for it holds camera and gates. "
        "Exit status: 0 all work, 1 one does not, 2 the settings cannot be read.",
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_FILE, metavar="FILE", help="settings file (default: %(default)s)")
    parser.add_argument("--without", action="append", default=[], choices=PARTS, metavar="PART", help=f"leave out a part: {', '.join(PARTS)}")
    parser.add_argument("--json", action="store_true", help="a list of objects: part, ok, message")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check every part, and print each result as it comes. Returns the exit status."""
    stop = stop_on_signals()
    settings = read_settings(arguments.config)
    findings = []
    for finding in check(settings, arguments.config, stop, frozenset(arguments.without)):
        if stop.is_set():
            return 130
        findings.append(finding)
        if not arguments.json:
            print(f"{finding.part:<9}{'ok' if finding.ok else 'NO':<4}{finding.message}", flush=True)
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=1))
    return 0 if all(finding.ok for finding in findings) else 1


def check(settings: Settings, file: Path, stop: threading.Event, without: Set[str] = frozenset()) -> Iterator[Finding]:
    """Try the parts in the order in which the daemon opens them. One that fails, in any way, does not stop the others from being tried.

    without: parts of PARTS that are left out.
    """
    opened: list[Judge] = []

    def judge() -> Judge:
        if not opened:
            raise NotTriedError("needs the bundle, which cannot be used")
        return opened[0]

    def open_bundle() -> str:
        opened.append(open_judge(settings))
        return _bundle(opened[0])

    with _Trials() as trials:
        yield Finding("settings", True, f"{file}; this bin is {settings.device.id}")
        yield trials.run("bundle", open_bundle)
        attempts: dict[str, Callable[[], str]] = {
            "edgetpu": lambda: _edgetpu(judge()),
            "rules": lambda: _rules(settings, judge()),
            "site": lambda: _site(settings, judge()),
            "camera": lambda: _camera(settings, stop),
            "gates": lambda: _gates(settings),
            "levels": lambda: read_sensors(wired_sensors(settings), stop),
            "state": lambda: _state(settings),
            "keep": lambda: _keep(settings),
            "service": lambda: _service(settings, file),
            "broker": lambda: _broker(settings),
        }
        for part, attempt in attempts.items():
            if part not in without and (part != "edgetpu" or settings.model.edgetpu):
                yield trials.run(part, attempt)


class _Trials(logging.Handler):
    """Tries parts. Warnings and errors that a part logs are added to its result."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._logged: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._logged.append(record.getMessage())

    def __enter__(self) -> "_Trials":
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)

    def run(self, part: str, attempt: Callable[[], str]) -> Finding:
        """The result of an attempt, in one line, whatever it raises."""
        self._logged.clear()
        try:
            ok, message = True, attempt()
        except (SortbinError, SortingFault) as error:
            ok, message = False, str(error)
        except (Exception, SystemExit) as error:
            ok, message = False, f"unexpected error: {type(error).__name__}: {error}"
        remarks = [line for line in dict.fromkeys(self._logged) if line not in message]
        return Finding(part, ok, " ".join("; ".join([message, *remarks]).split()))


def _bundle(judge: Judge) -> str:
    info, runtime = judge.classifier.bundle.info, judge.classifier.runtime
    return f"{info.name} {info.version} gives its golden output on {runtime.name}"


def _edgetpu(judge: Judge) -> str:
    runtime = judge.classifier.runtime
    if runtime.degraded:
        raise RuntimeFault(f"model.edgetpu: the CPU is used instead: {runtime.degraded}")
    return "gives the golden output"


def _rules(settings: Settings, judge: Judge) -> str:
    rules = read_rule_pack(settings, judge.labels, judge.classifier.labels)
    check_gates(settings, rules)
    check_sensors(settings, rules)
    unseen = rules.hazards_without_label(judge.labels)
    warning = f"; hazards without a label, not recognised until they are taught: {', '.join(unseen)}" if unseen else ""
    return f"{rules.name} {rules.version}: {', '.join(rules.bins)}; a gate for each{warning}"


def _site(settings: Settings, judge: Judge) -> str:
    mix = open_label_prior(settings, judge).shares
    return ", ".join(f"{label} {100 * share:.0f} %" for label, share in mix.items() if share)


def _camera(settings: Settings, stop: threading.Event) -> str:
    with contextlib.closing(open_camera(settings.camera)) as camera:
        began_s = time.monotonic()
        frame = None
        while frame is None and time.monotonic() < began_s + (SECOND_TRY_S if camera.last_error else FIRST_FRAME_S) and not stop.is_set():
            frame = camera.latest(0, FRAME_S)
        if frame is None:
            raise camera.last_error or CameraError(f"camera: no picture within {FIRST_FRAME_S:g} s; is it plugged in, and free?")
        took_s = time.monotonic() - began_s
        height, width = frame.pixels.shape[:2]
        brightness = float(frame.pixels.mean())
        if min(height, width) < LEAST_SIDE:
            raise CameraError(f"camera.region: expected at least {LEAST_SIDE} pixels each way, found {width} x {height}")
        exposure_range = camera.exposure_range
        _learn(settings, camera, stop)
    dark = "; very dark: is the lamp on and the lens free?" if brightness < DARK_BELOW else ""
    exposes = "an item against the light is judged as it is: the camera cannot be exposed for it, or lock_exposure or expose_for_item is false"
    if exposure_range is not None:
        exposes = "for an item against the light its exposure can be {:.2g} to {:.2g} times the usual one".format(*exposure_range)
    return f"{width} x {height} after {took_s:.1f} s, mean brightness {brightness:.0f} of 255{dark}; {exposes}"


def _learn(settings: Settings, camera: CameraThread, stop: threading.Event) -> None:
    """Learn the empty tray as the daemon does at its start. Raises SortingFault."""
    reference = EmptyReference(OccupancyDetector(settings.presence), BackgroundModel())
    tray = TrayMonitor(settings.presence, reference, None, ControlSteps(settings.sorting, Gates(()), lambda: None)).recognise_or_learn()
    number = 0
    with contextlib.suppress(StopIteration, EndOfFrames):
        next(tray)
        while not stop.is_set():
            frame = camera.latest(number, FRAME_S)
            number = frame.number if frame is not None else number
            tray.send(Tick(time.monotonic(), frame))


def _gates(settings: Settings) -> str:
    gates = open_gates(settings.gate)
    outputs = ", ".join(f"{name} on {output}" for name, output in gates.outputs.items())
    gates.release()
    return f"{len(settings.gate)} can be claimed{': ' if outputs else ''}{outputs}; `sortbin gate` moves one at a time"


def _state(settings: Settings) -> str:
    state = Path(settings.device.state)
    return "; ".join([require_writable("device.state", state), *require_ledger(state)])


def _keep(settings: Settings) -> str:
    if not settings.keep.folder:
        return "keep.folder is empty: no frames are kept"
    return require_writable("keep.folder", Path(settings.keep.folder))


def _service(settings: Settings, file: Path) -> str:
    service = find_service()
    if service is None or str(file.absolute()) not in service.command:
        return "no installed service reads this file"
    require_reach(service, settings)
    require_rights(service, settings)
    return "can reach every path of these settings"


def _broker(settings: Settings) -> str:
    if settings.mqtt is None:
        return "no [mqtt] table: events stay in the ledger"
    broker = f"{settings.mqtt.host}:{settings.mqtt.port}"
    probe(settings.mqtt, BROKER_S)
    topics = Topics(settings.device.id, settings.mqtt.base)
    match may_publish(settings.mqtt, topics.check, BROKER_S):
        case True:
            untried = "; whether it takes what Home Assistant is told shows when the bin runs" if settings.home_assistant.enabled else ""
            return f"{broker} accepts this device and what it publishes{untried}"
        case False:
            raise MqttError(f"broker {broker}: forbids the topic {topics.check}: expected an ACL that lets it write to {topics.all}")
        case None:
            return f"{broker} accepts this device; it does not say whether it accepts what is published: see whether {topics.all} arrives"
