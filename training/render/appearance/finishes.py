"""What walls and floors look like: a picture of a wall drawn from numbers. Needs no Blender."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array

Colour = tuple[int, int, int]
Pixels = npt.NDArray[np.uint8]
_Picture = Float32Array


@dataclass(frozen=True, slots=True)
class Finish:
    """The surface of a wall, a floor or a bar.

    look: a name in `LOOKS`; colour: sRGB 0..255, of what most of it is; other: of its joints, stripes, holes or print.
    roughness, metallic, coat, relief (of the grain) and wear (dirt and scratches): 0..1. repeats: of a pattern along a side; seed: of its chances.
    """

    look: str
    colour: Colour
    other: Colour = (60, 58, 56)
    roughness: float = 0.6
    metallic: float = 0.0
    coat: float = 0.0
    relief: float = 0.0
    wear: float = 0.2
    repeats: float = 8.0
    seed: int = 0


def picture(finish: Finish, side_px: int = 384) -> Pixels:
    """Draw one: side_px x side_px x 3 uint8 RGB, the same for the same finish. Raises KeyError for a look that does not exist."""
    rng = np.random.default_rng([finish.seed, 40_961])
    drawn = LOOKS[finish.look](finish, side_px, rng)
    return np.clip(_worn(drawn, finish.wear, rng), 0, 255).round().astype(np.uint8)


def _noise(side: int, cells_across: float, cells_down: float, rng: np.random.Generator) -> _Picture:
    """Smooth noise of standard deviation 1: side x side."""
    shape = max(2, round(cells_down)), max(2, round(cells_across))
    smooth = cv2.resize(rng.standard_normal(shape).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return smooth / max(float(smooth.std()), 1e-6)


def _filled(side: int, colour: Colour) -> _Picture:
    return np.full((side, side, 3), colour, np.float32)


def _between(first: Colour, second: Colour, share: npt.NDArray[np.floating[Any] | np.bool_]) -> _Picture:
    part = np.clip(share, 0, 1)[..., None].astype(np.float32)
    return np.asarray(np.array(first, np.float32) * (1 - part) + np.array(second, np.float32) * part)


def _worn(drawn: _Picture, wear: float, rng: np.random.Generator) -> _Picture:
    """Fine grain always; with wear also stains, light streaks and scratches."""
    side = len(drawn)
    uneven = 0.012 * _noise(side, side / 2, side / 2, rng) + 0.03 * (0.3 + wear) * _noise(side, 5, 5, rng)
    stains = wear * 0.35 * np.clip(_noise(side, 9, 9, rng) + 0.5 * _noise(side, 40, 40, rng) - 1.1, 0, 1)
    worn = drawn * (1 + uneven - stains)[..., None]
    scratches = np.zeros((side, side), np.float32)
    for _ in range(round(90 * wear)):
        x, y = rng.uniform(0, side, 2)
        angle, length = rng.normal(0, 0.5), float(np.exp(rng.uniform(1.6, 4.6)))
        end = round(x + length * np.cos(angle)), round(y + length * np.sin(angle))
        cv2.line(scratches, (round(x), round(y)), end, (float(rng.uniform(-0.35, 0.5)),), 1, cv2.LINE_AA)
    return np.asarray(worn * (1 + scratches * wear)[..., None])


def _plain(finish: Finish, side: int, rng: np.random.Generator) -> _Picture:
    return _filled(side, finish.colour)


def _brushed(finish: Finish, side: int, rng: np.random.Generator) -> _Picture:
    return _filled(side, finish.colour) * (1 + 0.05 * _noise(side, 6, side / 1.5, rng))[..., None]


def _wood(finish: Finish, side: int, rng: np.random.Generator) -> _Picture:
    """Boards, each cut from another place of a trunk."""
    boards = max(1, round(finish.repeats / 2))
    edges = np.linspace(0, side, boards + 1).round().astype(int)
    drawn = _filled(side, finish.colour)
    for top, bottom in pairwise(edges):
        bent = _noise(side, 4, 6, rng)[: bottom - top] * rng.uniform(0.2, 0.7)
        down = np.linspace(0, rng.uniform(2, 6), bottom - top)[:, None] + bent + rng.uniform(0, 9)
        rings = 0.5 + 0.5 * np.sin(down * 6.28)
        fibres = _noise(side, 8, side / 1.3, rng)[: bottom - top]
        drawn[top:bottom] *= (rng.uniform(0.82, 1.12) * (1 - 0.22 * rings**3) * (1 + 0.05 * fibres))[..., None]
        if boards > 1:
            drawn[top : top + max(1, side // 200)] *= 0.45
    return drawn


def _concrete(finish: Finish, side: int, rng: np.random.Generator) -> _Picture:
    clouds = sum(_noise(side, cells, cells, rng) / octave for octave, cells in enumerate((6, 14, 40, 120), 1))
    pores = cv2.GaussianBlur((rng.random((side, side)) > 0.997).astype(np.float32), (0, 0), 0.8)
    return np.asarray(_filled(side, finish.colour) * (1 + 0.06 * np.asarray(clouds) - 1.2 * pores)[..., None])


def _card(finish: Finish, side: int, rng: np.random.Generator) -> _Picture:
    """Corrugated board: its flutes just show."""
    flutes = np.sin(np.linspace(0, 6.28 * 55, side))[:, None] * 0.02
    return np.asarray(_filled(side, finish.colour) * (1 + flutes + 0.02 * _noise(side, side / 2, side / 6, rng))[..., None])


def _cloth(finish: Finish, side: int, rng: np.random.Generator) -> _Picture:
    """Woven, checked when its colours differ."""
    at = np.linspace(0, finish.repeats, side, endpoint=False)
    warp, weft = (at % 1 < 0.5)[None, :], (at % 1 < 0.5)[:, None]
    threads = 0.06 * np.sin(np.arange(side) * 1.9)[None, :] * np.sin(np.arange(side) * 1.9)[:, None]
    return np.asarray(_between(finish.colour, finish.other, 0.5 * warp + 0.5 * weft) * (1 + threads + 0.05 * _noise(side, 6, 6, rng))[..., None])


def _striped(finish: Finish, side: int, rng: np.random.Generator) -> _Picture:
    share = rng.uniform(0.2, 0.6)
    return _between(finish.colour, finish.other, np.broadcast_to((np.linspace(0, finish.repeats, side) % 1 < share)[:, None], (side, side)))


def _tiled(finish: Finish, side: int, rng: np.random.Generator) -> _Picture:
    at = np.linspace(0, finish.repeats, side, endpoint=False)
    cell = np.minimum(at.astype(int), 63)
    shades = (1 + 0.05 * rng.standard_normal((64, 64)))[np.ix_(cell, cell)]
    joint = (at % 1 < 0.05)[None, :] | (at % 1 < 0.05)[:, None]
    return np.asarray(_between(finish.colour, finish.other, joint) * shades[..., None])


def _perforated(finish: Finish, side: int, rng: np.random.Generator) -> _Picture:
    at = np.linspace(0, finish.repeats, side, endpoint=False) % 1 - 0.5
    hole = np.hypot(at[None, :], at[:, None]) < rng.uniform(0.2, 0.38)
    soft = np.asarray(cv2.GaussianBlur(hole.astype(np.float32), (0, 0), 0.7), np.float32)
    return _between(finish.colour, finish.other, soft)


def _printed(finish: Finish, side: int, rng: np.random.Generator) -> _Picture:
    """Stickers, flowers, arrows: blots and bars of several colours."""
    drawn = _filled(side, finish.colour)
    for _ in range(round(finish.repeats * 3)):
        ink = [float(v) for v in np.clip(np.array(finish.other, np.float32) * rng.uniform(0.5, 1.6) + rng.normal(0, 40, 3), 0, 255)]
        x, y = (int(v) for v in rng.uniform(0, side, 2))
        reach = int(side * rng.uniform(0.015, 0.4) / max(1.0, finish.repeats**0.5))
        shape = rng.integers(3)
        if shape == 0:
            cv2.circle(drawn, (x, y), reach, ink, -1 if rng.random() < 0.6 else max(1, reach // 4), cv2.LINE_AA)
        elif shape == 1:
            corner = x + int(reach * rng.uniform(0.4, 3)), y + int(reach * rng.uniform(0.3, 2))
            cv2.rectangle(drawn, (x, y), corner, ink, -1 if rng.random() < 0.6 else 2, cv2.LINE_AA)
        else:
            corners = np.array((x, y)) + rng.normal(0, reach, (int(rng.integers(3, 6)), 2))
            cv2.fillConvexPoly(drawn, cv2.convexHull(corners.astype(np.int32)), ink, cv2.LINE_AA)
    return drawn


LOOKS: dict[str, Callable[[Finish, int, np.random.Generator], _Picture]] = {
    "plain": _plain,
    "brushed": _brushed,
    "wood": _wood,
    "concrete": _concrete,
    "card": _card,
    "cloth": _cloth,
    "striped": _striped,
    "tiled": _tiled,
    "perforated": _perforated,
    "printed": _printed,
}
