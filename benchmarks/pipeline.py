"""What a frame costs beyond the network: the per-frame pipeline over the bare `invoke()`.

    python -m benchmarks.pipeline [--bundle DIR] [--frames N] [--json]

The pipeline is what the daemon does with each frame of a burst: copy a 640 x 480 frame, resize, infer, dequantize, calibrate, choose a bin.
Pipeline and bare invoke take turns on the same interpreter in one run, so whatever else the machine does falls on both alike; the figure
to quote is the ratio of the medians. Runtimes that are not installed are left out.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np

from device.common.errors import SortbinError
from device.policy.decision import Evidence, decide
from device.policy.rules import default_rules, find_rules, read_rules
from device.vision.inference.bundle import Bundle, default_bundle, find_bundle, read_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.runtime import PACKAGES, Package, RuntimeFault, load_runtime

BUDGET = 1.10
"""most that the pipeline may take, as a multiple of the bare invoke"""

WARM_UP = 20


class PipelineTimes(msgspec.Struct, frozen=True):
    """Times of one runtime in milliseconds, over `frames` turns of each kind after a warm-up."""

    runtime: str
    threads: int
    frames: int
    bare_p50_ms: float
    bare_p95_ms: float
    pipeline_p50_ms: float
    pipeline_p95_ms: float
    ratio: float


def measure(bundle: Bundle, rules_file: Path, package: Package, frames: int, threads: int) -> PipelineTimes:
    """Time both in turns. Raises RuntimeFault when the package is not there."""
    classifier = Classifier(bundle, load_runtime(bundle, package=package, threads=threads))
    classifier.check_golden_output()
    rules = read_rules(rules_file, bundle.info.labels)
    camera = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)

    def pipeline() -> None:
        probabilities = classifier.posterior(camera.copy())
        decide(Evidence(probabilities), classifier.labels, rules, reject_below=classifier.reject_below)

    kinds: tuple[Callable[[], None], ...] = (classifier.runtime.interpreter.invoke, pipeline)
    took_s: list[list[float]] = [[], []]
    for _ in range(WARM_UP + frames):
        for kind, times in zip(kinds, took_s, strict=True):
            began_s = time.perf_counter()
            kind()
            times.append(time.perf_counter() - began_s)
    (bare_p50, bare_p95), (p50, p95) = (np.percentile(np.array(times[WARM_UP:]) * 1000, [50, 95]).tolist() for times in took_s)
    return PipelineTimes(classifier.runtime.name, threads, frames, bare_p50, bare_p95, p50, p95, p50 / bare_p50)


def table(results: list[PipelineTimes]) -> str:
    """The results as a Markdown table."""
    head = "| runtime | threads | bare invoke p50 / p95 ms | pipeline p50 / p95 ms | ratio of p50 |\n|---|---|---|---|---|\n"
    return head + "\n".join(
        f"| {result.runtime} | {result.threads} | {result.bare_p50_ms:.2f} / {result.bare_p95_ms:.2f} | "
        f"{result.pipeline_p50_ms:.2f} / {result.pipeline_p95_ms:.2f} | {result.ratio:.3f} |"
        for result in results
    )


def main() -> int:
    """Print the figures. Exit status 1 when a runtime is over the budget, 2 when there is nothing to measure."""
    parser = argparse.ArgumentParser(prog="benchmarks.pipeline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=find_bundle, default=default_bundle(), metavar="DIR", help="bundle to run (default: Sortbin's own)")
    parser.add_argument("--rules", metavar="PACK", help="rule pack that fits its labels (default: trashnet)")
    parser.add_argument("--frames", type=int, default=300, metavar="N", help="turns of each kind (default: 300)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads for the network (default: 1)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    if min(arguments.frames, arguments.threads) < 1:
        parser.error("--frames and --threads: expected at least 1")
    cv2.setNumThreads(arguments.threads)
    results = []
    try:
        bundle = read_bundle(arguments.bundle)
        rules_file = find_rules(arguments.rules) if arguments.rules else default_rules()
        for package in PACKAGES:
            try:
                results.append(measure(bundle, rules_file, package, arguments.frames, arguments.threads))
            except RuntimeFault as error:
                print(f"benchmarks.pipeline: {package} is left out: {error}", file=sys.stderr)
    except SortbinError as error:
        print(f"benchmarks.pipeline: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        for result in results:
            print(msgspec.json.encode(result).decode())
    else:
        print(table(results))
    if not results:
        return 2
    return 0 if all(result.ratio <= BUDGET for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
