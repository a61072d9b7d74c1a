"""Random backgrounds for pasted items: trays, belts, rails, walls, rubbish. Cheap enough to draw one for every view.

They share nothing with the backgrounds of `training.evaluate.corruptions`, so that those measure what was not trained on.
"""

from collections.abc import Callable

import cv2
import numpy as np

from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels

Rng = np.random.Generator


def random_background(side: int, rng: Rng) -> Pixels:
    """Draw a background. Returns side x side x 3 uint8 RGB."""
    draw = KINDS[rng.integers(len(KINDS))]
    grain = int(-(-side // rng.integers(1, 4)))
    background = np.clip(draw(grain, rng) * _light_falloff(grain, rng), 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(background, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)


def _random_colour(rng: Rng) -> Float32Array:
    """Any brightness, mostly low saturation."""
    grey = rng.uniform(5, 240)
    return np.asarray(np.clip(grey * (1 + rng.normal(0, 1, 3) * rng.choice((0.03, 0.1, 0.4), p=(0.5, 0.3, 0.2))), 0, 255), np.float32)


def _light_falloff(side: int, rng: Rng) -> Float32Array:
    """A lamp to one side: brightness falls off in a random direction, side x side x 1 around 1."""
    corners = rng.uniform(0.6, 1.3, (2, 2)).astype(np.float32)
    return np.asarray(cv2.resize(corners, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)[..., np.newaxis]


def _plain(side: int, rng: Rng) -> Float32Array:
    return np.broadcast_to(_random_colour(rng), (side, side, 3)) + rng.normal(0, rng.uniform(0, 6), (side, side, 1)).astype(np.float32)


def _striped(side: int, rng: Rng) -> Float32Array:
    """Rails, slats and grids: stripes of two colours at any angle, once or crossed."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    stripes = np.zeros((side, side), bool)
    angle = rng.uniform(0, np.pi)
    for turn in (angle, angle + np.pi / 2)[: rng.integers(1, 3)]:
        across = (x * np.cos(turn) + y * np.sin(turn)) / (side * rng.uniform(0.03, 0.25)) + rng.uniform()
        stripes |= across % 1 < rng.uniform(0.1, 0.7)
    return np.where(stripes[..., np.newaxis], _random_colour(rng), _random_colour(rng))


def _mottled(side: int, rng: Rng) -> Float32Array:
    """Wood, concrete, crumpled foil: noise of several wavelengths between two colours, sometimes stretched along one axis."""
    surface = np.zeros((side, side), np.float32)
    stretch = rng.choice((1, 1, 4))
    for octave in range(2, 7):
        cells = 2**octave
        coarse = rng.standard_normal((cells, max(2, cells // stretch))).astype(np.float32)
        surface += cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC) * rng.uniform(0, 1) / octave
    share = (1 / (1 + np.exp(-2 * surface / max(float(surface.std()), 1e-6))))[..., np.newaxis]
    first, second = _random_colour(rng), _random_colour(rng)
    return np.asarray(first + share * (second - first), np.float32)


def _patched(side: int, rng: Rng) -> Float32Array:
    """Other rubbish: overlapping polygons of any colour."""
    ground = np.broadcast_to(_random_colour(rng), (side, side, 3)).copy()
    for _ in range(rng.integers(4, 25)):
        middle, reach = rng.uniform(0, side, 2), side * rng.uniform(0.05, 0.3)
        corners = middle + rng.normal(0, reach, (rng.integers(3, 7), 2))
        cv2.fillConvexPoly(ground, cv2.convexHull(corners.astype(np.int32)), _random_colour(rng).tolist(), cv2.LINE_AA)
    return ground


KINDS: tuple[Callable[[int, Rng], Float32Array], ...] = (_plain, _striped, _mottled, _patched)
