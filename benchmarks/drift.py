"""Alarms of the drift monitor in simulation: how often it cries wolf, and how soon it sees dirt, a dying lamp, a moved camera and new waste.

`python benchmarks/drift.py PICTURES [--items N] [--seeds N] [--bundle DIR]`: PICTURES is a folder of photos, a folder for each label. Every item is
one of them on a tray that is drawn anew for each seed; items come at random. Prints a table, and with --json an object.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from device.adaptation.drift import BASELINE_ITEMS, HEIGHT, WIDTH, DriftMonitor, ItemSignals, measure_item
from device.vision.inference.bundle import default_bundle, find_bundle, read_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.images import find_pictures, read_pixels
from device.vision.inference.preprocess import Pixels
from device.vision.judge import Judge

Change = Callable[[Pixels, float], Pixels]


@dataclass(frozen=True)
class ScenarioAlarms:
    """What was told in one scenario. after: items until the first alarm, one for each seed, None where there was none; signals: what told."""

    scenario: str
    after: list[int | None]
    signals: list[str]


def dirt(picture: Pixels, amount: float) -> Pixels:
    """A film on the lens: blur, and a veil that takes contrast."""
    sigma = 0.3 + 2.5 * amount
    blurred = cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.float32)
    return np.clip(blurred * (1 - 0.3 * amount) + 0.3 * amount * 128, 0, 255).astype(np.uint8)


def lamp(picture: Pixels, amount: float) -> Pixels:
    """A lamp that loses half its light and turns yellow."""
    return np.clip(picture * (1 - amount * np.array([0.45, 0.5, 0.6])), 0, 255).astype(np.uint8)


def moved(picture: Pixels, amount: float) -> Pixels:
    """A camera that was pushed, once: a tenth of the view."""
    height, width = picture.shape[:2]
    across, down = (round(0.1 * width), round(0.06 * height)) if amount > 0 else (0, 0)
    return np.roll(picture, (down, across), (0, 1))


def nothing(picture: Pixels, amount: float) -> Pixels:
    return picture


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--bundle", type=find_bundle, default=default_bundle())
    parser.add_argument("--items", type=int, default=600, help="after the usual is known (default: 600)")
    parser.add_argument("--over", type=int, default=300, help="items over which dirt and the lamp get worse (default: 300)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--numbers", type=int, default=200_000, help="items of the simulation of false alarms (default: 200000)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)

    files = [(folder.name, file) for folder in sorted(arguments.pictures.iterdir()) if folder.is_dir() for file in find_pictures(folder)]
    judge = Judge(Classifier(read_bundle(arguments.bundle)))
    scenarios: dict[str, tuple[Change, bool]] = {
        "nothing": (nothing, False),
        "lens gets dirty": (dirt, False),
        "lamp decays": (lamp, False),
        "camera moved": (moved, False),
        "a label never seen before": (nothing, True),
    }
    rows = []
    for name, (change, new_waste) in scenarios.items():
        told = [_run(files, judge, change, new_waste, arguments, seed) for seed in range(arguments.seeds)]
        rows.append(ScenarioAlarms(name, [after for after, _ in told], sorted({signal for _, signals in told for signal in signals})))
    false_alarms = _false_alarms(arguments.numbers)
    if arguments.json:
        json.dump({"scenarios": [asdict(row) for row in rows], "items": arguments.numbers, "false_alarms": false_alarms}, sys.stdout, indent=1)
        print()
        return 0
    for row in rows:
        print(f"{row.scenario:28} first alarm after {', '.join('-' if n is None else str(n) for n in row.after):24} {', '.join(row.signals)}")
    print(f"{false_alarms} false alarms of any signal in {arguments.numbers} items of a bin at which nothing changes (independent items)")
    return 0


def _run(
    files: list[tuple[str, Path]], judge: Judge, change: Change, new_waste: bool, arguments: argparse.Namespace, seed: int
) -> tuple[int | None, set[str]]:
    rng = np.random.default_rng(seed)
    labels = sorted({label for label, _ in files})
    missing = labels[seed % len(labels)] if new_waste else None
    tray = cv2.resize(rng.integers(30, 200, (6, 8, 3)).astype(np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
    monitor, first, signals = DriftMonitor(len(judge.labels)), None, set()
    for number in range(BASELINE_ITEMS * 5 // 4 + arguments.items):
        since = number - BASELINE_ITEMS * 5 // 4
        while True:
            label, file = files[rng.integers(len(files))]
            if label != missing or (since >= 0 and rng.random() < 0.7):
                break
        item = cv2.resize(read_pixels(file), (160, 120))
        frame = tray.copy()
        x, y = rng.integers(40, 121), rng.integers(40, 81)
        frame[y : y + 120, x : x + 160] = item
        frame = np.clip(frame * np.exp(rng.normal(0, 0.03)) + rng.normal(0, 2, frame.shape), 0, 255).astype(np.uint8)
        amount = min(1.0, since / arguments.over) if since >= 0 else 0.0
        frame = change(frame, amount)
        opinion = judge.predict(np.ascontiguousarray(frame[y : y + 120, x : x + 160]), in_domain=True)
        for drift in monitor.observe(measure_item(frame, opinion.probabilities, opinion.unknown)):
            signals.add(drift.signal)
            first = since if first is None else first
    return first, signals


def _false_alarms(items: int) -> int:
    """Independent items whose numbers are spread as those of a real bin are: skewed confidence and strangeness, few labels, even light."""
    rng, alarms, done = np.random.default_rng(0), 0, 0
    while done < items:
        monitor = DriftMonitor(6)
        run = 5000
        best = 1 - rng.beta(0.5, 4, run)
        label = rng.choice(6, run, p=[0.3, 0.25, 0.2, 0.15, 0.07, 0.03])
        edges = rng.normal(size=(run, 2)).astype(np.float32)
        for i in range(run):
            probabilities = np.full(6, (1 - best[i]) / 5)
            probabilities[label[i]] = best[i]
            look = _numbers(best[i], probabilities, rng.random(), rng.normal(0, 0.1), rng.normal(0, 0.2), edges[i])
            alarms += len(monitor.observe(look))
        done += run
    return alarms


def _numbers(confidence: float, labels: np.ndarray, strangeness: float, brightness: float, sharpness: float, edges: np.ndarray) -> ItemSignals:
    view = np.zeros((HEIGHT, WIDTH), np.float32)
    view[0, 0], view[0, 1] = 1, 0.3 * edges[0]
    return ItemSignals(confidence, labels, strangeness, brightness, sharpness, view / np.linalg.norm(view))


if __name__ == "__main__":
    sys.exit(main())
