"""`sortbin demo`: the daemon on a virtual bin, with a line for each item."""

import argparse
import contextlib
import functools
import logging
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from device.cameras.camera_thread import open_camera
from device.cameras.replay import ReplaySettings
from device.cameras.v4l2 import V4l2Settings
from device.common.cli import float_range, int_range
from device.common.shutdown import stop_on_signals
from device.daemon.control_loop import run_control_loop
from device.daemon.parts import BinParts
from device.daemon.startup import open_parts
from device.daemon.watchdog import SystemdNotifier
from device.gates.gates import Gates
from device.hardware import BinHardware
from device.mqtt.settings import MqttSettings
from device.policy.rules import RulePack
from device.settings import BinSettings, DeviceSettings, ModelSettings
from device.simulation.broker_url import broker_settings
from device.simulation.hardware import simulated_gates, virtual_hardware
from device.simulation.items import VirtualItem, endless_items, photo_items, shipped_items
from device.simulation.narrator import Narrator
from device.vision.inference.images import find_pictures

FPS = 20.0
LONGEST_S = 1e7


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `demo` to the command line."""
    parser = commands.add_parser(
        "demo",
        help="watch a virtual bin sort, without hardware",
        description="Run the daemon on a virtual bin: items appear on its tray, are classified, and fall through gates that take time. "
        "Everything else is real: the model, the ledger, MQTT. Exit status: 0 it ran, 2 bad usage or input.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--images", type=Path, metavar="DIR", help="photos as the items; subfolders named after labels give the true labels")
    what.add_argument(
        "--replay", type=Path, metavar="DIR", help="show pictures of a folder in order, the empty view first, then items and empty views in turn"
    )
    what.add_argument("--camera", type=int_range(0, 255), metavar="N", help="use the webcam /dev/videoN; the gates stay virtual")
    parser.add_argument("--items", type=int_range(1), metavar="N", help="stop after N items")
    parser.add_argument("--seconds", type=float_range(ge=0, le=LONGEST_S, unit="seconds"), metavar="N", help="stop after N seconds")
    parser.add_argument("--broker", metavar="URL", help="publish to mqtt://[user:password@]host[:port] (mqtts: with TLS), not to the built-in broker")
    parser.add_argument("--state", type=Path, metavar="DIR", help="folder of the ledger (default: a temporary one)")
    parser.add_argument("--bundle", default="", metavar="BUNDLE", help="folder or name of a bundle (default: trashnet)")
    parser.add_argument("--rules", default="", metavar="PACK", help="rule pack: a file, or a name such as four-bins (default: trashnet)")
    parser.add_argument("--seed", type=int_range(0), default=1, metavar="N", help="changes the order of items and the light (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo. Returns the exit status."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    stop = stop_on_signals()
    camera = None if arguments.camera is None and arguments.replay is None else _camera_settings(arguments)
    items = [] if camera is not None else photo_items(arguments.images) if arguments.images else shipped_items()
    with contextlib.ExitStack() as stack:
        state = arguments.state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sortbin-")))
        mqtt = stack.enter_context(_broker(arguments.broker))
        settings = BinSettings(
            device=DeviceSettings(id="demo", state=str(state)),
            model=ModelSettings(bundle=arguments.bundle, rules=arguments.rules),
            mqtt=mqtt,
        )
        narrator = Narrator(sys.stdout, stop, most=arguments.items)
        open_hardware = (
            functools.partial(_camera_hardware, camera)
            if camera is not None
            else functools.partial(virtual_hardware, items=endless_items(items, arguments.seed), observer=narrator, seed=arguments.seed, fps=FPS)
        )
        with open_parts(settings, open_hardware, narrator.on_stored) as parts:
            narrator.begin(_opening_lines(parts, items, mqtt), parts.rules)
            if arguments.seconds is not None:
                timer = threading.Timer(arguments.seconds, stop.set)
                timer.daemon = True
                timer.start()
            run_control_loop(settings, parts, stop, narrator.on_stored, SystemdNotifier())
        narrator.finish()
    return 0


def _camera_settings(arguments: argparse.Namespace) -> V4l2Settings | ReplaySettings:
    if arguments.replay is None:
        return V4l2Settings(device=arguments.camera)
    next(find_pictures(arguments.replay))
    return ReplaySettings(path=str(arguments.replay), loop=False)


def _camera_hardware(camera: V4l2Settings | ReplaySettings, rules: RulePack) -> BinHardware:
    """A real or replayed camera, with virtual gates."""
    gates = simulated_gates(rules)
    return BinHardware(open_camera(camera), camera.kind, Gates(gates.values()), dict.fromkeys(gates, "simulated"))


@contextlib.contextmanager
def _broker(url: str | None) -> Iterator[MqttSettings | None]:
    """Settings for the broker at `url`, or for a built-in one that runs during the block; None where its package is missing."""
    if url is None:
        from device.simulation.broker import BrokerMissing, EmbeddedBroker

        try:
            broker = EmbeddedBroker()
        except BrokerMissing:
            yield None
            return
        try:
            yield MqttSettings(host="127.0.0.1", port=broker.port, version=3, commands=True, images=True)
        finally:
            broker.stop()
        return
    with broker_settings(url) as settings:
        yield settings


def _opening_lines(parts: BinParts, items: Sequence[VirtualItem], mqtt: MqttSettings | None) -> list[str]:
    info, runtime = parts.judge.classifier.bundle.info, parts.judge.classifier.runtime.name
    source = f"{len(items)} items to throw in" if items else f"camera: {parts.hardware.camera_kind}"
    return [f"a virtual bin, {source}; bundle {info.name} {info.version} on {runtime}; Ctrl-C ends it", _broker_line(mqtt)]


def _broker_line(mqtt: MqttSettings | None) -> str:
    if mqtt is None:
        return f"nothing is published: for a built-in broker `{sys.executable} -m pip install amqtt`, or name one with --broker"
    tls = " --tls-use-os-certs" if mqtt.tls else ""
    return f"to see the messages: mosquitto_sub -h {mqtt.host} -p {mqtt.port}{tls} -v -t 'sortbin/demo/#'"
