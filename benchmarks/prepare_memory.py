"""What memory `training prepare` takes for many pictures.

    python -m benchmarks.prepare_memory [--pictures N] [--folder DIR] [--json]

Draws N pictures of 64 x 64 as JPEG into 100 label folders (one in fifty a near-duplicate of another, one in a thousand with its end missing),
prepares them in a process of its own with groups and folds, and tells the most memory that it had resident and how long it took. Then the
same for a tenth of the pictures: what the two differ by is what each picture costs. About 400 MB of disk for 100,000 pictures.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import msgspec
import numpy as np

BUDGET_MIB = 400
"""most that 100,000 pictures may take: twice that of a hundred would do no harm, but it must not grow with every picture's pixels"""

LABELS = 100
WAIT_S = 4 * 3600

COMMAND = """
import argparse, sys
from training.commands import prepare
parser = argparse.ArgumentParser()
prepare.add_parser(parser.add_subparsers())
arguments = parser.parse_args(sys.argv[1:])
sys.exit(arguments.run(arguments))
"""


class Result(msgspec.Struct, frozen=True):
    """Of one run: how many pictures, most resident memory in MiB, seconds."""

    pictures: int
    peak_mib: float
    took_s: float


def draw(folder: Path, pictures: int) -> None:
    """Write the pictures, `label_07/shot_000123.jpg`, the same ones for the same number."""
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


def measure(source: Path, out: Path, pictures: int) -> Result:
    """Prepare in a process of its own. The peak is that of all processes waited for so far, so the smaller run has to come first."""
    began_s = time.monotonic()
    options = ["--group-by", "filename-block:10", "--folds", "5", "--test-share", "0.1"]
    subprocess.run(
        [sys.executable, "-c", COMMAND, "prepare", str(source), "--out", str(out), *options],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=WAIT_S,
    )
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return Result(pictures, peak_mib, time.monotonic() - began_s)


def main() -> int:
    """Print the figures. Exit status 1 when the budget is exceeded."""
    parser = argparse.ArgumentParser(prog="benchmarks.prepare_memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000, metavar="N", help="how many (default: 100000)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where to put them meanwhile (default: the system's temporary folder)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    if arguments.pictures < 10 * LABELS:
        parser.error(f"--pictures: expected at least {10 * LABELS}")
    results = []
    for pictures in (arguments.pictures // 10, arguments.pictures):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            draw(Path(folder, "photos"), pictures)
            results.append(measure(Path(folder, "photos"), Path(folder, "set"), pictures))
        if arguments.json:
            print(msgspec.json.encode(results[-1]).decode(), flush=True)
    few, many = results
    if not arguments.json:
        print("| pictures | peak MiB | seconds |\n|---|---|---|")
        for result in results:
            print(f"| {result.pictures} | {result.peak_mib:.0f} | {result.took_s:.0f} |")
        print(f"\n{1024 * (many.peak_mib - few.peak_mib) / (many.pictures - few.pictures):.2f} KiB a picture")
    return 0 if many.peak_mib <= BUDGET_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
