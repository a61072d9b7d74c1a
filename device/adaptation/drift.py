"""Drift: control charts that tell whether the bin still sees what it saw when it was new, or dirt, a dying lamp, a moved camera or new waste."""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array, Float64Array
from device.events import Drift
from device.vision.inference.preprocess import Pixels

Signal = Literal["confidence", "labels", "strangeness", "brightness", "sharpness", "view"]
SIGNALS: tuple[Signal, ...] = ("confidence", "labels", "strangeness", "brightness", "sharpness", "view")

BASELINE_ITEMS = 200
"""items that the baseline of this bin is learned from"""
EWMA_WEIGHT = 0.03
"""weight of the newest item in the running mean"""
ALARM_SIGMA = 5.5
"""standard deviations of the running mean, off the baseline, at which a signal has drifted. In the simulation of `benchmarks/drift.py` that gives one
false alarm of any signal in at least 20,000 items"""
CLEAR_SIGMA = 2.5
"""standard deviations below which a signal is back to its baseline, so that its next drift raises an alarm again"""

WIDTH, HEIGHT = 80, 60

_MESSAGES: dict[Signal, tuple[str, str]] = {
    "confidence": ("items are recognised less surely than before", "items are recognised more surely than before"),
    "labels": ("the mix of labels has changed", "the mix of labels has changed"),
    "strangeness": ("items look more familiar than before", "items look less like what is known: new waste, or a dirty lens"),
    "brightness": ("the picture is darker than before: look at the lamp", "the picture is brighter than before: is there another light?"),
    "sharpness": ("the picture is less sharp than before: clean the lens", "the picture is sharper than before"),
    "view": ("the camera sees another view than before: was it moved?", "the camera sees another view than before"),
}


@dataclass(frozen=True, slots=True)
class ItemSignals:
    """What one item's frame says about the state of the bin.

    confidence: probability of the likeliest label. labels: all probabilities. strangeness: the novelty score, None where there is none. brightness:
    logarithm of the median grey. sharpness: logarithm of the standard deviation of the Laplacian over that of grey. edges: HEIGHT x WIDTH float32,
    strength of edges, with zero mean and unit length.
    """

    confidence: float
    labels: Float64Array
    strangeness: float | None
    brightness: float
    sharpness: float
    edges: Float32Array


def measure_item(frame: Pixels, probabilities: Float64Array, unknown: float | None) -> ItemSignals:
    """Measure the signals of one item. frame: H x W x 3 uint8 RGB, the whole of it. Takes less than a millisecond."""
    small = cv2.cvtColor(np.asarray(cv2.resize(frame, (WIDTH * 2, HEIGHT * 2), interpolation=cv2.INTER_AREA), np.uint8), cv2.COLOR_RGB2GRAY)
    grey = small.astype(np.float32) + 1
    fine = cv2.Laplacian(grey, cv2.CV_32F)
    logarithm = np.log(cv2.resize(grey, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
    edges = cv2.magnitude(cv2.Sobel(logarithm, cv2.CV_32F, 1, 0), cv2.Sobel(logarithm, cv2.CV_32F, 0, 1))
    smooth = np.asarray(cv2.GaussianBlur(np.minimum(edges, np.float32(1)), (5, 5), 0), np.float32)
    smooth -= smooth.mean()
    return ItemSignals(
        float(probabilities.max()),
        probabilities,
        unknown,
        float(np.log(np.median(grey))),
        float(np.log((fine.std() + 0.1) / (grey.std() + 1))),
        np.asarray(smooth / max(float(np.linalg.norm(smooth)), 1e-6), np.float32),
    )


class ControlChart:
    """An exponentially weighted moving average (EWMA) against a baseline (Roberts 1959), for several numbers at once.

    The baseline comes from finitely many items and is uncertain itself, so the variance of the difference is
    `s2 * (weight / (2 - weight) + 1 / items)`.
    """

    def __init__(self, size: int, least_spread: float) -> None:
        self._least = least_spread
        self.count = 0
        self._mean, self._squares = np.zeros(size), np.zeros(size)
        self._now = np.zeros(size)

    def add(self, values: Float64Array) -> None:
        """Add one item's numbers: the first BASELINE_ITEMS to the baseline, later ones to the running mean."""
        self.count += 1
        if self.count <= BASELINE_ITEMS:
            difference = values - self._mean
            self._mean += difference / self.count
            self._squares += difference * (values - self._mean)
            self._now = self._mean.copy()
        else:
            self._now += EWMA_WEIGHT * (values - self._now)

    @property
    def deviations(self) -> Float64Array:
        """How far the running mean is off the baseline, in standard deviations of that difference; 0 until the baseline is complete."""
        if self.count <= BASELINE_ITEMS:
            return np.zeros_like(self._mean)
        spread = np.maximum(np.sqrt(self._squares / (BASELINE_ITEMS - 1)), self._least)
        return np.asarray((self._now - self._mean) / (spread * np.sqrt(EWMA_WEIGHT / (2 - EWMA_WEIGHT) + 1 / BASELINE_ITEMS)), np.float64)

    def export(self) -> Float64Array:
        """The state as one row."""
        return np.concatenate([[self.count], self._mean, self._squares, self._now])

    def restore(self, stored: Float64Array) -> None:
        """Take what `export` returned. Raises ValueError for another size."""
        if stored.shape != (1 + 3 * len(self._mean),):
            raise ValueError(f"expected a chart of {len(self._mean)} numbers, found {stored.shape}")
        self.count = int(stored[0])
        self._mean, self._squares, self._now = (part.copy() for part in np.split(stored[1:], 3))


class DriftMonitor:
    """Watches the signals of every item for drift, and raises one alarm for each drift."""

    def __init__(self, labels: int) -> None:
        sizes = {"confidence": 1, "labels": labels, "strangeness": 1, "brightness": 1, "sharpness": 1, "view": 1}
        least = {"confidence": 0.05, "labels": 0.14, "strangeness": 0.1, "brightness": 0.03, "sharpness": 0.05, "view": 0.03}
        self._charts = {signal: ControlChart(sizes[signal], least[signal]) for signal in SIGNALS}
        self._edges = np.zeros((HEIGHT, WIDTH), np.float32)
        self._items = 0
        self._drifted: set[Signal] = set()

    @property
    def learned(self) -> bool:
        """Whether there is anything to store."""
        return self._items > 0

    @property
    def deviations(self) -> dict[Signal, float]:
        """How far each signal is off its baseline, in standard deviations; 0 until the baseline is complete."""
        return {signal: _furthest(chart.deviations) for signal, chart in self._charts.items()}

    @property
    def drifted(self) -> tuple[Signal, ...]:
        """The signals that have drifted and are not back."""
        return tuple(signal for signal in SIGNALS if signal in self._drifted)

    def observe(self, signals: ItemSignals) -> list[Drift]:
        """Add one item. Returns an event for each signal that has drifted just now."""
        self._add(signals)
        alarms = []
        for signal, off in self.deviations.items():
            if abs(off) < CLEAR_SIGMA:
                self._drifted.discard(signal)
            elif abs(off) >= ALARM_SIGMA and signal not in self._drifted:
                self._drifted.add(signal)
                alarms.append(Drift(signal=signal, strayed=round(off, 2), message=_MESSAGES[signal][int(off > 0)]))
        return alarms

    def export(self) -> npt.NDArray[Any]:
        """The state as one row of float64."""
        return np.concatenate([[self._items], self._edges.ravel(), *(chart.export() for chart in self._charts.values())])

    def restore(self, stored: npt.NDArray[Any]) -> None:
        """Take what `export` returned. Drift that it holds raises no new alarm. Raises ValueError for another number of labels."""
        lengths = [1, WIDTH * HEIGHT, *(len(chart.export()) for chart in self._charts.values())]
        if stored.shape != (sum(lengths),):
            raise ValueError(f"expected {sum(lengths)} numbers, found {stored.shape}")
        seen, edges, *charts = np.split(stored, np.cumsum(lengths)[:-1])
        for chart, part in zip(self._charts.values(), charts, strict=True):
            chart.restore(part)
        self._items, self._edges = int(seen[0]), edges.reshape(HEIGHT, WIDTH).astype(np.float32)
        self._drifted = {signal for signal, off in self.deviations.items() if abs(off) >= ALARM_SIGMA}

    def _add(self, signals: ItemSignals) -> None:
        self._items += 1
        charts = self._charts
        charts["confidence"].add(np.array([signals.confidence]))
        charts["labels"].add(signals.labels)
        charts["brightness"].add(np.array([signals.brightness]))
        charts["sharpness"].add(np.array([signals.sharpness]))
        if signals.strangeness is not None:
            charts["strangeness"].add(np.array([signals.strangeness]))
        # The mean edges of the first items are the reference view; later items are compared with it.
        views = BASELINE_ITEMS // 4
        if self._items <= views:
            self._edges += signals.edges / np.float32(views)
        else:
            charts["view"].add(np.array([float((self._edges * signals.edges).sum())]))


def _furthest(deviations: Float64Array) -> float:
    return round(float(deviations[np.abs(deviations).argmax()]), 3)
