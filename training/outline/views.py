"""Views of a bin with and without an item, made by chance, with the item's exact mask: what the outline network learns from.

Grounds are drawn (`training.fit.backgrounds` and the darker ones here) or cut from pictures of places. Items are cut from photos on plain card,
or are drawn shapes, solid or clear; round them lie shadows, glow and mirror images, which are no item. Then two cameras look, one at the empty
place and one at the item: in another exposure, white balance, lamp, noise and compression, and moved a little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from converter.data.light_card import segment_item
from device.common.arrays import Float32Array, Float64Array
from device.vision.inference.images import read_pixels
from device.vision.inference.preprocess import Pixels
from training.fit.backgrounds import random_background

Rng = np.random.Generator

WIDTH, HEIGHT = 256, 192
"""pixels of a view, twice what the network sees"""
NOTHING = 0.07
"""share of views in which nothing lies"""
CLEAR = 0.42
"""share of items that are clear"""

_Y, _X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A place with an item, the same place empty, and where the item is.

    frame, empty: HEIGHT x WIDTH x 3 uint8 RGB. mask: HEIGHT x WIDTH uint8, 0 ground to 255 item.
    """

    frame: Pixels
    empty: tuple[Pixels, ...]
    mask: Pixels


@dataclass(frozen=True, slots=True)
class Stock:
    """What views are made from: photos of items on plain card, and pictures of places (may be none)."""

    photos: Sequence[Path]
    places: Sequence[Path]


def random_view(seed: int, stock: Stock) -> View:
    """Make a view; the same for the same seed and stock."""
    rng = np.random.default_rng(seed)
    ground = _ground(rng, stock)
    scene, mask = (ground, np.zeros((HEIGHT, WIDTH), np.float32)) if rng.random() < NOTHING else _with_item(ground, rng, stock)
    if rng.random() < 0.15:
        scene = scene * _flicker(rng)
    camera = _Camera(rng)
    empty = tuple(camera.look(ground, _Light.drifting(rng), None, rng) for _ in range(rng.choice((1, 1, 2, 4))))
    moved = _moved(rng)
    if moved is not None:
        mask = np.asarray(cv2.warpAffine(mask, moved, (WIDTH, HEIGHT)), np.float32)
    return View(camera.look(scene, _Light.changed(rng), moved, rng), empty, np.clip(mask * 255, 0, 255).astype(np.uint8))


def _ground(rng: Rng, stock: Stock) -> Float32Array:
    kinds = (_drawn, _place, _chamber, _backlit, _rails, _rough, _patches)
    shares = np.array((0.2, 0.28 if stock.places else 0, 0.13, 0.11, 0.14, 0.06, 0.08))
    kind = kinds[rng.choice(len(kinds), p=shares / shares.sum())]
    vignette = 1 - rng.uniform(0, 0.6) * np.hypot(_X / WIDTH - rng.uniform(0.2, 0.8), _Y / HEIGHT - rng.uniform(0.2, 0.8)) ** 1.5
    return np.asarray(np.clip(kind(rng, stock) * vignette[..., None], 1, 252), np.float32)


def _drawn(rng: Rng, stock: Stock) -> Float32Array:
    return cv2.resize(random_background(WIDTH, rng), (WIDTH, HEIGHT)).astype(np.float32)


def _place(rng: Rng, stock: Stock) -> Float32Array:
    """A piece of a picture of a place; what lies there already is part of the place."""
    picture = read_pixels(stock.places[rng.integers(len(stock.places))])
    height, width = picture.shape[:2]
    share = rng.uniform(0.6, 1)
    rows, columns = int(height * share * 0.85), int(width * share)
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    piece = picture[top : top + rows, left : left + columns]
    return cv2.resize(piece, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.float32)


def _chamber(rng: Rng, stock: Stock) -> Float32Array:
    """Dark walls, a few lamps, and the lines of their joints."""
    walls = np.full((HEIGHT, WIDTH, 3), rng.uniform(3, 35), np.float32) * _tint(rng, 0.08)
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
        lamp = np.exp(-(((_X - x) / rng.uniform(20, 110)) ** 2 + ((_Y - y) / rng.uniform(20, 110)) ** 2) / 2)
        walls += lamp[..., None] * rng.uniform(30, 200) * _tint(rng, 0.06)
    for _ in range(rng.integers(0, 7)):
        joint = np.zeros((HEIGHT, WIDTH), np.float32)
        start, end = rng.uniform(0, (WIDTH, HEIGHT), (2, 2)).astype(int)
        cv2.line(joint, start.tolist(), end.tolist(), (1,), int(rng.integers(1, 6)))
        walls += cv2.GaussianBlur(joint, (0, 0), rng.uniform(0.5, 3))[..., None] * rng.uniform(-40, 80)
    return walls


def _backlit(rng: Rng, stock: Stock) -> Float32Array:
    """Bright panels behind, dark round them."""
    wall = np.full((HEIGHT, WIDTH, 3), rng.uniform(4, 50), np.float32)
    panels = np.zeros((HEIGHT, WIDTH), np.float32)
    for _ in range(rng.integers(1, 3)):
        corner = rng.uniform(-0.1, 0.5, 2) * (WIDTH, HEIGHT)
        size = rng.uniform((0.3, 0.2), 0.9) * (WIDTH, HEIGHT)
        cv2.rectangle(panels, corner.astype(int).tolist(), (corner + size).astype(int).tolist(), (1,), cv2.FILLED)
    wall += cv2.GaussianBlur(panels, (0, 0), rng.uniform(0.7, 20))[..., None] * rng.uniform(80, 300)
    return wall + _waves(rng, 16)[..., None] * rng.uniform(0, 6)


def _rails(rng: Rng, stock: Stock) -> Float32Array:
    """Rails, or a grid of them."""
    angle, period, duty = rng.uniform(0, np.pi), rng.uniform(8, 45), rng.uniform(-0.6, 0.6)
    rails = np.zeros((HEIGHT, WIDTH), bool)
    for turn in (angle, angle + np.pi / 2)[: 1 + int(rng.random() < 0.4)]:
        rails |= np.sin((_X * np.cos(turn) + _Y * np.sin(turn)) * 2 * np.pi / period + rng.uniform(0, 6)) > duty
    soft = cv2.GaussianBlur(rails.astype(np.float32), (0, 0), rng.uniform(0.5, 1.5))
    return (rng.uniform(5, 120) + soft * rng.uniform(-80, 150) * (1 + 0.25 * _waves(rng, 60)))[..., None] * _tint(rng, 0.05)


def _rough(rng: Rng, stock: Stock) -> Float32Array:
    """Brushed metal, felt, a worn belt."""
    grain = rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32)
    grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), sigmaX=rng.uniform(0.5, 15), sigmaY=rng.uniform(0.5, 3)), np.float32)
    return (rng.uniform(20, 200) + grain * rng.uniform(5, 60))[..., None] * _tint(rng, 0.2)


def _patches(rng: Rng, stock: Stock) -> Float32Array:
    """A home: things of any colour behind."""
    room = (rng.uniform(40, 180) + _waves(rng, 80) * 25)[..., None] * _tint(rng, 0.15)
    for _ in range(rng.integers(3, 14)):
        corner, size = rng.uniform(0, (WIDTH, HEIGHT)), rng.uniform(0, (WIDTH / 2, HEIGHT / 2))
        cv2.rectangle(room, corner.astype(int).tolist(), (corner + size).astype(int).tolist(), rng.uniform(5, 240, 3).tolist(), cv2.FILLED)
    return cv2.GaussianBlur(room, (0, 0), rng.uniform(0.4, 2)) + _waves(rng, 2)[..., None] * rng.uniform(0, 6)


class LaidItem(NamedTuple):
    """An item in the view. colour: H x W x 3, counts of 255. mask: H x W, 0..1. middle: x, y in pixels."""

    colour: Float32Array
    mask: Float32Array
    middle: tuple[float, float]


def _with_item(ground: Float32Array, rng: Rng, stock: Stock) -> tuple[Float32Array, Float32Array]:
    """Lay an item on the ground. Returns the scene, and the item's mask 0..1."""
    colour, mask, middle = _laid(rng, stock)
    near = np.asarray(cv2.GaussianBlur(ground, (0, 0), 40), np.float32).mean(axis=2, keepdims=True)
    lit = np.clip(near / rng.uniform(90, 170), 0.12, 1.3) if rng.random() < 0.7 else np.float32(1)
    colour = colour * lit * np.exp(rng.normal(0, 0.2))
    if rng.random() < 0.25:  # about as bright as the place, as white paper on a white tray is
        colour = np.clip(colour + ((near - colour[mask > 0.5].mean()) if (mask > 0.5).any() else 0) * rng.uniform(0.5, 1), 0, 255)
    scene = _around(ground, colour, mask, middle, rng)
    if rng.random() < CLEAR:
        colour = _clear(ground, scene, LaidItem(colour, mask, middle), np.clip(near / 120, 0.1, 1), rng)
    return np.asarray(scene * (1 - mask[..., None]) + colour * mask[..., None]), mask


def _laid(rng: Rng, stock: Stock) -> LaidItem:
    """An item somewhere in the view, at any size and angle, now and then cut off."""
    colour, mask = _from_photo(rng, stock) if rng.random() < 0.5 else _shape(rng, stock)
    mask, colour = np.pad(mask, 2), np.pad(colour, ((2, 2), (2, 2), (0, 0)), mode="edge")
    scale = np.exp(rng.uniform(np.log(0.12), np.log(1.3))) * HEIGHT / max(mask.shape)
    x, y = rng.normal(0.5, 0.17, 2) * (WIDTH, HEIGHT)
    if rng.random() < 0.075:
        x = rng.choice((0.02, 0.98)) * WIDTH
    elif rng.random() < 0.08:
        y = rng.choice((0.02, 0.98)) * HEIGHT
    turn = np.asarray(cv2.getRotationMatrix2D((mask.shape[1] / 2, mask.shape[0] / 2), rng.uniform(0, 360), scale), np.float64)
    turn[:, 2] += (x - mask.shape[1] / 2, y - mask.shape[0] / 2)
    longer = np.exp(rng.normal(0, 0.2))
    stretch = np.array([[longer, 0, (1 - longer) * x], [0, 1 / longer, (1 - 1 / longer) * y]])
    there = stretch @ np.vstack([turn, (0, 0, 1)])
    if scale < 0.5:  # fine patterns must fade before they are sampled
        colour, mask = (np.asarray(cv2.GaussianBlur(each, (0, 0), 0.35 / scale), np.float32) for each in (colour, mask))
    mask = np.asarray(cv2.warpAffine(mask, there, (WIDTH, HEIGHT)), np.float32)
    colour = np.asarray(cv2.warpAffine(colour, there, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE), np.float32)
    return LaidItem(colour, mask, (x, y))


def _from_photo(rng: Rng, stock: Stock) -> tuple[Float32Array, Float32Array]:
    while True:
        photo = read_pixels(stock.photos[rng.integers(len(stock.photos))])
        item = segment_item(np.asarray(cv2.resize(photo, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8))
        if 0.02 < item.mask.mean() < 0.7:
            box = item.box
            piece = np.s_[box.y : box.y + box.height, box.x : box.x + box.width]
            return item.pixels[piece].astype(np.float32), item.mask[piece].astype(np.float32)


def _shape(rng: Rng, stock: Stock) -> tuple[Float32Array, Float32Array]:
    """A bottle, can, box, cup, lid or scrap, covered with a piece of a photo, or with colour, light and a band."""
    side = 160
    mask = np.zeros((side, side), np.float32)
    match rng.integers(6):
        case 0:
            body, shoulder = rng.uniform(20, 35), 150 - 140 * rng.uniform(0.45, 0.75)
            neck = body * rng.uniform(0.3, 0.5)
            left = [(-body, 150), (-body, shoulder), (-neck, max(shoulder - 28, 20)), (-neck, 10)]
            cv2.fillPoly(mask, [np.array([(80 + x, y) for x, y in left] + [(80 - x, y) for x, y in left[::-1]], np.int32)], (1,))
            mask = (cv2.GaussianBlur(mask, (0, 0), 4) > 0.5).astype(np.float32)
        case 1:
            cv2.rectangle(mask, (45, 15), (115, 145), (1,), cv2.FILLED)
            mask = (cv2.GaussianBlur(mask, (0, 0), rng.uniform(2, 10)) > 0.5).astype(np.float32)
        case 2:
            half = rng.uniform(20, 70, 2)
            cv2.rectangle(mask, (80 - half).astype(int).tolist(), (80 + half).astype(int).tolist(), (1,), cv2.FILLED)
        case 3:
            foot, rim = rng.uniform(25, 45), rng.uniform(45, 65)
            cv2.fillPoly(mask, [np.array([(80 - rim, 20), (80 + rim, 20), (80 + foot, 140), (80 - foot, 140)], np.int32)], (1,))
        case 4:
            cv2.ellipse(mask, (80, 80), rng.uniform((35, 25), 70).astype(int).tolist(), 0, 0, 360, (1,), cv2.FILLED)
        case _:
            corners = rng.integers(5, 12)
            angles, reach = np.sort(rng.uniform(0, 2 * np.pi, corners)), rng.uniform(35, 75, corners)
            cv2.fillPoly(mask, [np.stack([80 + reach * np.cos(angles), 80 + reach * np.sin(angles)], axis=1).astype(np.int32)], (1,))
    return _cover(side, rng, stock), mask


def _cover(side: int, rng: Rng, stock: Stock) -> Float32Array:
    if rng.random() < 0.45:
        photo = read_pixels(stock.photos[rng.integers(len(stock.photos))])
        piece = min(int(rng.integers(100, 300)), *photo.shape[:2])
        top, left = rng.integers(0, photo.shape[0] - piece + 1), rng.integers(0, photo.shape[1] - piece + 1)
        return cv2.resize(photo[top : top + piece, left : left + piece], (side, side)).astype(np.float32)
    cover = np.empty((side, side, 3), np.float32)
    cover[:] = rng.uniform(10, 240, 3 if rng.random() < 0.55 else 1)
    cover *= 1 + rng.uniform(-0.7, 0.7) * np.sin(np.linspace(0, np.pi * rng.uniform(1, 6), side) + rng.uniform(0, 6))[:, None]
    if rng.random() < 0.5:
        top, bottom = np.sort(rng.uniform(0.1, 0.9, 2) * side).astype(int)
        cover[top:bottom] = rng.uniform(0, 255, 3)
    print_ = cv2.resize(rng.standard_normal((12, 12)).astype(np.float32), (side, side)) * rng.uniform(0, 40)
    return np.clip(cover + print_[..., None], 0, 255).astype(np.float32)


def _around(ground: Float32Array, colour: Float32Array, mask: Float32Array, middle: tuple[float, float], rng: Rng) -> Float32Array:
    """What an item does to the place round it: shadows, a glow of its colour, its image in a shiny floor."""
    scene: npt.NDArray[Any] = ground
    size = (WIDTH, HEIGHT)
    for _ in range(rng.choice((0, 1, 2, 3), p=(0.2, 0.4, 0.25, 0.15))):
        cast = cv2.warpAffine(mask, _falling(middle, rng), size)
        depth = rng.uniform(0, 0.9) if rng.random() < 0.4 else rng.uniform(0, 0.5)
        scene = scene * (1 - depth * cv2.GaussianBlur(cast, (0, 0), np.exp(rng.uniform(-0.7, 2.7))))[..., None] ** _tint(rng, 0.04)
    if rng.random() < 0.35:
        scene = scene + cv2.GaussianBlur(mask[..., None] * colour, (0, 0), np.exp(rng.uniform(1.5, 3.5))) * rng.uniform(0, 0.25)
    if rng.random() < 0.3:
        foot = float(np.flatnonzero((mask > 0.5).any(axis=1)).max(initial=0))
        mirror = np.array([[1, 0, rng.uniform(-0.03, 0.03) * WIDTH], [0, -1, 2 * foot + rng.uniform(-0.1, 0.2) * HEIGHT]])
        blur = np.exp(rng.uniform(-0.5, 1.8))
        seen = cv2.GaussianBlur(cv2.warpAffine(mask, mirror, size), (0, 0), blur)[..., None] * rng.uniform(0.03, 0.5)
        scene = scene * (1 - seen) + cv2.GaussianBlur(cv2.warpAffine(colour, mirror, size), (0, 0), blur) * seen
    return np.asarray(scene, np.float32)


def _falling(middle: tuple[float, float], rng: Rng) -> Float64Array:
    """Where a shadow falls: beside the item, longer or shorter than it and slanted, and it begins under the item."""
    slant, length = rng.normal(0, 0.5), np.exp(rng.normal(0, 0.35))
    x, y = rng.normal(0, 0.08, 2) * (WIDTH, HEIGHT)
    return np.array([[1, slant, x - slant * middle[1]], [0, length, y + (1 - length) * middle[1]]])


def _clear(ground: Float32Array, scene: Float32Array, item: LaidItem, lit: Float32Array, rng: Rng) -> Float32Array:
    """A clear item: the place shines through it bent, dimmed most at the rim; its fine structure, glints, a label or a cap lie over that."""
    colour, mask, (x, y) = item
    zoom = rng.uniform(0.75, 1.35) if rng.random() < 0.7 else -rng.uniform(0.5, 1)
    high = np.sqrt(abs(zoom))
    lens = np.array([[zoom, 0, (1 - zoom) * x + rng.normal(0, 4)], [0, high, (1 - high) * y + rng.normal(0, 4)]])
    bent = cv2.warpAffine(ground, lens, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT)
    share = rng.uniform(0, 1)
    inside = (mask > 0.5).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    thick = max(float(depth.max()), 1.0)
    rim = np.exp(-depth / (thick * rng.uniform(0.05, 0.3)))
    passed = np.clip(rng.uniform(0.7, 1.0) - rng.uniform(0.1, 0.7) * rim, 0.05, 1)[..., None] * _tint(rng, 0.04)
    if rng.random() < 0.3:
        passed = passed * np.exp(-np.abs(rng.normal(0, 0.3, 3)))
    grey = colour.mean(axis=2)
    structure = (grey - cv2.GaussianBlur(grey, (0, 0), thick * 0.25 + 1)) * rng.uniform(0.1, 1.0)
    body = (bent * share + scene * (1 - share)) * passed + (structure[..., None] + rng.uniform(0, 25)) * lit
    body += _glints(inside, thick, rng)[..., None] * rng.uniform(30, 250)
    if inside.any() and rng.random() < 0.5:
        along = rng.uniform(0, 1) * (_Y - y) + rng.uniform(-1, 1) * (_X - x)
        low, top = np.quantile(along[inside > 0], (rng.uniform(0.2, 0.8), rng.uniform(0.8, 1)))
        label = ((along > low) & (along < top))[..., None]
        body = np.where(label, colour, body)
    return np.asarray(body, np.float32)


def _glints(inside: npt.NDArray[np.uint8], thick: float, rng: Rng) -> Float32Array:
    glints = np.zeros((HEIGHT, WIDTH), np.float32)
    rows, columns = np.nonzero(inside)
    for _ in range(rng.integers(0, 5) if len(rows) else 0):
        at = rng.integers(len(rows))
        start = np.array((columns[at], rows[at]))
        cv2.line(glints, start.tolist(), (start + rng.normal(0, thick * 0.5, 2)).astype(int).tolist(), (1,), int(rng.integers(1, 3)))
    return np.asarray(cv2.GaussianBlur(glints, (0, 0), rng.uniform(0.4, 1.5)), np.float32)


@dataclass(frozen=True, slots=True)
class _Light:
    """Exposure, white balance, a lamp to one side, and the camera's curve."""

    gain: float
    tint: Float32Array
    slope: Float32Array
    gamma: float

    @classmethod
    def drifting(cls, rng: Rng) -> "_Light":
        return cls(float(np.exp(rng.normal(0, 0.04))), _tint(rng, 0.012), rng.normal(0, 0.04, 2).astype(np.float32), 1.0)

    @classmethod
    def changed(cls, rng: Rng) -> "_Light":
        gain, tint, slope = (
            wide if rng.random() < often else narrow for wide, often, narrow in ((0.35, 0.5, 0.03), (0.08, 0.35, 0.01), (0.25, 0.35, 0.03))
        )
        gamma = float(np.exp(rng.normal(0, 0.06))) if rng.random() < 0.3 else 1.0
        return cls(float(np.exp(rng.normal(0, gain))), _tint(rng, tint), rng.normal(0, slope, 2).astype(np.float32), gamma)


class _Camera:
    """Noise, blur, flare and JPEG, the same for all pictures of one place."""

    def __init__(self, rng: Rng) -> None:
        self._noise = float(np.exp(rng.uniform(np.log(0.3), np.log(3.5))))
        self._quality = int(rng.choice((0, 95, 85, 70, 55)))
        self._blur = rng.uniform(0, 0.7)
        self._flare = rng.uniform(0, 6) if rng.random() < 0.3 else 0.0

    def look(self, scene: Float32Array, light: _Light, moved: Float64Array | None, rng: Rng) -> Pixels:
        slope = 1 + light.slope[0] * (_X / WIDTH - 0.5) + light.slope[1] * (_Y / HEIGHT - 0.5)
        seen = (scene + self._flare) * light.gain * light.tint * slope[..., None]
        seen = (255 * (np.clip(seen, 0, 255) / 255) ** light.gamma).astype(np.float32)
        if moved is not None:
            seen = np.asarray(cv2.warpAffine(seen, moved, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
        if self._blur > 0.3:
            seen = np.asarray(cv2.GaussianBlur(seen, (0, 0), self._blur), np.float32)
        seen = seen + rng.standard_normal(seen.shape).astype(np.float32) * self._noise * np.sqrt(1 + seen / 60)
        pixels: Pixels = np.clip(seen, 0, 255).astype(np.uint8)
        if not self._quality:
            return pixels
        packed = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, self._quality))[1]
        return np.asarray(cv2.cvtColor(cv2.imdecode(packed, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def _moved(rng: Rng) -> Float64Array | None:
    """A camera that was knocked: by less than a pixel of the network's view often, by a few now and then, mostly not at all."""
    amount = rng.choice((0.0, 0.4, 2.5), p=(0.6, 0.27, 0.13))
    if not amount:
        return None
    x, y = rng.normal(0, amount, 2)
    turn = rng.normal(0, 0.002 * amount)
    return np.array([[1, -turn, x], [turn, 1, y]])


def _flicker(rng: Rng) -> Float32Array:
    """Somebody stands in the light, or a lamp gives less: smooth, and no item."""
    x, y = rng.uniform(0, (WIDTH, HEIGHT))
    spot = np.exp(-(((_X - x) / rng.uniform(50, 150)) ** 2 + ((_Y - y) / rng.uniform(50, 150)) ** 2))
    return np.asarray((1 + rng.uniform(-0.35, 0.3) * spot)[..., None], np.float32)


def _tint(rng: Rng, strength: float) -> Float32Array:
    return np.asarray(np.exp(rng.normal(0, strength, 3)), np.float32)


def _waves(rng: Rng, cell: int) -> Float32Array:
    coarse = rng.standard_normal((max(2, HEIGHT // cell + 2), max(2, WIDTH // cell + 2))).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.float32)
