"""What the daemon costs: time from its start to READY, memory while it sorts, CPU while it watches an empty tray.

    python -m benchmarks.daemon [--bundle DIR] [--seconds 20] [--json]

Each figure is of `sortbin run` in a process of its own, with a replayed camera at 10 frames a second and simulated gates, once for each runtime
that is installed. The bare start beside it is a Python process that imports the same packages and loads the same model, and no more.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from device.ledger.reader import read_events
from device.policy.rules import default_rules, read_rules
from device.vision.inference.bundle import default_bundle, find_bundle, read_bundle

PACKAGES = ("ai-edge-litert", "tflite-runtime")
BARE = """
import sys, time
began = float(sys.argv[3])
import cv2, numpy, msgspec, paho.mqtt.client, sqlite3
from pathlib import Path
from device.vision.inference.bundle import read_bundle
from device.vision.inference.runtime import load_runtime
load_runtime(read_bundle(Path(sys.argv[1])), package=sys.argv[2]).interpreter.invoke()
print(time.time() - began)
"""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=find_bundle, default=default_bundle(), metavar="DIR")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to watch, and to sort (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = [measure(arguments.bundle, package, arguments.seconds) for package in PACKAGES if installed(package)]
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    print("| runtime | start to READY | bare start | idle at 10 frames/s | memory while sorting | items sorted |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['runtime']} | {row['ready_s']:.2f} s | {row['bare_s']:.2f} s | {row['idle_percent']:.1f} % of a core "
            f"| {row['sorting_mib']:.0f} MiB | {row['items']} |"
        )


def measure(bundle: Path, package: str, seconds: float) -> dict[str, Any]:
    """One row of the table."""
    with tempfile.TemporaryDirectory(prefix="sortbin-") as folder:
        empty, items = tray(Path(folder))
        bare = subprocess.run(
            [sys.executable, "-c", BARE, bundle, package, str(time.time())], capture_output=True, text=True, check=True, timeout=120
        )
        with running(Path(folder) / "idle", bundle, package, empty) as (process, ready_s):
            time.sleep(2.0)
            before, began_s = cpu_s(process), time.monotonic()
            time.sleep(seconds)
            idle_percent = 100 * (cpu_s(process) - before) / (time.monotonic() - began_s)
        with running(Path(folder) / "sorting", bundle, package, items) as (process, _):
            peak = 0.0
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                peak = max(peak, process.memory_info().rss / 2**20)
                time.sleep(0.2)
        told = [json.loads(payload)["type"] for _, payload in read_events(Path(folder) / "sorting")]
    return {
        "runtime": package,
        "ready_s": ready_s,
        "bare_s": float(bare.stdout),
        "idle_percent": idle_percent,
        "sorting_mib": peak,
        "items": sum(kind in ("item_sorted", "item_rejected") for kind in told),
    }


@contextlib.contextmanager
def running(state: Path, bundle: Path, package: str, pictures: Path) -> Iterator[tuple[psutil.Process, float]]:
    """`sortbin run`, from READY until the end of the block; seconds from its start to READY."""
    bins = read_rules(default_rules(), read_bundle(bundle).info.labels).bins
    gates = "".join(f'[[gate]]\nkind = "simulated"\nbin = "{name}"\n' for name in bins)
    state.mkdir()
    config = state / "sortbin.toml"
    config.write_text(
        f'[device]\nid = "bench"\nstate = "{state}"\n[model]\nbundle = "{bundle.absolute()}"\nruntime = "{package}"\n'
        f'[camera]\nkind = "replay"\npath = "{pictures}"\nhold_s = 1.5\n{gates}',
        encoding="utf-8",
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(state / "notify"))
        manager.settimeout(60.0)
        began_s = time.monotonic()
        environment = os.environ | {"NOTIFY_SOCKET": str(state / "notify")}
        command = [sys.executable, "-m", "device.cli", "run", "--config", config]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            while manager.recv(4096) != b"READY=1":
                pass
            ready_s = time.monotonic() - began_s
            try:
                yield psutil.Process(process.pid), ready_s
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(10)


def tray(folder: Path) -> tuple[Path, Path]:
    """Two folders of pictures to replay: an empty tray, and one on which something lies every other time."""
    rng = np.random.default_rng(0)
    ground = np.clip(200 + rng.normal(0, 3, (480, 640, 3)), 0, 255).astype(np.uint8)
    item = ground.copy()
    cv2.circle(item, (320, 240), 120, (60, 140, 40), -1)
    for name, pictures in (("empty", [ground]), ("items", [ground, ground, item])):
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
