"""Invented packaging: names, emblems, label layouts. No name here is taken from a product."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import bpy
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.render.appearance.materials import Colour
from training.render.random_choice import pick, toss

NAMES = (
    "Oskelde", "Tonquil", "Velmora", "Brunquay", "Mirovask", "Pellundo", "Zarquith", "Hobrelle", "Quenzaro", "Ulvenkott", "Drissolay",
    "Yorbattin", "Faltruve", "Kwendolm", "Izzerame", "Wuppendal", "Jorquelle", "Thambrosk",
)  # fmt: skip
CLAIMS = (
    "extra mild", "with real lemon", "lightly salted", "family size", "still water", "no added sugar", "stone milled",
    "in tomato sauce", "roasted twice", "best served cold", "orange and ginger", "cream of mushroom", "whole grain",
)  # fmt: skip
SMALL_PRINT = (
    "ingredients", "water", "sugar", "net", "weight", "best", "before", "see", "lid", "store", "in", "a", "cool", "dry", "place",
    "recycle", "product", "of", "energy", "protein", "salt", "keep", "upright", "serving", "natural", "flavour", "contains", "please",
    "open", "here", "with", "care", "made", "from", "tested", "recipe",
)  # fmt: skip

# background, second colour, accent, ink that reads on the background
PALETTES: tuple[tuple[Colour, Colour, Colour, Colour], ...] = (
    ((178, 28, 40), (240, 236, 226), (243, 196, 62), (250, 246, 236)),
    ((24, 62, 122), (120, 176, 222), (236, 238, 240), (246, 247, 250)),
    ((28, 104, 66), (176, 206, 96), (244, 226, 148), (246, 247, 236)),
    ((238, 234, 222), (204, 62, 44), (38, 92, 74), (42, 38, 36)),
    ((242, 178, 48), (198, 58, 34), (58, 40, 30), (52, 32, 22)),
    ((240, 240, 238), (36, 112, 176), (244, 168, 44), (28, 44, 82)),
    ((84, 42, 110), (226, 154, 196), (246, 214, 96), (248, 242, 250)),
    ((26, 26, 30), (196, 160, 84), (226, 222, 212), (236, 224, 190)),
    ((222, 98, 34), (250, 224, 170), (92, 38, 26), (254, 246, 232)),
    ((206, 226, 232), (32, 120, 138), (242, 108, 82), (24, 66, 80)),
    ((214, 70, 118), (252, 226, 232), (94, 162, 92), (255, 246, 248)),
    ((104, 66, 42), (226, 196, 148), (188, 54, 40), (248, 236, 214)),
)
Canvas = ImageDraw.ImageDraw


@cache
def font(size_px: int, weight: int = 400) -> ImageFont.FreeTypeFont:
    """The sans face that comes with Blender, at a weight of 100..900."""
    face = ImageFont.truetype(str(Path(bpy.utils.system_resource("DATAFILES", path="fonts")) / "Inter.woff2"), size_px)
    axes = face.get_variation_axes()
    face.set_variation_by_axes([weight if (axis["maximum"] or 0) >= 700 else (axis["default"] or 0) for axis in axes])
    return face


def words(rng: np.random.Generator, count: int) -> str:
    """Small print, by the word."""
    return " ".join(pick(rng, SMALL_PRINT) for _ in range(count))


def paragraph(rng: np.random.Generator, on: Canvas, box: tuple[float, float, float, float], size_px: float, ink: Colour) -> None:
    """Fill a box of left, top, width, height with small print."""
    left, top, width, height = box
    face = font(max(5, round(size_px)))
    y = top
    while y + size_px <= top + height:
        line, room = "", width * rng.uniform(0.75, 1.0)
        while face.getlength(line) < room:
            line += words(rng, 1) + " "
        on.text((left, y), line[: max(1, int(len(line) * room / face.getlength(line)))], fill=ink, font=face)
        y += size_px * 1.3


def barcode(rng: np.random.Generator, on: Canvas, box: tuple[float, float, float, float]) -> None:
    """Bars of random widths on white; they code nothing."""
    left, top, width, height = box
    on.rectangle([left - 0.06 * width, top - 0.1 * height, left + 1.06 * width, top + 1.2 * height], fill=(250, 250, 248))
    x, bar = left, max(1.0, width / 95)
    while x < left + width - 4 * bar:
        wide = bar * int(rng.integers(1, 4))
        on.rectangle([x, top, max(x, x + wide - 1), top + height], fill=(20, 20, 22))  # x + 1 - 1 may be less than x
        x += wide + bar * int(rng.integers(1, 4))


def wordmark(on: Canvas, text: str, middle: tuple[float, float], room: tuple[float, float], ink: Colour, weight: int = 800) -> None:
    """A name as large as fits into `room`, width x height, centred."""
    width, height = room
    size = max(8, round(min(height, width / font(100, weight).getlength(text) * 100)))
    on.text(middle, text, fill=ink, font=font(size, weight), anchor="mm")


def _citrus(on: Canvas, x: float, y: float, r: float, main: Colour, light: Colour) -> None:
    on.ellipse([x - r, y - r, x + r, y + r], fill=main)
    on.ellipse([x - 0.86 * r, y - 0.86 * r, x + 0.86 * r, y + 0.86 * r], fill=light)
    for k in range(8):
        on.pieslice([x - 0.78 * r, y - 0.78 * r, x + 0.78 * r, y + 0.78 * r], 45 * k + 4, 45 * k + 41, fill=main)


def _berries(on: Canvas, x: float, y: float, r: float, main: Colour, light: Colour) -> None:
    for dx, dy in ((-0.45, 0.3), (0.45, 0.35), (0, -0.35), (0.05, 0.95)):
        cx, cy, q = x + dx * r, y + (dy - 0.25) * r, 0.46 * r
        on.ellipse([cx - q, cy - q, cx + q, cy + q], fill=main)
        on.ellipse([cx - 0.5 * q, cy - 0.6 * q, cx - 0.1 * q, cy - 0.2 * q], fill=light)


def _sprig(on: Canvas, x: float, y: float, r: float, main: Colour, light: Colour) -> None:
    on.line([(x, y + r), (x, y - 0.8 * r)], fill=light, width=max(1, round(r / 12)))
    for k in range(4):
        for side in (-1, 1):
            root = y + (0.7 - 0.45 * k) * r
            tip = (x + side * (0.85 - 0.13 * k) * r, root - 0.5 * r)
            on.polygon([(x, root), (x + side * 0.5 * r, root - 0.05 * r), tip, (x + side * 0.25 * r, root - 0.42 * r)], fill=main)


def _peaks(on: Canvas, x: float, y: float, r: float, main: Colour, light: Colour) -> None:
    for cx, top, half in ((x - 0.35 * r, y - 0.5 * r, 0.75 * r), (x + 0.4 * r, y - 0.95 * r, 0.85 * r)):
        foot = y + 0.8 * r
        on.polygon([(cx - half, foot), (cx, top), (cx + half, foot)], fill=main)
        cap = 0.3
        on.polygon([(cx - half * cap, top + (foot - top) * cap), (cx, top), (cx + half * cap, top + (foot - top) * cap)], fill=light)


def _sun(on: Canvas, x: float, y: float, r: float, main: Colour, light: Colour) -> None:
    for k in range(16):
        a, b = math.tau * k / 16, math.tau * (k + 0.5) / 16
        on.polygon([(x, y), (x + r * math.cos(a), y + r * math.sin(a)), (x + r * math.cos(b), y + r * math.sin(b))], fill=main)
    on.ellipse([x - 0.55 * r, y - 0.55 * r, x + 0.55 * r, y + 0.55 * r], fill=light)


def _drop(on: Canvas, x: float, y: float, r: float, main: Colour, light: Colour) -> None:
    on.polygon([(x, y - r), (x + 0.55 * r, y + 0.1 * r), (x - 0.55 * r, y + 0.1 * r)], fill=main)
    on.ellipse([x - 0.63 * r, y - 0.3 * r, x + 0.63 * r, y + 0.95 * r], fill=main)
    on.arc([x - 0.4 * r, y - 0.1 * r, x + 0.4 * r, y + 0.75 * r], 90, 170, fill=light, width=max(1, round(r / 8)))


def _waves(on: Canvas, x: float, y: float, r: float, main: Colour, light: Colour) -> None:
    for k, ink in enumerate((main, light, main)):
        line = [(x + t * r, y + (0.5 * k - 0.5) * r + 0.18 * r * math.sin(5 * t)) for t in np.linspace(-1, 1, 24)]
        on.line(line, fill=ink, width=max(2, round(r / 5)), joint="curve")


Emblem = Callable[[Canvas, float, float, float, Colour, Colour], None]
"""draws itself: canvas, x, y and radius in pixels, main colour, light colour"""

EMBLEMS: tuple[Emblem, ...] = (
    _citrus,
    _berries,
    _sprig,
    _peaks,
    _sun,
    _drop,
    _waves,
)


@dataclass(frozen=True, slots=True)
class Design:
    """The look of a packet. palette: ground, second, accent, ink. layout: 0 roundel, 1 slanting field, 2 stripes and a plate, 3 wave."""

    palette: tuple[Colour, Colour, Colour, Colour]
    name: str
    layout: int
    emblem: Emblem


def front(rng: np.random.Generator, width: int, height: int, palette: tuple[Colour, Colour, Colour, Colour] | None = None) -> Image.Image:
    """The face of a packet: a ground, an emblem, a name, a claim."""
    return _front(rng, width, height, Design(palette or pick(rng, PALETTES), pick(rng, NAMES), int(rng.integers(4)), pick(rng, EMBLEMS)))


def wrapround(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A label that goes round a can or bottle: two equal faces, small print and a barcode between them."""
    palette = pick(rng, PALETTES)
    design = Design(palette, pick(rng, NAMES), int(rng.integers(4)), pick(rng, EMBLEMS))
    face = _front(rng, round(width * 0.38), height, design)
    ground, second, _, ink = palette
    label = Image.new("RGB", (width, height), ground)
    on = ImageDraw.Draw(label)
    for side in range(2):
        left = width * (0.06 + 0.5 * side)
        label.paste(face, (round(left), 0))
        left += width * 0.4
        if side:
            barcode(rng, on, (left, height * 0.62, width * 0.07, height * 0.2))
            paragraph(rng, on, (left, height * 0.12, width * 0.08, height * 0.4), max(8.0, height * 0.028), ink)
        else:
            paragraph(rng, on, (left, height * 0.14, width * 0.08, height * 0.66), max(8.0, height * 0.028), ink)
    edge = round(height * 0.04)
    if toss(rng, 0.6):
        on.rectangle([0, 0, width, edge], fill=second)
        on.rectangle([0, height - edge, width, height], fill=second)
    return label


def _front(rng: np.random.Generator, width: int, height: int, design: Design) -> Image.Image:
    ground, second, accent, ink = design.palette
    name, layout, emblem = design.name, design.layout, design.emblem
    w, h = width * 2, height * 2  # drawn at twice the size: Pillow's shapes have hard edges
    face = Image.new("RGB", (w, h), ground)
    on = ImageDraw.Draw(face)
    r = 0.5 * min(w, h)
    if layout == 0:  # a roundel, the name across it
        on.ellipse([w / 2 - 0.84 * r, h * 0.4 - 0.84 * r, w / 2 + 0.84 * r, h * 0.4 + 0.84 * r], fill=second)
        emblem(on, w / 2, h * 0.34, 0.5 * r, accent, ground)
        on.rectangle([w * 0.02, h * 0.5, w * 0.98, h * 0.5 + 0.42 * r], fill=ground)
        wordmark(on, name, (w / 2, h * 0.5 + 0.21 * r), (w * 0.9, 0.42 * r), ink)
    elif layout == 1:  # a slanting field
        slope = rng.uniform(-0.25, 0.25) * h
        on.polygon([(0, h * 0.52 + slope / 2), (w, h * 0.52 - slope / 2), (w, h), (0, h)], fill=second)
        on.polygon([(0, h * 0.5 + slope / 2), (w, h * 0.5 - slope / 2), (w, h * 0.54 - slope / 2), (0, h * 0.54 + slope / 2)], fill=accent)
        wordmark(on, name, (w / 2, h * 0.26), (w * 0.88, h * 0.24), ink, 900)
        emblem(on, w * 0.6, h * 0.77, min(0.34 * w, 0.18 * h), accent, ground)
    elif layout == 2:  # stripes and a plate
        stripes = int(rng.integers(5, 10))
        for k in range(0, 2 * stripes, 2):
            on.rectangle([w * k / stripes / 2, 0, w * (k + 1) / stripes / 2, h], fill=second)
        on.rounded_rectangle([w * 0.06, h * 0.22, w * 0.94, h * 0.72], radius=0.12 * r, fill=ground, outline=accent, width=max(2, round(r / 30)))
        wordmark(on, name, (w / 2, h * 0.36), (w * 0.78, h * 0.2), ink)
        emblem(on, w / 2, h * 0.57, min(0.3 * w, 0.11 * h), accent, second)
    else:  # a wave, with the emblem repeated small
        crest = [(x, h * 0.62 + 0.06 * h * math.sin(6.3 * x / w + 1)) for x in np.linspace(0, w, 40)]
        on.polygon([*crest, (w, h), (0, h)], fill=accent)
        on.polygon([*((x, y + 0.07 * h) for x, y in crest), (w, h), (0, h)], fill=second)
        for x, y, q in ((0.28, 0.2, 0.26), (0.72, 0.16, 0.2), (0.55, 0.85, 0.2)):
            emblem(on, w * x, h * y, q * r, accent if y < 0.5 else ground, second)
        wordmark(on, name, (w / 2, h * 0.44), (w * 0.9, h * 0.22), ink, 900)
    claim = pick(rng, CLAIMS).upper()
    strip = h * 0.9
    on.rectangle([0, strip - 0.035 * h, w, strip + 0.035 * h], fill=ground)
    wordmark(on, claim, (w / 2, strip), (w * 0.8, h * 0.045), ink, 600)
    return face.resize((width, height), Image.Resampling.LANCZOS)
