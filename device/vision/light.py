"""What light does to a whole view: exposure, white balance, a lamp that fades to one side. Fitted, so that it can be taken out."""

import cv2
import numpy as np
import numpy.typing as npt

from device.vision.preprocess import Pixels

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

TOE = 12.0
"""counts of 255 that are added before the logarithm: below, a sensor's noise and a lens's flare weigh more than the light"""
STEP = 0.05
"""width of a bin when the commonest change of light is looked for, in logarithms: one step is five per cent"""
MOST = 2.0
"""largest change of light that is believed, in logarithms: seven times as bright, or as dark"""
MOST_TINT = 0.5
"""largest change of one channel against the others, in logarithms"""
REACH = 0.15
"""how far from the commonest change a pixel may be to be fitted at first, in logarithms"""


def logarithm(pixels: Pixels) -> Floats:
    """Natural logarithms of counts + TOE, where light that is so many times as bright is a constant more. H x W x 3 uint8 to float32."""
    return np.asarray(cv2.LUT(pixels, _LOGARITHMS), np.float32)


def fitted_light(seen: Floats, empty: Floats, usable: Flags) -> Floats:
    """How much brighter `seen` is than `empty`, in logarithms and for each channel a plane over the view: H x W x 3.

    seen, empty: H x W x 3 as `logarithm` gives them. usable: H x W x 3, False where one of them is saturated.

    An item may cover much of the view, so this is no mean: the commonest change is looked for first, then a plane is fitted by
    iteratively reweighted least squares with Tukey's biweight (Beaton and Tukey 1974), its scale being the median absolute deviation.
    """
    height, width = seen.shape[:2]
    step = max(1, min(height, width) // 60)
    difference = (seen - empty)[::step, ::step].reshape(-1, 3)
    good = usable[::step, ::step].all(axis=2).reshape(-1)
    if good.sum() < 50:
        good = np.ones_like(good)
    rows, columns = np.mgrid[0:height:step, 0:width:step].astype(np.float32)
    terms = _terms(columns.reshape(-1) / width, rows.reshape(-1) / height)[good]
    difference = difference[good]
    grey = difference.mean(axis=1)
    common = _commonest(grey)
    near = np.abs(grey - common) < 2 * REACH
    tint = np.clip(np.median(difference[near] - grey[near, None], axis=0), -MOST_TINT, MOST_TINT) if near.any() else np.zeros(3)
    start = common + tint
    planes = np.stack([_robust_plane(terms, difference[:, channel], float(start[channel])) for channel in range(3)], axis=1)
    x, y = (np.arange(side, dtype=np.float32) / side for side in (width, height))
    light = planes[0] + x[None, :, None] * planes[1] + y[:, None, None] * planes[2]
    return np.asarray(light, np.float32)


def _terms(x: Floats, y: Floats) -> Floats:
    return np.stack([np.ones_like(x), x, y], axis=1)


def _commonest(change: Floats) -> float:
    """The change that most pixels share. That there was none is believed first."""
    counts, edges = np.histogram(change, round(2 * MOST / STEP), (-MOST, MOST))
    smooth = np.convolve(counts, (0.5, 1.0, 1.0, 0.5), "same")
    best = int(smooth.argmax())
    unchanged = int((np.abs(change) < 1.5 * STEP).sum())
    middle = float(edges[best])
    shared = int((np.abs(change - middle) < 1.5 * STEP).sum())
    return 0.0 if unchanged * 1.25 >= shared else middle


def _robust_plane(terms: Floats, change: Floats, start: float) -> Floats:
    plane = np.array([start, 0, 0], np.float32)
    reach = REACH
    for _ in range(5):
        off = change - terms @ plane
        weights = np.maximum(1 - (off / reach) ** 2, 0) ** 2
        weighted = terms * weights[:, None]
        # A little ridge on the slopes: a view without much in it, or half covered, tells nothing of them.
        normal = weighted.T @ terms + np.diag([1e-3, 0.02, 0.02]).astype(np.float32) * max(float(weights.sum()), 1e-3)
        plane = np.linalg.solve(normal, weighted.T @ change).astype(np.float32)
        inside = np.abs(off[np.abs(off) < reach])
        reach = float(np.clip(6 * np.median(inside), 0.02, REACH)) if inside.size else reach
    return plane


_LOGARITHMS = np.log(np.arange(256, dtype=np.float32) + np.float32(TOE)).astype(np.float32)
