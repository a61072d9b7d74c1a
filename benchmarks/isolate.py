"""What isolating the item costs: `isolate` over the bare `invoke()` of the network that judges it.

    python -m benchmarks.isolate [--bundle DIR] [--frames N] [--json]

Items of the virtual bin lie on its tray in 640 x 480 frames, under other exposures than the eight empty views that were learned. Isolation and
bare invoke take turns on one thread in one run, and the processor time of that thread is counted, so that it matters little what else the
machine does; the figure to quote is the ratio of the medians.
"""

import argparse
import sys
import time
from collections.abc import Callable

import cv2
import msgspec
import numpy as np

from device.common.errors import SortbinError
from device.simulation.items import shipped_items
from device.simulation.tray_renderer import Pose, TrayRenderer
from device.vision.inference.bundle import Bundle, default_bundle, find_bundle, read_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.preprocess import Pixels
from device.vision.inference.runtime import load_runtime
from device.vision.isolation.background import MOST_VIEWS, BackgroundModel
from device.vision.isolation.isolate import isolate

BUDGET = 0.5
"""most that isolation may take, as a multiple of the bare invoke"""

WARM_UP = 20
ITEMS = 8


class IsolationTimes(msgspec.Struct, frozen=True):
    """Processor times in milliseconds over `frames` turns of each kind after a warm-up. area: mean share of the frame that the items' masks cover."""

    runtime: str
    frames: int
    area: float
    bare_p50_ms: float
    bare_p95_ms: float
    isolate_p50_ms: float
    isolate_p95_ms: float
    ratio: float


def measure(bundle: Bundle, frames: int) -> IsolationTimes:
    """Time both in turns. Raises RuntimeFault when nothing can run the network."""
    classifier = Classifier(bundle, load_runtime(bundle, threads=1))
    empty, pictures = _tray()
    ground = bundle.info.ground
    turn = iter(range(2 * (WARM_UP + frames)))

    def isolated() -> None:
        isolate(pictures[next(turn) % len(pictures)], empty, ground)

    kinds: tuple[Callable[[], None], ...] = (classifier.runtime.interpreter.invoke, isolated)
    took_s: list[list[float]] = [[], []]
    for _ in range(WARM_UP + frames):
        for kind, times in zip(kinds, took_s, strict=True):
            began_s = time.thread_time()
            kind()
            times.append(time.thread_time() - began_s)
    (bare_p50, bare_p95), (p50, p95) = (np.percentile(np.array(times[WARM_UP:]) * 1000, [50, 95]).tolist() for times in took_s)
    area = float(np.mean([isolate(picture, empty, ground).area for picture in pictures]))
    return IsolationTimes(classifier.runtime.name, frames, area, bare_p50, bare_p95, p50, p95, p50 / bare_p50)


def _tray() -> tuple[BackgroundModel, list[Pixels]]:
    rng = np.random.default_rng(0)
    tray = TrayRenderer(rng)
    empty = BackgroundModel(tray.picture(None, 0.0, 1.0 + 0.02 * number) for number in range(MOST_VIEWS))
    things = shipped_items()
    pictures = []
    for thing in things[:: max(1, len(things) // ITEMS)][:ITEMS]:
        tray.lay(thing)
        pictures.append(tray.picture(Pose(*rng.uniform(0.4, 0.6, 2), rng.uniform(-90, 90)), 0.0, rng.uniform(0.7, 1.1)))
    return empty, pictures


def main() -> int:
    """Print the figures. Exit status 1 when it is over the budget, 2 when there is nothing to measure."""
    parser = argparse.ArgumentParser(prog="benchmarks.isolate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=find_bundle, default=default_bundle(), metavar="DIR", help="bundle to run (default: Sortbin's own)")
    parser.add_argument("--frames", type=int, default=300, metavar="N", help="turns of each kind (default: 300)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    if arguments.frames < 1:
        parser.error("--frames: expected at least 1")
    cv2.setNumThreads(1)
    try:
        result = measure(read_bundle(arguments.bundle), arguments.frames)
    except SortbinError as error:
        print(f"benchmarks.isolate: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(msgspec.json.encode(result).decode())
    else:
        print("| runtime | item's area | bare invoke p50 / p95 ms | isolate p50 / p95 ms | ratio of p50 |\n|---|---|---|---|---|")
        print(
            f"| {result.runtime} | {result.area:.0%} | {result.bare_p50_ms:.2f} / {result.bare_p95_ms:.2f} | "
            f"{result.isolate_p50_ms:.2f} / {result.isolate_p95_ms:.2f} | {result.ratio:.3f} |"
        )
    return 0 if result.ratio <= BUDGET else 1


if __name__ == "__main__":
    sys.exit(main())
