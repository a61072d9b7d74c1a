"""What the daemon costs: time from its start to READY, memory while it sorts, CPU while it watches an empty tray; alone, and with everything on.

    python -m benchmarks.daemon [--bundle DIR] [--seconds 20] [--starts 3] [--json]

Each figure is of `sortbin run` in a process of its own, with a replayed camera at 10 frames a second and simulated gates, for each runtime that is
installed. "Alone" is a bin without a broker. "Everything" has a mosquitto on the loopback interface, commands, pictures (one is asked for every five
seconds), Home Assistant's discovery, and a level sensor for each bin. The two watch at the same time, then sort at the same time, and start in
turns, so whatever else the machine does falls on both alike. The bare start beside them is a Python process that imports the same packages and
loads the same model, and no more. Medians of the starts.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import paho.mqtt.client as paho
import psutil

from benchmarks.journal import free_port, start_mosquitto
from device.ledger.reader import read_events
from device.mqtt.command_payloads import Command
from device.mqtt.topics import Topics
from device.policy.rules import default_rules, read_rules
from device.vision.inference.bundle import default_bundle, find_bundle, read_bundle

DEVICE = "bench"
PICTURE_EVERY_S = 5.0
PACKAGES = ("ai-edge-litert", "tflite-runtime")
BARE = """
import sys, time
began = float(sys.argv[3])
import cv2, numpy, msgspec, paho.mqtt.client, sqlite3
from pathlib import Path
from device.vision.inference.bundle import read_bundle
from device.vision.inference.runtime import load_runtime
load_runtime(read_bundle(Path(sys.argv[1])), package=sys.argv[2]).interpreter.invoke()
print(time.time() - began, time.process_time())
"""


@dataclass(frozen=True, slots=True)
class Bin:
    """A bin to measure. extra: what stands in its settings besides camera, gates and model."""

    bundle: Path
    package: str
    extra: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """From the start of a process to READY: wall clock, and processor time of all its threads, in seconds."""

    wall_s: float
    cpu_s: float


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=find_bundle, default=default_bundle(), metavar="DIR")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to watch (default: %(default)s)")
    parser.add_argument("--items", type=int, default=5, help="how many items each sorts, in six times as long at most (default: %(default)s)")
    parser.add_argument("--starts", type=int, default=3, help="how often to start each (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="sortbin-") as folder, mosquitto(Path(folder)) as port:
        trays = tray(Path(folder))
        for package in PACKAGES:
            if installed(package):
                rows += measure(arguments, package, trays, port)
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    print("| runtime | bin | start to READY (processor time) | bare start | idle at 10 frames/s | memory while sorting | items sorted | pictures |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['runtime']} | {row['bin']} | {row['ready_s']:.2f} s ({row['ready_cpu_s']:.2f}) "
            f"| {row['bare_s']:.2f} s ({row['bare_cpu_s']:.2f}) | {row['idle_percent']:.1f} % of a core "
            f"| {row['sorting_mib']:.0f} MiB | {row['items']} | {row['pictures']} |"
        )
    print(f"\nload {os.getloadavg()[0]:.1f}")


def measure(arguments: argparse.Namespace, package: str, trays: tuple[Path, Path], port: int) -> list[dict[str, Any]]:
    """Two rows of the table: a bin alone, and one with everything on."""
    empty, items = trays
    bundle, seconds = arguments.bundle, arguments.seconds
    bins = {"alone": Bin(bundle, package), "everything": Bin(bundle, package, everything(bundle, port))}
    starts: dict[str, list[Start]] = {name: [] for name in ("bare", *bins)}
    for _ in range(arguments.starts):
        starts["bare"].append(bare_start(bundle, package))
        for name, each in bins.items():
            with tempfile.TemporaryDirectory(prefix="sortbin-") as folder, running(Path(folder), each, empty) as (_, start):
                starts[name].append(start)
    with run_all(bins, empty) as watching:
        time.sleep(5.0)
        began_s, before = time.monotonic(), {name: cpu_s(process) for name, (process, _) in watching.items()}
        time.sleep(seconds)
        idle = {name: 100 * (cpu_s(process) - before[name]) / (time.monotonic() - began_s) for name, (process, _) in watching.items()}
    with run_all(bins, items) as sorting, asking_for_pictures(port) as pictures:
        peak_mib, done = dict.fromkeys(bins, 0.0), dict.fromkeys(bins, 0)
        end_s = time.monotonic() + 6 * seconds
        while time.monotonic() < end_s and min(done.values()) < arguments.items:
            for name, (process, state) in sorting.items():
                peak_mib[name] = max(peak_mib[name], process.memory_info().rss / 2**20)
                done[name] = sum(json.loads(payload)["type"] in ("item_sorted", "item_rejected") for _, payload in read_events(state))
            time.sleep(0.5)
    bare = middle(starts["bare"])
    return [
        {
            "runtime": package,
            "bin": name,
            "starts": arguments.starts,
            "ready_s": middle(starts[name]).wall_s,
            "ready_cpu_s": middle(starts[name]).cpu_s,
            "bare_s": bare.wall_s,
            "bare_cpu_s": bare.cpu_s,
            "idle_percent": idle[name],
            "sorting_mib": peak_mib[name],
            "items": done[name],
            "pictures": len(pictures) if name == "everything" else 0,
        }
        for name in bins
    ]


def middle(starts: list[Start]) -> Start:
    return Start(statistics.median(start.wall_s for start in starts), statistics.median(start.cpu_s for start in starts))


def bare_start(bundle: Path, package: str) -> Start:
    command = [sys.executable, "-c", BARE, str(bundle), package, str(time.time())]
    wall_s, bare_cpu_s = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.split()
    return Start(float(wall_s), float(bare_cpu_s))


def everything(bundle: Path, port: int) -> str:
    """Settings that switch on what a bin has besides sorting."""
    levels = "".join(f'[[level]]\nkind = "simulated"\nbin = "{name}"\nitems = 100000\n' for name in bins_of(bundle))
    return f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\ncommands = true\nimages = true\n[home_assistant]\nenabled = true\n{levels}'


@contextlib.contextmanager
def run_all(bins: dict[str, Bin], pictures: Path) -> Iterator[dict[str, tuple[psutil.Process, Path]]]:
    """All bins at the same time, each with the folder of its ledger."""
    with contextlib.ExitStack() as stack:
        started: dict[str, tuple[psutil.Process, Path]] = {}
        for name, each in bins.items():
            state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sortbin-")))
            process, _ = stack.enter_context(running(state, each, pictures))
            started[name] = process, state
        yield started


@contextlib.contextmanager
def asking_for_pictures(port: int) -> Iterator[list[int]]:
    """Ask the bin for a picture every few seconds. Gives the sizes of those that came, which grows."""
    client, topics, sizes, over = paho.Client(paho.CallbackAPIVersion.VERSION2), Topics(DEVICE), list[int](), threading.Event()
    client.on_message = lambda _client, _userdata, message: sizes.append(len(message.payload))
    client.connect("127.0.0.1", port)
    client.subscribe(topics.image)
    client.loop_start()

    def ask() -> None:
        while not over.wait(PICTURE_EVERY_S):
            client.publish(topics.command("capture"), msgspec.json.encode(Command(id=uuid.uuid4().hex)), qos=1)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield sizes
    finally:
        over.set()
        asking.join()
        client.disconnect()
        client.loop_stop()


@contextlib.contextmanager
def mosquitto(folder: Path) -> Iterator[int]:
    """A broker of our own; its port."""
    port = free_port()
    broker = start_mosquitto(folder, port)
    try:
        yield port
    finally:
        broker.kill()
        broker.wait()


def bins_of(bundle: Path) -> tuple[str, ...]:
    return tuple(read_rules(default_rules(), read_bundle(bundle).info.labels).bins)


@contextlib.contextmanager
def running(state: Path, measured: Bin, pictures: Path) -> Iterator[tuple[psutil.Process, Start]]:
    """`sortbin run`, from READY until the end of the block, and what its start took."""
    gates = "".join(f'[[gate]]\nkind = "simulated"\nbin = "{name}"\n' for name in bins_of(measured.bundle))
    config = state / "sortbin.toml"
    config.write_text(
        f'[device]\nid = "{DEVICE}"\nstate = "{state}"\n[model]\nbundle = "{measured.bundle.absolute()}"\nruntime = "{measured.package}"\n'
        f'[camera]\nkind = "replay"\npath = "{pictures}"\nhold_s = 1.5\n{gates}{measured.extra}',
        encoding="utf-8",
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(state / "notify"))
        manager.settimeout(60.0)
        began_s = time.monotonic()
        environment = os.environ | {"NOTIFY_SOCKET": str(state / "notify")}
        command = [sys.executable, "-m", "device.cli", "run", "--config", str(config)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            while manager.recv(4096) != b"READY=1":
                pass
            wall_s, measured_process = time.monotonic() - began_s, psutil.Process(process.pid)
            try:
                yield measured_process, Start(wall_s, cpu_s(measured_process))
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)


def tray(folder: Path) -> tuple[Path, Path]:
    """Two folders of pictures to replay: an empty tray, and one on which something lies half of the time, long enough on a busy machine."""
    rng = np.random.default_rng(0)
    ground = np.clip(200 + rng.normal(0, 3, (480, 640, 3)), 0, 255).astype(np.uint8)
    item = ground.copy()
    cv2.circle(item, (320, 240), 120, (60, 140, 40), -1)
    for name, pictures in (("empty", [ground]), ("items", [ground, ground, item, item])):
        (folder / name).mkdir()
        for number, picture in enumerate(pictures):
            cv2.imwrite(str(folder / name / f"{number}.png"), picture)
    return folder / "empty", folder / "items"


def installed(package: str) -> bool:
    return importlib.util.find_spec(package.replace("-", "_")) is not None


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
