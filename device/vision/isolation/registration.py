"""Estimate how far the camera has moved since the empty view, after it was knocked or while it is held in a hand."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array, Float64Array

Places = npt.NDArray[np.int64]
Map = Float64Array

COARSE = 2
"""views are compared at 1 / COARSE of their size"""
ALIKE = 0.15
"""misfit of the empty view's structure, as a share of its strength, below which the camera counts as unmoved"""
STILL = 0.35
"""least motion of a corner, pixels of the coarse view"""
BETTER = 0.75
"""most misfit that a motion may leave, as a share of the misfit without it"""
LANDMARKS = 0.3
"""share of the view that is compared: where it has most structure"""
LEAST_STRUCTURE = np.float32(1e-3)
"""floor of the strength of structure, in logarithms"""
FARTHEST = 0.12
"""largest motion, as a share of the view's width"""
TIMES = cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 12, 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """Where a view has most structure.

    structure: the view, from `fine_structure`. places: flat indices of n of its pixels. there: their values. strength: their absolute values, at
    least LEAST_STRUCTURE.
    """

    structure: Float32Array
    places: Places
    there: Float32Array
    strength: Float32Array


def fine_structure(grey: Float32Array) -> Float32Array:
    """The fine structure of a view, which stays the same in any light. grey: H x W logarithms. Returns H / COARSE x W / COARSE."""
    coarse = cv2.resize(grey, None, fx=1 / COARSE, fy=1 / COARSE, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.blur(coarse, (3, 3)) - cv2.blur(coarse, (11, 11)), np.float32)


def find_landmarks(view: Float32Array) -> Landmarks:
    """The landmarks that other views are compared with. view: from `fine_structure`."""
    strength = np.abs(view).ravel()
    most = int(LANDMARKS * strength.size)
    places = np.sort(np.argpartition(strength, -most)[-most:])
    return Landmarks(view, places, view.ravel()[places], np.maximum(strength[places], LEAST_STRUCTURE))


def estimate_motion(seen: Float32Array, empty: Landmarks) -> Map | None:
    """The affine map, 2 x 3, from pixels of the frame to pixels of the empty view; None where the camera has not moved or no map fits.

    seen: from `fine_structure`. Phase correlation finds the shift (Kuglin and Hines 1975), the enhanced correlation coefficient refines it to an
    affine map (Evangelidis and Psarakis 2008). The map is taken only where it lowers the misfit to BETTER.
    """
    before = _misfit(seen, empty)
    if before < ALIKE:
        return None
    window = _window(*seen.shape)
    seen, still = seen * window, empty.structure * window
    (x, y), _ = cv2.phaseCorrelate(seen, still)
    if np.hypot(x, y) > FARTHEST * seen.shape[1]:
        x = y = 0.0
    try:
        _, found = cv2.findTransformECC(seen, still, np.array([[1, 0, x], [0, 1, y]], np.float32), cv2.MOTION_AFFINE, TIMES)
    except cv2.error:
        return None
    there = np.asarray(found, np.float64)
    if not _farthest(there, *seen.shape) > STILL or np.abs(there[:, :2] - np.eye(2)).max() > FARTHEST:
        return None
    if _misfit(seen, find_landmarks(warp(still, there))) > BETTER * before:
        return None
    # To full size: pixel coordinates are of pixel centres, so besides the factor the origin moves by a fraction of a pixel.
    there[:, 2] = COARSE * there[:, 2] + (COARSE - 1) / 2 * (1 - there[:, :2].sum(axis=1))
    return there


def warp(view: Float32Array, there: Map) -> Float32Array:
    """The view as the moved camera sees it. view: H x W or H x W x n; there: affine map, 2 x 3."""
    height, width = view.shape[:2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(view, there, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _farthest(there: Map, height: int, width: int) -> float:
    """The largest motion of a corner, pixels."""
    corners = np.array([[x, y, 1] for x in (0, width) for y in (0, height)])
    return float(np.linalg.norm(corners @ there.T - corners[:, :2], axis=1).max())


def _misfit(seen: Float32Array, empty: Landmarks) -> float:
    """The median relative difference at the landmarks, which an item hardly shifts."""
    off = seen.ravel()[empty.places]
    off -= empty.there
    np.abs(off, out=off)
    off /= empty.strength
    middle = len(off) // 2
    off.partition(middle)
    return float(off[middle])


@functools.cache
def _window(height: int, width: int) -> Float32Array:
    return np.asarray(cv2.createHanningWindow((width, height), cv2.CV_32F), np.float32)
