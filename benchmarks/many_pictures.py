"""Many small pictures in a hundred label folders, and the most memory that a command has resident for all of them and for a tenth of them."""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np

LABELS = 100
LEAST = 40 * LABELS
WAIT_S = 4 * 3600


class PeakMemory(msgspec.Struct, frozen=True):
    """Of one run: how many pictures, most resident memory in MiB, seconds."""

    pictures: int
    peak_mib: float
    took_s: float


def draw(folder: Path, pictures: int) -> None:
    """Write the pictures, `label_07/shot_000123.jpg`, the same ones for the same number.

    64 x 64 as JPEG, one in fifty a near-duplicate of another, one in a thousand with its end missing.
    """
    for label in range(LABELS):
        (folder / f"label_{label:02}").mkdir(parents=True)
    for number in range(pictures):
        near = number % 50 == 49
        patches = np.random.default_rng(number - 1 if near else number).integers(0, 256, (6, 6, 3), np.uint8)
        pixels = cv2.resize(patches, (64, 64), interpolation=cv2.INTER_CUBIC)
        data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 60 if near else 90])[1].tobytes()
        if number % 1000 == 500:
            data = data[: len(data) // 2]
        (folder / f"label_{number % LABELS:02}" / f"shot_{number:06}.jpg").write_bytes(data)


def training(*arguments: str | Path) -> None:
    """Run `training` in a process of its own. Raises CalledProcessError."""
    command = [sys.executable, "-m", "training.cli", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=WAIT_S)


def tell(name: str, description: str | None, budget_mib: float, command: Callable[[Path], None]) -> int:
    """Draw into `photos` of a folder, run the command on that folder, for a tenth of the pictures and for all, and print the figures.

    Returns the exit status: 1 when the budget is exceeded. The command runs in processes of its own.
    """
    parser = argparse.ArgumentParser(prog=f"benchmarks.{name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000, metavar="N", help="how many (default: 100000)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where to put them meanwhile (default: the system's temporary folder)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    if arguments.pictures < LEAST:
        parser.error(f"--pictures: expected at least {LEAST}, so that a tenth of them is enough to train on")
    results: list[PeakMemory] = []
    # The peak is that of all processes waited for so far, so the smaller run has to come first.
    for pictures in (arguments.pictures // 10, arguments.pictures):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            draw(Path(folder, "photos"), pictures)
            began_s = time.monotonic()
            command(Path(folder))
            results.append(PeakMemory(pictures, _peak_mib(), time.monotonic() - began_s))
        if arguments.json:
            print(msgspec.json.encode(results[-1]).decode(), flush=True)
    if not arguments.json:
        print(_table(results))
    return 0 if results[-1].peak_mib <= budget_mib else 1


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _table(results: Sequence[PeakMemory]) -> str:
    few, many = results
    rows = [f"| {result.pictures} | {result.peak_mib:.0f} | {result.took_s:.0f} |" for result in results]
    each = f"{1024 * (many.peak_mib - few.peak_mib) / (many.pictures - few.pictures):.2f} KiB a picture"
    return "\n".join(["| pictures | peak MiB | seconds |", "|---|---|---|", *rows, "", each])
