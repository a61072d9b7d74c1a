"""`sortbin check`: does each part of this bin work, and what to do if not."""

import argparse
import contextlib
import functools
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from device.body import check_gates
from device.cameras import CameraError
from device.cameras.opening import open_camera
from device.daemon import open_judge, read_rule_pack
from device.errors import SortbinError
from device.hardware.gates import open_gates
from device.mqtt import MqttError
from device.mqtt.connection import may_publish, probe
from device.mqtt.topics import Topics
from device.service import find_service, require_reach
from device.settings import DEFAULT_FILE, Settings, read_settings
from device.site import Site
from device.stopping import stop_on_signals
from device.vision.judge import Judge
from device.vision.runtime import RuntimeFault

CAMERA_S = 8.0
"""longest wait for a first frame: a ribbon camera takes some seconds to start and to settle"""
BROKER_S = 5.0
SPARE_MIB = 50
"""least free space where the ledger is"""


class FolderError(SortbinError, OSError):
    """A folder that cannot be written to."""


@dataclass(frozen=True)
class Finding:
    """One part: whether it works, and what was seen or what to do."""

    part: str
    ok: bool
    message: str


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `check` to the command line."""
    parser = commands.add_parser(
        "check",
        help="say for each part of this bin whether it works",
        description="Try each part as the daemon would, without moving anything: settings, bundle and its known answer, rule pack, site, "
        "camera, gates, folders, what the service may reach, broker. Stop the service first, for it holds camera and gates. "
        "Exit status: 0 all work, 1 one does not, 2 the settings cannot be read.",
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_FILE, metavar="FILE", help="settings file (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="a list of objects: part, ok, message")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check every part, telling of each as it is done. Returns the exit status."""
    stop_on_signals()
    settings = read_settings(arguments.config)
    findings = []
    for finding in check(settings, arguments.config):
        findings.append(finding)
        if not arguments.json:
            print(f"{finding.part:<9}{'ok' if finding.ok else 'NO':<4}{finding.message}", flush=True)
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=1))
    return 0 if all(finding.ok for finding in findings) else 1


def check(settings: Settings, file: Path) -> Iterator[Finding]:
    """Try the parts one after the other; a part that fails does not keep the others from being tried."""
    yield Finding("settings", True, f"{file}; this bin is {settings.device.id}")
    judge = functools.cache(lambda: open_judge(settings))
    yield _tried("bundle", lambda: _bundle(judge()))
    if settings.model.edgetpu:
        yield _tried("edgetpu", lambda: _edgetpu(judge()))
    yield _tried("rules", lambda: _rules(settings, judge()))
    yield _tried("site", lambda: _site(settings, judge()))
    yield _tried("camera", lambda: _camera(settings))
    yield _tried("gates", lambda: _gates(settings))
    yield _tried("state", lambda: _state(settings))
    yield _tried("keep", lambda: _keep(settings))
    yield _tried("service", lambda: _service(settings, file))
    yield _tried("broker", lambda: _broker(settings))


def _tried(part: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding(part, True, attempt())
    except SortbinError as error:
        return Finding(part, False, str(error))


def _bundle(judge: Judge) -> str:
    info, runtime = judge.classifier.bundle.info, judge.classifier.runtime
    return f"{info.name} {info.version} gives its known answer on {runtime.name}"


def _edgetpu(judge: Judge) -> str:
    runtime = judge.classifier.runtime
    if runtime.degraded:
        raise RuntimeFault(f"model.edgetpu: the CPU does its work: {runtime.degraded}")
    return "gives the known answer"


def _rules(settings: Settings, judge: Judge) -> str:
    rules = read_rule_pack(settings, judge.labels, judge.classifier.labels)
    check_gates(settings, rules)
    unseen = rules.unseen_hazards(judge.labels)
    warning = f"; hazards that pass unnoticed until they are taught: {', '.join(unseen)}" if unseen else ""
    return f"{rules.name} {rules.version}: {', '.join(rules.bins)}; a gate for each{warning}"


def _site(settings: Settings, judge: Judge) -> str:
    mix = Site(judge.labels, judge.usual, settings.site).mix
    return ", ".join(f"{label} {100 * share:.0f} %" for label, share in mix.items() if share)


def _camera(settings: Settings) -> str:
    with contextlib.closing(open_camera(settings.camera)) as camera:
        began_s = time.monotonic()
        frame = camera.latest(0, CAMERA_S)
        if frame is None:
            raise camera.last_error or CameraError(f"camera: no picture within {CAMERA_S:g} s; is it plugged in, and free?")
        took_s = time.monotonic() - began_s
        height, width = frame.pixels.shape[:2]
        brightness = float(frame.pixels.mean())
    dark = "; very dark: is the lamp on and the lens free?" if brightness < 25 else ""
    return f"{width} x {height} after {took_s:.1f} s, mean brightness {brightness:.0f} of 255{dark}"


def _gates(settings: Settings) -> str:
    gates = open_gates(settings.gate)
    gates.release()
    return f"{len(settings.gate)} can be claimed; `sortbin gate` moves one at a time"


def _state(settings: Settings) -> str:
    return _writable("device.state", Path(settings.device.state))


def _keep(settings: Settings) -> str:
    if not settings.keep.folder:
        return "no folder named: no frames are kept"
    return _writable("keep.folder", Path(settings.keep.folder))


def _writable(key: str, folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"sortbin")
    except OSError as error:
        raise FolderError(f"{key} {folder}: {error.strerror}; expected a folder that this user can write to") from error
    free_mib = shutil.disk_usage(folder).free / 2**20
    if free_mib < SPARE_MIB:
        raise FolderError(f"{key} {folder}: only {free_mib:.0f} MiB free; expected {SPARE_MIB} MiB or more")
    return f"{folder}, {free_mib / 1024:.1f} GiB free"


def _service(settings: Settings, file: Path) -> str:
    service = find_service()
    if service is None or str(file.absolute()) not in service.command:
        return "none installed that reads this file"
    require_reach(service, settings)
    return "sees and writes to all that these settings name"


def _broker(settings: Settings) -> str:
    if settings.mqtt is None:
        return "none named: events stay in the ledger"
    broker = f"{settings.mqtt.host}:{settings.mqtt.port}"
    probe(settings.mqtt, BROKER_S)
    topics = Topics(settings.device.id, settings.mqtt.base)
    match may_publish(settings.mqtt, topics.check, BROKER_S):
        case True:
            return f"{broker} lets this device in and takes what it publishes"
        case False:
            raise MqttError(f"broker {broker}: forbids the topic {topics.check}: expected an ACL that lets it write to {topics.all}")
        case None:
            return f"{broker} lets this device in; it does not say whether it takes what is published: see whether {topics.all} arrives"
