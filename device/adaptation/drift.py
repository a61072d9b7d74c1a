"""Does the bin still see what it saw when it was new? A control chart for each thing that shows dirt, a dying lamp, a moved camera or new waste."""

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
"""items from which is learned what is usual at this bin"""
EWMA_WEIGHT = 0.03
"""weight of the newest item in the running mean"""
ALARM_SIGMA = 5.5
"""standard deviations of the running mean, off the usual, at which something has drifted: one false alarm of any signal in at least 20,000 items,
in the simulation of `benchmarks/drift.py`"""
CLEAR_SIGMA = 2.5
"""standard deviations below which it counts as back to usual, so that the next drift is told again"""

WIDTH, HEIGHT = 80, 60

_MEANING: dict[Signal, tuple[str, str]] = {
    "confidence": ("items are recognised less surely than before", "items are recognised more surely than before"),
    "labels": ("the mix of labels has changed", "the mix of labels has changed"),
    "strangeness": ("items look more familiar than before", "items look less like what is known: new waste, or a dirty lens"),
    "brightness": ("the picture is darker than before: look at the lamp", "the picture is brighter than before: is there another light?"),
    "sharpness": ("the picture is less sharp than before: clean the lens", "the picture is sharper than before"),
    "view": ("the camera sees another view than before: was it moved?", "the camera sees another view than before"),
}


@dataclass(frozen=True, slots=True)
class ItemSignals:
    """What one item's frame tells of the bin's state, as numbers that vary evenly.

    confidence: p of the best label; labels: the probabilities; strangeness: the unknown score, None where there is none. brightness: logarithm of
    the median grey; sharpness: logarithm of the Laplacian's spread over that of grey; edges: HEIGHT x WIDTH float32, how strong edges are, of zero
    mean and unit length.
    """

    confidence: float
    labels: Float64Array
    strangeness: float | None
    brightness: float
    sharpness: float
    edges: Float32Array


def measure_item(frame: Pixels, probabilities: Float64Array, unknown: float | None) -> ItemSignals:
    """frame: H x W x 3 uint8 RGB, the whole of it; probabilities, unknown: what was made of the item. Less than a millisecond."""
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
    """An exponentially weighted moving average against what was usual (Roberts 1959), for several numbers at once.

    The limits count how uncertain the usual is, since it is told from finitely many items: the variance of the difference is
    `s2 * (forgetting / (2 - forgetting) + 1 / items)`.
    """

    def __init__(self, size: int, least_spread: float) -> None:
        self._least = least_spread
        self.count = 0
        self._mean, self._squares = np.zeros(size), np.zeros(size)
        self._now = np.zeros(size)

    def add(self, values: Float64Array) -> None:
        """Take one item's numbers: into what is usual for the first BASELINE_ITEMS items, then into the running mean."""
        self.count += 1
        if self.count <= BASELINE_ITEMS:
            strayed = values - self._mean
            self._mean += strayed / self.count
            self._squares += strayed * (values - self._mean)
            self._now = self._mean.copy()
        else:
            self._now += EWMA_WEIGHT * (values - self._now)

    @property
    def deviations(self) -> Float64Array:
        """How far the running mean is off the usual, in standard deviations of that difference; 0 until the usual is known."""
        if self.count <= BASELINE_ITEMS:
            return np.zeros_like(self._mean)
        spread = np.maximum(np.sqrt(self._squares / (BASELINE_ITEMS - 1)), self._least)
        return np.asarray((self._now - self._mean) / (spread * np.sqrt(EWMA_WEIGHT / (2 - EWMA_WEIGHT) + 1 / BASELINE_ITEMS)), np.float64)

    def export(self) -> Float64Array:
        return np.concatenate([[self.count], self._mean, self._squares, self._now])

    def restore(self, stored: Float64Array) -> None:
        if stored.shape != (1 + 3 * len(self._mean),):
            raise ValueError(f"expected a chart of {len(self._mean)} numbers, found {stored.shape}")
        self.count = int(stored[0])
        self._mean, self._squares, self._now = (part.copy() for part in np.split(stored[1:], 3))


class DriftMonitor:
    """Watches for drift. Give it a look of every item; it says, once, what has drifted."""

    def __init__(self, labels: int) -> None:
        sizes = {"confidence": 1, "labels": labels, "strangeness": 1, "brightness": 1, "sharpness": 1, "view": 1}
        least = {"confidence": 0.05, "labels": 0.14, "strangeness": 0.1, "brightness": 0.03, "sharpness": 0.05, "view": 0.03}
        self._charts = {signal: ControlChart(sizes[signal], least[signal]) for signal in SIGNALS}
        self._edges = np.zeros((HEIGHT, WIDTH), np.float32)
        self._seen = 0
        self._drifted: set[Signal] = set()

    @property
    def known(self) -> bool:
        """Whether there is anything worth keeping."""
        return self._seen > 0

    @property
    def deviations(self) -> dict[Signal, float]:
        """How far each signal is off the usual, in standard deviations; 0 until the usual is known."""
        return {signal: _furthest(chart.deviations) for signal, chart in self._charts.items()}

    @property
    def drifted(self) -> tuple[Signal, ...]:
        """What has drifted and has not come back."""
        return tuple(signal for signal in SIGNALS if signal in self._drifted)

    def observe(self, look: ItemSignals) -> list[Drift]:
        """Take one item. Returns an incident for each signal that has drifted just now."""
        self._add(look)
        told = []
        for signal, off in self.deviations.items():
            if abs(off) < CLEAR_SIGMA:
                self._drifted.discard(signal)
            elif abs(off) >= ALARM_SIGMA and signal not in self._drifted:
                self._drifted.add(signal)
                told.append(Drift(signal=signal, strayed=round(off, 2), message=_MEANING[signal][int(off > 0)]))
        return told

    def export(self) -> npt.NDArray[Any]:
        """Everything, as one row of float64."""
        return np.concatenate([[self._seen], self._edges.ravel(), *(chart.export() for chart in self._charts.values())])

    def restore(self, stored: npt.NDArray[Any]) -> None:
        """Take what `export` gave before; what is far off then was told of then. Raises ValueError for another number of labels."""
        lengths = [1, WIDTH * HEIGHT, *(len(chart.export()) for chart in self._charts.values())]
        if stored.shape != (sum(lengths),):
            raise ValueError(f"expected {sum(lengths)} numbers, found {stored.shape}")
        seen, edges, *charts = np.split(stored, np.cumsum(lengths)[:-1])
        for chart, part in zip(self._charts.values(), charts, strict=True):
            chart.restore(part)
        self._seen, self._edges = int(seen[0]), edges.reshape(HEIGHT, WIDTH).astype(np.float32)
        self._drifted = {signal for signal, off in self.deviations.items() if abs(off) >= ALARM_SIGMA}

    def _add(self, look: ItemSignals) -> None:
        self._seen += 1
        charts = self._charts
        charts["confidence"].add(np.array([look.confidence]))
        charts["labels"].add(look.labels)
        charts["brightness"].add(np.array([look.brightness]))
        charts["sharpness"].add(np.array([look.sharpness]))
        if look.strangeness is not None:
            charts["strangeness"].add(np.array([look.strangeness]))
        # The edges of the first items are the view; how alike they are is charted from then on.
        views = BASELINE_ITEMS // 4
        if self._seen <= views:
            self._edges += look.edges / np.float32(views)
        else:
            charts["view"].add(np.array([float((self._edges * look.edges).sum())]))


def _furthest(strayed: Float64Array) -> float:
    return round(float(strayed[np.abs(strayed).argmax()]), 3)
