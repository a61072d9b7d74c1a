"""Fit the change of light of a whole view, so that it can be removed: exposure, white balance, a lamp that fades to one side."""

import functools

import cv2
import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels

Flags = npt.NDArray[np.bool_]

TOE = 12.0
"""counts of 255 that are added before the logarithm: in darker pixels sensor noise and lens flare outweigh the light"""
ONE_CHANGE = 0.075
"""changes within this distance of their middle count as one change, in logarithms"""
MOST_CHANGE = 2.0
"""largest change of light, in logarithms: seven times as bright, or as dark"""
REACH = 0.3
"""largest distance from the commonest change in the first fit, in logarithms: white balance moves the channels apart"""
SATURATED = 250
"""counts of 255 from which a pixel counts as saturated"""
FIT_STEP = 6
"""the fit uses every FIT_STEP-th row and column"""
LEAST_USABLE = 0.1
"""least share of unsaturated pixels; below it, saturated ones are fitted too"""
MOST_ROUNDS = 4
"""most fits, each with weights from the one before"""
SETTLED = 0.02
"""the fits end when the change from one to the next is below this, in logarithms"""
DEVIATIONS = 5.0
"""a pixel this many standard deviations off gets weight 0"""


def to_log(pixels: Pixels) -> Float32Array:
    """Natural logarithm of counts + TOE, which turns factors of brightness into differences. H x W x 3 uint8 to float32."""
    return np.asarray(cv2.LUT(pixels, _LOGARITHMS), np.float32)


def grey(frame_log: Float32Array) -> Float32Array:
    """The mean of the channels: H x W x 3 to H x W."""
    return np.asarray(cv2.transform(frame_log, _MEAN[None]), np.float32)


def fit_light(frame_log: Float32Array, empty: Float32Array, saturated: Flags) -> Float32Array:
    """How much brighter `frame_log` is than `empty`, in logarithms: a plane over the view for each channel, H x W x 3.

    frame_log, empty: H x W x 3, from `to_log`. saturated: H x W, where `empty` is saturated.

    An item may cover much of the view, so the fit is robust: first the commonest change, then planes by iteratively reweighted least squares with
    Tukey's biweight (Beaton and Tukey 1974).
    """
    height, width = saturated.shape
    few = slice(FIT_STEP // 2, None, FIT_STEP)
    thinned = np.ascontiguousarray(frame_log[few, few].reshape(-1, 3).T)
    bad = thinned.max(axis=0) >= BRIGHTEST
    bad |= saturated[few, few].ravel()
    change = thinned - empty[few, few].reshape(-1, 3).T
    level = _MEAN @ change
    if 0 < np.count_nonzero(bad) <= (1 - LEAST_USABLE) * len(bad):
        level = level[~bad]
        np.copyto(change, _NOT_FITTED, where=bad)
    planes = _robust_planes(_thinned_terms(height, width), change, _commonest(level))
    return np.asarray(cv2.transform(_terms(height, width, 1), planes.T), np.float32)


@functools.cache
def _terms(height: int, width: int, step: int) -> Float32Array:
    """1, x and y of every `step`-th pixel, x and y from -0.5 to 0.5: rows x columns x 3."""
    x, y = np.meshgrid(*((np.arange(step // 2, side, step, dtype=np.float32) / side - 0.5) for side in (width, height)))
    return np.asarray(np.stack([np.ones_like(x), x, y], axis=2), np.float32)


@functools.cache
def _thinned_terms(height: int, width: int) -> Float32Array:
    """The terms of the pixels that are fitted: 3 x n."""
    return np.ascontiguousarray(_terms(height, width, FIT_STEP).reshape(-1, 3).T)


def _commonest(change: Float32Array) -> float:
    """The middle of the change that most pixels share. No change is preferred unless another has 25 % more pixels."""
    ordered = np.sort(change)
    shared = ordered.searchsorted(ordered + 2 * ONE_CHANGE)
    shared -= np.arange(len(ordered))
    first = int(shared.argmax())
    below, above = ordered.searchsorted(_UNCHANGED)
    if (above - below) * 1.25 >= shared[first]:
        return 0.0
    return min(max(float(ordered[first + shared[first] // 2]), -MOST_CHANGE), MOST_CHANGE)


def _robust_planes(terms: Float32Array, change: Float32Array, start: float) -> Float32Array:
    """A plane for each channel, 3 x 3, a column for each channel: the height in the middle, the slopes across and down.

    The channel that is farthest off sets a pixel's weight, because an item covers all channels.
    """
    planes = np.zeros((3, 3), np.float32)
    planes[0] = start
    reach = REACH**2
    for _ in range(MOST_ROUNDS):
        off = change - planes.T @ terms
        off *= off
        farthest = off.max(axis=0)
        weights = _ALL - farthest / np.float32(reach)
        np.maximum(weights, _NONE, out=weights)
        weights *= weights
        weighted = terms * weights
        normal, wanted = weighted @ terms.T, weighted @ change.T
        total = max(float(normal[0, 0]), 1.0)  # the first of the terms is 1
        # A small ridge towards the start: a plain or half-covered view does not determine the slopes.
        normal += total * _RIDGE
        wanted[0] += total * start * _RIDGE[0, 0]
        before, planes = planes, np.asarray(cv2.solve(normal, wanted)[1], np.float32)
        if cv2.norm(planes, before, cv2.NORM_INF) < SETTLED:
            break
        reach = min(max(DEVIATIONS**2 * float(weights @ farthest) / total, (0.1 * REACH) ** 2), REACH**2)
    return planes


_ALL, _NONE = np.float32(1), np.float32(0)
_UNCHANGED = np.array([-ONE_CHANGE, ONE_CHANGE], np.float32)
_NOT_FITTED = np.float32(1e6)
_MEAN = np.full(3, 1 / 3, np.float32)
_RIDGE = np.diag([1e-3, 5e-3, 5e-3]).astype(np.float32)
_LOGARITHMS = np.log(np.arange(256, dtype=np.float32) + np.float32(TOE)).astype(np.float32)
BRIGHTEST, DARKEST = _LOGARITHMS[SATURATED], _LOGARITHMS[0]
"""logarithms of SATURATED and of black"""
