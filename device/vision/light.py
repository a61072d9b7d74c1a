"""What light does to a whole view: exposure, white balance, a lamp that fades to one side. Fitted, so that it can be taken out."""

import functools

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
REACH = 0.3
"""how far from the commonest change a pixel may be to be fitted at first, in logarithms: white balance moves the channels apart"""
COMPARED = 6
"""every so many rows and columns are enough for a fit"""
LEAST_USABLE = 0.1
"""share of pixels below which saturated ones are fitted too, for want of others"""
DEVIATIONS = 5.0
"""standard deviations of those fitted at which a pixel does not count any more"""


def logarithm(pixels: Pixels) -> Floats:
    """Natural logarithms of counts + TOE, where light that is so many times as bright is a constant more. H x W x 3 uint8 to float32."""
    return np.asarray(cv2.LUT(pixels, _LOGARITHMS), np.float32)


def fitted_light(seen: Floats, empty: Floats, usable: Flags) -> Floats:
    """How much brighter `seen` is than `empty`, in logarithms and for each channel a plane over the view: H x W x 3.

    seen, empty: H x W x 3 as `logarithm` gives them. usable: H x W x 3, False where one of them is saturated.

    An item may cover much of the view, so this is no mean: the commonest change is looked for first, then a plane is fitted by
    iteratively reweighted least squares with Tukey's biweight (Beaton and Tukey 1974).
    """
    few = slice(COMPARED // 2, None, COMPARED)
    change = (seen[few, few] - empty[few, few]).reshape(-1, 3)
    good = usable[few, few].reshape(-1, 3).all(axis=1)
    if np.count_nonzero(good) < LEAST_USABLE * len(good):
        good[:] = True
    start = _commonest(change[good].mean(axis=1))
    height, width = seen.shape[:2]
    planes = _robust_planes(height, width, change, good, start)
    return np.asarray((_terms(height, width, 1) @ planes).reshape(height, width, 3), np.float32)


@functools.cache
def _terms(height: int, width: int, step: int) -> Floats:
    """1, x and y of every `step`th pixel, from -0.5 to 0.5."""
    x, y = np.meshgrid(*((np.arange(step // 2, side, step, dtype=np.float32) / side - 0.5) for side in (width, height)))
    return np.asarray(np.stack([np.ones_like(x), x, y], axis=2).reshape(-1, 3), np.float32)


@functools.cache
def _squares(height: int, width: int) -> Floats:
    """The products of the terms of every pixel that is compared: n x 9."""
    terms = _terms(height, width, COMPARED)
    return np.asarray((terms[:, :, None] * terms[:, None, :]).reshape(-1, 9), np.float32)


def _commonest(change: Floats) -> float:
    """The change that most pixels share. That there was none is believed first."""
    counts = np.bincount(np.clip((change + MOST) / STEP, 0, 2 * MOST / STEP - 1).astype(np.int64), minlength=round(2 * MOST / STEP))
    middle = (int(np.convolve(counts, (1, 2, 1), "same").argmax()) + 0.5) * STEP - MOST
    unchanged, shared = (int((np.abs(change - level) < 1.5 * STEP).sum()) for level in (0.0, middle))
    return 0.0 if unchanged * 1.25 >= shared else middle


def _robust_planes(height: int, width: int, change: Floats, good: Flags, start: float) -> Floats:
    """A plane for each channel, as 3 x 3: its height in the middle and its slopes across and down, for each channel a column."""
    terms = _terms(height, width, COMPARED)
    planes = np.zeros((3, 3), np.float32)
    planes[0] = start
    squares = _squares(height, width)
    reach = np.full(3, REACH, np.float32)
    for _ in range(3):
        off = np.square(change - terms @ planes)
        weights = np.maximum(1 - off / (reach * reach), 0)
        weights *= weights * good[:, None]
        normal = weights.T @ squares
        total = np.maximum(normal[:, :1], 1)  # the first of the squares is 1
        # A little ridge towards the start: a view without much in it, or half covered, tells nothing of the slopes.
        ridge = total * _RIDGE
        normal = normal.reshape(3, 3, 3) + ridge[:, :, None] * _ONE
        wanted = (weights * change).T @ terms
        wanted[:, 0] += ridge[:, 0] * start
        planes = np.linalg.solve(normal, wanted[..., None])[..., 0].T.astype(np.float32)
        deviation = np.sqrt(np.einsum("nc,nc->c", weights, off) / total[:, 0])
        reach = np.minimum(np.maximum(DEVIATIONS * deviation, 0.1 * REACH), REACH)
    return planes


_ONE = np.eye(3, dtype=np.float32)
_RIDGE = np.array([1e-3, 5e-3, 5e-3], np.float32)
_LOGARITHMS = np.log(np.arange(256, dtype=np.float32) + np.float32(TOE)).astype(np.float32)
