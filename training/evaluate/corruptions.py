"""Corruptions as in a bin: bad light, blur, noise, JPEG, items at other places, and other backgrounds than white card.

Every corruption is a pure function, H x W x 3 uint8 RGB to the same, at several levels. Items are moved and pasted by the mask of
`converter.data.light_card`, so these need photos of one item on plain light card.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from converter.data.light_card import SegmentedPhoto, segment_item
from device.common.arrays import Float32Array, Float64Array
from device.vision.inference.preprocess import Pixels
from training.evaluate.pasting import paste_at, paste_in_place

Rng = np.random.Generator

DAYLIGHT_K = 6504.0


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption. meaning: unit of `levels`, which go from mild to hard."""

    name: str
    meaning: str
    levels: tuple[float, ...]
    apply: Callable[[SegmentedPhoto, float, Rng], Pixels]


def corrupted_views(pixels: Pixels, name: str, seed: int) -> Iterator[Pixels]:
    """First the item pasted back in place, on its card without shadow: a control for errors of the mask. Then every corruption of the photo at every
    level, in the order of CORRUPTIONS.

    Random numbers depend only on the photo's name, the corruption, the level and `seed`, so other photos do not matter.
    """
    item = segment_item(pixels)
    yield paste_in_place(item, item.card)
    for corruption in CORRUPTIONS:
        for level in corruption.levels:
            rng = np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(f"{corruption.name} {level:g}".encode())])
            yield corruption.apply(item, level, rng)


def dark(pixels: Pixels, share: float) -> Pixels:
    """Only `share` of the light reaches the sensor."""
    return _relit(pixels, np.full(3, share))


def tinted(pixels: Pixels, kelvin: float) -> Pixels:
    """Lit by a lamp of `kelvin` (1,667 to 25,000), with the white balance of daylight; white keeps its brightness."""
    return _relit(pixels, _lamp(kelvin) / _lamp(DAYLIGHT_K))


def blurred(pixels: Pixels, share: float) -> Pixels:
    """Out of focus: every point becomes a disc whose radius is `share` of the longer side."""
    radius = share * max(pixels.shape[:2])
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return np.asarray(cv2.filter2D(pixels, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101), np.uint8)


def noisy(pixels: Pixels, sigma: float, rng: Rng) -> Pixels:
    """A sensor at high gain: noise of deviation `sigma` counts of 255 at mid grey; half of its variance grows with brightness."""
    values = pixels.astype(np.float32)
    deviation = np.float32(sigma) * np.sqrt(0.5 + 0.5 * values / 127.5)
    return _rounded(values + deviation * rng.standard_normal(values.shape, np.float32))


def coded(pixels: Pixels, quality: float) -> Pixels:
    """Coded and decoded as JPEG of `quality`, 1 to 100."""
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
    return np.asarray(cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def off_centre(item: SegmentedPhoto, share: float, rng: Rng) -> Pixels:
    """The item at 0.6 of the size that fills the frame, moved `share` of the way from the middle to the edge, in a random direction."""
    height, width = item.mask.shape
    scale = 0.6 * item.box.scale_to_fit(width, height)
    angle = rng.uniform(0, 2 * np.pi)
    push_x, push_y = np.cos(angle), np.sin(angle)
    longest = max(abs(push_x), abs(push_y))
    x = (width + share * push_x / longest * (width - scale * item.box.width)) / 2
    y = (height + share * push_y / longest * (height - scale * item.box.height)) / 2
    return paste_at(item, scale, (x, y))


def cut_off(item: SegmentedPhoto, share: float, rng: Rng) -> Pixels:
    """The item moved over a random side of the frame until `share` of it is outside."""
    height, width = item.mask.shape
    rows, columns = np.nonzero(item.mask)
    x, y = item.box.middle
    match rng.integers(4):
        case 0:
            x -= float(np.quantile(columns, share))
        case 1:
            x += width - float(np.quantile(columns, 1 - share))
        case 2:
            y -= float(np.quantile(rows, share))
        case _:
            y += height - float(np.quantile(rows, 1 - share))
    return paste_at(item, 1.0, (x, y))


def sized(item: SegmentedPhoto, share: float) -> Pixels:
    """The item in the middle, at `share` of the largest area with which it is whole in the frame."""
    height, width = item.mask.shape
    return paste_at(item, float(np.sqrt(share)) * item.box.scale_to_fit(width, height), (width / 2, height / 2))


def on_dark_ground(item: SegmentedPhoto, light: float, rng: Rng) -> Pixels:
    """The item in place, on dull plastic of mean brightness `light` (counts of 255), a little uneven and slightly tinted."""
    height, width = item.mask.shape
    tint = (1 + rng.uniform(-0.08, 0.08, 3)).astype(np.float32)
    slope = _waves(height, width, max(height, width) / 2, rng)
    grain = rng.standard_normal((height, width, 1), np.float32)
    return paste_in_place(item, _rounded(np.float32(light) * tint * (1 + 0.25 * slope) + 1.5 * grain))


def on_busy_ground(item: SegmentedPhoto, contrast: float, rng: Rng) -> Pixels:
    """The item in place, on a clutter of coloured shapes, lines and smudges. contrast: 0 plain grey, 1 any colour."""
    height, width = item.mask.shape
    ground = np.full((height, width, 3), rng.integers(60, 200, 3), np.uint8)
    reach = max(height, width)
    for _ in range(60):
        colour = rng.integers(0, 256, 3).tolist()
        x, y = (int(value) for value in rng.uniform((0, 0), (width, height)))
        a, b = (int(value) for value in rng.uniform(0.01, 0.14, 2) * reach)
        match rng.integers(3):
            case 0:
                cv2.ellipse(ground, (x, y), (a, b), rng.uniform(0, 180), 0, 360, colour, cv2.FILLED, cv2.LINE_AA)
            case 1:
                corners = cv2.boxPoints(((x, y), (2 * a, 2 * b), rng.uniform(0, 180)))
                cv2.fillConvexPoly(ground, corners.astype(np.int32), colour, cv2.LINE_AA)
            case _:
                turn = rng.uniform(0, 2 * np.pi)
                end = int(x + 4 * a * np.cos(turn)), int(y + 4 * a * np.sin(turn))
                cv2.line(ground, (x, y), end, colour, 1 + b // 6, cv2.LINE_AA)
    dirt = 25 * _waves(height, width, reach / 30, rng) + 6 * rng.standard_normal((height, width, 1), np.float32)
    return paste_in_place(item, _rounded(128 + np.float32(contrast) * (ground + dirt - 128)))


CORRUPTIONS: tuple[Corruption, ...] = (
    Corruption("dark", "share of the light", (0.4, 0.2, 0.1), lambda item, level, rng: dark(item.pixels, level)),
    Corruption("warm light", "kelvin", (4500, 3500, 2700), lambda item, level, rng: tinted(item.pixels, level)),
    Corruption("cold light", "kelvin", (9000, 12000, 20000), lambda item, level, rng: tinted(item.pixels, level)),
    Corruption("blur", "radius, share of the longer side", (0.004, 0.008, 0.016), lambda item, level, rng: blurred(item.pixels, level)),
    Corruption("noise", "deviation at mid grey, counts of 255", (8, 16, 32), lambda item, level, rng: noisy(item.pixels, level, rng)),
    Corruption("JPEG", "quality", (40, 20, 10), lambda item, level, rng: coded(item.pixels, level)),
    Corruption("off-centre", "share of the way to the rim", (0.3, 0.6, 1.0), off_centre),
    Corruption("cut off", "share of the item outside", (0.15, 0.3, 0.5), cut_off),
    Corruption("item size", "share of the largest whole item", (1.0, 0.5, 0.25, 0.1), lambda item, level, rng: sized(item, level)),
    Corruption("dark ground", "brightness, counts of 255", (90, 50, 20), on_dark_ground),
    Corruption("busy ground", "contrast", (0.25, 0.5, 1.0), on_busy_ground),
)


def _waves(height: int, width: int, length_px: float, rng: Rng) -> Float32Array:
    """A smooth random surface of deviation 1 with hills about `length_px` apart: height x width x 1."""
    coarse = rng.standard_normal((max(2, round(height / length_px) + 2), max(2, round(width / length_px) + 2))).astype(np.float32)
    surface = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(surface / max(float(surface.std()), 1e-6), np.float32)[..., np.newaxis]


def _relit(pixels: Pixels, gains: Float64Array) -> Pixels:
    """Multiply each channel in linear light, as sRGB defines it (IEC 61966-2-1)."""
    shown = np.arange(256)[:, np.newaxis] / 255
    light = gains * np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    table = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    return np.asarray(cv2.LUT(pixels, _rounded(np.asarray(255 * table, np.float64))[np.newaxis]), np.uint8)


def _rounded(values: Float32Array | Float64Array) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _lamp(kelvin: float) -> Float64Array:
    """Linear sRGB of a black body, its luminance 1 (the Planckian locus as Kim et al. 2002 approximate it)."""
    t = 1000 / kelvin
    x = (
        ((-0.2661239 * t - 0.2343589) * t + 0.8776956) * t + 0.179910
        if kelvin <= 4000
        else ((-3.0258469 * t + 2.1070379) * t + 0.2226347) * t + 0.240390
    )
    if kelvin <= 2222:
        y = ((-1.1063814 * x - 1.34811020) * x + 2.18555832) * x - 0.20219683
    elif kelvin <= 4000:
        y = ((-0.9549476 * x - 1.37418593) * x + 2.09137015) * x - 0.16748867
    else:
        y = ((3.0817580 * x - 5.87338670) * x + 3.75112997) * x - 0.37001483
    xyz = np.array([x / y, 1.0, (1 - x - y) / y])
    to_rgb = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    return np.asarray(np.maximum(to_rgb @ xyz, 0.0), np.float64)
