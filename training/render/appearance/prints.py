"""Printed matter: corrugated board with its stamps, letters, newspapers, envelopes; and what a tear shows of the fibre under the print."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import distance_transform_edt, gaussian_filter, gaussian_filter1d

from device.common.arrays import Float64Array
from training.render.appearance.artwork import EMBLEMS, NAMES, PALETTES, barcode, font, front, paragraph, wordmark, words
from training.render.appearance.creases import TornSheet
from training.render.appearance.materials import Colour
from training.render.random_choice import pick, toss

KRAFT: tuple[Colour, ...] = ((184, 149, 110), (171, 136, 99), (198, 166, 126), (178, 146, 112))
STAMP_INKS: tuple[Colour, ...] = ((44, 40, 38), (44, 40, 38), (40, 56, 112), (128, 36, 32))


def _fibres(rng: np.random.Generator, shape: tuple[int, int], amount: float, along: float, across: float) -> Float64Array:
    noise = gaussian_filter(rng.normal(size=shape), (across, along))
    return np.asarray((noise / (noise.std() + 1e-9) * amount)[..., None])


def _picture(pixels: Float64Array) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def board(rng: np.random.Generator, width: int, height: int, colour: Colour, *, stamped: bool) -> Image.Image:
    """Corrugated board: fibres, the washboard of its flutes, flecks; with shipping stamps or a parcel label when `stamped`."""
    shape = (height, width)
    pixels = np.ones((*shape, 3)) * np.array(colour, float)
    pixels += _fibres(rng, shape, 2.5, 1, 1) + _fibres(rng, shape, 2.5, 12, 0.7) + _fibres(rng, shape, 3.0, 60, 60)
    pixels += (np.sin(np.arange(width) * math.tau / rng.uniform(9, 13)) * rng.uniform(1, 3))[None, :, None]
    flecks = rng.random(shape)
    pixels[flecks > 0.9994] *= 0.75
    pixels[flecks < 0.0005] *= 1.1
    picture = _picture(pixels)
    if not stamped:
        return picture
    on = ImageDraw.Draw(picture)
    ink = pick(rng, STAMP_INKS)
    left, top, unit = width * rng.uniform(0.1, 0.35), height * rng.uniform(0.12, 0.5), min(width, height)
    layout = int(rng.integers(4))
    if layout == 0:
        wordmark(on, pick(rng, (*NAMES[:6], "FRAGILE", "THIS SIDE UP")).upper(), (width * 0.5, top + unit * 0.06), (width * 0.6, unit * 0.14), ink)
        paragraph(rng, on, (width * 0.32, top + unit * 0.17, width * 0.36, unit * 0.1), unit * 0.024, ink)
    elif layout == 1:
        for k in range(2):
            x, y = left + unit * 0.14 * k, top
            on.polygon([(x, y), (x + unit * 0.05, y + unit * 0.08), (x - unit * 0.05, y + unit * 0.08)], fill=ink)
            on.rectangle([x - unit * 0.016, y + unit * 0.08, x + unit * 0.016, y + unit * 0.2], fill=ink)
        on.rectangle([left - unit * 0.07, top + unit * 0.22, left + unit * 0.21, top + unit * 0.235], fill=ink)
        paragraph(rng, on, (left + unit * 0.3, top + unit * 0.05, unit * 0.25, unit * 0.12), unit * 0.022, ink)
    elif layout == 2:
        pick(rng, EMBLEMS)(on, left + unit * 0.15, top + unit * 0.15, unit * 0.14, ink, colour)
        wordmark(on, pick(rng, NAMES), (left + unit * 0.15, top + unit * 0.36), (unit * 0.34, unit * 0.08), ink)
    else:
        wide, high = unit * 0.42, unit * 0.3
        on.rectangle([left, top, left + wide, top + high], fill=(240, 239, 235))
        paragraph(rng, on, (left + wide * 0.06, top + high * 0.08, wide * 0.55, high * 0.4), unit * 0.024, (36, 36, 38))
        barcode(rng, on, (left + wide * 0.1, top + high * 0.56, wide * 0.78, high * 0.28))
    return Image.blend(picture, picture.filter(ImageFilter.GaussianBlur(1)), 0.6)


def photo(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """What passes for a photo in a newspaper: hills under a sky, a town, or a head and shoulders."""
    picture = Image.new("RGB", (width, height), pick(rng, ((176, 196, 214), (214, 204, 190), (150, 160, 172))))
    on = ImageDraw.Draw(picture)
    subject = int(rng.integers(3))
    if subject == 0:
        for k in range(3):
            ridge = gaussian_filter1d(rng.normal(size=width), width / 9) * height * 1.2 + height * (0.45 + 0.18 * k)
            tone = (96 - 24 * k, 116 - 22 * k, 92 - 22 * k)
            on.polygon([*((x, float(ridge[x])) for x in range(width)), (width, height), (0, height)], fill=tone)
    elif subject == 1:
        for _ in range(14):
            x, top, wide = rng.uniform(-0.1, 1) * width, rng.uniform(0.2, 0.7) * height, rng.uniform(0.08, 0.22) * width
            shade = int(rng.integers(60, 170))
            on.rectangle([x, top, x + wide, height], fill=(shade, int(shade * 0.93), int(shade * 0.88)))
    else:
        x, skin, coat = width * rng.uniform(0.35, 0.65), (196, 152, 124), pick(rng, ((40, 46, 66), (90, 40, 44), (60, 60, 60)))
        r = 0.2 * height
        on.ellipse([x - 2.2 * r, height * 0.62, x + 2.2 * r, height * 1.5], fill=coat)
        on.ellipse([x - 0.8 * r, height * 0.22, x + 0.8 * r, height * 0.22 + 2.2 * r], fill=skin)
        on.pieslice([x - 0.9 * r, height * 0.18, x + 0.9 * r, height * 0.18 + 1.8 * r], 180, 360, fill=(58, 42, 34))
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(max(1, width / 120))), float)
    return _picture(soft + _fibres(rng, (height, width), 5, 1, 1))


def page(rng: np.random.Generator, width: int, height: int, what: str) -> Image.Image:
    """A printed or written page. what: letter, lined, flyer, form, receipt, news or blank."""
    paper = {"news": (213, 208, 196), "lined": (246, 245, 238)}.get(what, (244, 243, 240))
    picture = Image.new("RGB", (width, height), paper)
    on = ImageDraw.Draw(picture)
    if what != "blank":
        {"letter": _letter, "lined": _lined, "flyer": _flyer, "form": _form, "receipt": _receipt, "news": _news}[what](rng, picture, on)
    return _picture(np.asarray(picture, float) + _fibres(rng, (height, width), 1.5, 1, 1))


def _letter(rng: np.random.Generator, picture: Image.Image, on: ImageDraw.ImageDraw) -> None:
    w, h = picture.size
    ink, house = (44, 44, 48), pick(rng, PALETTES)[1]
    pick(rng, EMBLEMS)(on, w * 0.14, h * 0.075, w * 0.05, house, (244, 243, 240))
    on.text((w * 0.22, h * 0.06), pick(rng, NAMES), fill=house, font=font(round(h * 0.032), 700))
    for top, high, wide in ((0.15, 0.08, 0.3), (0.28, 0.2, 0.8), (0.51, 0.16, 0.8), (0.7, 0.1, 0.8)):
        paragraph(rng, on, (w * 0.1, h * top, w * wide, h * high), h * 0.0145, ink)


def _lined(rng: np.random.Generator, picture: Image.Image, on: ImageDraw.ImageDraw) -> None:
    w, h = picture.size
    lines = np.arange(h * 0.1, h, h * 0.034)
    for y in lines:
        on.line([0, y, w, y], fill=(160, 185, 215), width=1)
    on.line([w * 0.12, 0, w * 0.12, h], fill=(215, 130, 130), width=1)
    for y in lines[: int(len(lines) * rng.uniform(0.3, 0.9))]:
        left, end = w * 0.14, w * rng.uniform(0.5, 0.93)
        while left < end:
            letters = int(rng.integers(2, 9))
            t = np.arange(0, letters * math.tau, 0.35)
            tall = 1 + 1.1 * np.clip(gaussian_filter1d(rng.normal(size=len(t)), 6) * 4 - 0.6, -0.4, 1)
            x = left + t * w * 0.0026 + w * 0.005 * np.sin(t)
            script = y - h * 0.008 + h * 0.006 * tall * np.cos(t + 0.6)
            on.line([(float(a), float(b)) for a, b in zip(x, script, strict=True)], fill=(44, 54, 116), width=2)
            left = float(x[-1]) + w * 0.022


def _flyer(rng: np.random.Generator, picture: Image.Image, on: ImageDraw.ImageDraw) -> None:
    w, h = picture.size
    palette = pick(rng, PALETTES)
    picture.paste(front(rng, w, round(h * 0.45), palette), (0, 0))
    for k in range(4):
        left, top = w * (0.07 + 0.46 * (k % 2)), h * (0.49 + 0.25 * (k // 2))
        picture.paste(photo(rng, round(w * 0.4), round(h * 0.15)), (round(left), round(top)))
        paragraph(rng, on, (left, top + h * 0.16, w * 0.4, h * 0.06), h * 0.013, (44, 44, 48))


def _form(rng: np.random.Generator, picture: Image.Image, on: ImageDraw.ImageDraw) -> None:
    w, h = picture.size
    rule = (128, 130, 136)
    for y in np.arange(h * 0.1, h * 0.92, h * 0.06):
        on.rectangle([w * 0.08, y, w * 0.92, y + h * 0.05], outline=rule)
        on.line([w * 0.5, y, w * 0.5, y + h * 0.05], fill=rule)
        on.text((w * 0.1, y + h * 0.006), words(rng, 2), fill=(90, 90, 96), font=font(max(6, round(h * 0.013))))
    on.text((w * 0.08, h * 0.04), pick(rng, NAMES), fill=(44, 44, 48), font=font(round(h * 0.035), 700))


def _receipt(rng: np.random.Generator, picture: Image.Image, on: ImageDraw.ImageDraw) -> None:
    w, h = picture.size
    ink = (70, 70, 78)
    wordmark(on, pick(rng, NAMES).upper(), (w / 2, w * 0.16), (w * 0.6, w * 0.14), ink)
    for y in np.arange(w * 0.34, h * 0.82, w * 0.075):
        on.text((w * 0.08, y), words(rng, 2), fill=ink, font=font(max(6, round(w * 0.055))))
        on.text((w * 0.92, y), f"{rng.uniform(0.4, 19):.2f}", fill=ink, font=font(max(6, round(w * 0.055))), anchor="ra")
    barcode(rng, on, (w * 0.2, h * 0.88, w * 0.6, h * 0.06))


def _news(rng: np.random.Generator, picture: Image.Image, on: ImageDraw.ImageDraw) -> None:
    w, h = picture.size
    ink, grey = (42, 42, 46), (72, 72, 75)
    wordmark(on, f"{pick(rng, NAMES)} Daily", (w / 2, h * 0.055), (w * 0.7, h * 0.075), ink, 700)
    on.line([w * 0.05, h * 0.105, w * 0.95, h * 0.105], fill=ink, width=2)
    y = h * 0.12
    while y < h * 0.9:
        high = h * rng.uniform(0.22, 0.34)
        on.text((w * 0.05, y), words(rng, 5).capitalize(), fill=ink, font=font(round(h * rng.uniform(0.026, 0.04)), 700))
        columns = int(rng.integers(3, 5))
        pictured = int(rng.integers(columns))
        for k in range(columns):
            left, wide = w * (0.05 + 0.9 * k / columns), w * 0.86 / columns
            top, rest = y + h * 0.055, high * 0.78
            if k == pictured:
                seen = photo(rng, round(wide), round(high * 0.5))
                picture.paste(seen.convert("L").convert("RGB") if toss(rng, 0.4) else seen, (round(left), round(top)))
                top, rest = top + high * 0.53, high * 0.22
            paragraph(rng, on, (left, top, wide, rest), h * 0.014, grey)
        y += high + h * 0.03


def envelope(rng: np.random.Generator, width: int, height: int, paper: Colour, *, window: bool) -> Image.Image:
    """An addressed envelope: a window or a handwritten address, sender, stamp, sorting bars."""
    picture = Image.new("RGB", (width, height), paper)
    on = ImageDraw.Draw(picture)
    ink = (50, 52, 64)
    box = (width * 0.42, height * 0.44, width * 0.34, height * 0.3)
    if window:
        left, top, wide, high = box
        on.rounded_rectangle([left, top, left + wide, top + high], radius=height * 0.04, fill=(221, 224, 226), outline=(190, 193, 196))
    paragraph(rng, on, (box[0] + width * 0.03, box[1] + height * 0.06, box[2] * 0.7, box[3] * 0.8), height * 0.05, ink)
    paragraph(rng, on, (width * 0.04, height * 0.07, width * 0.18, height * 0.16), height * 0.034, ink)
    stamp = front(rng, round(width * 0.1), round(height * 0.25))
    picture.paste(stamp, (round(width * 0.86), round(height * 0.07)))
    for k in range(3):
        on.arc([width * (0.68 + 0.02 * k), height * 0.06, width * (0.86 + 0.02 * k), height * 0.34], 300, 60, fill=(90, 92, 104), width=2)
    return _picture(np.asarray(picture, float) + _fibres(rng, (height, width), 1.8, 1, 1))


def bag(rng: np.random.Generator, width: int, height: int, paper: Colour) -> Image.Image:
    """A bakery bag: an emblem and a name in one ink."""
    picture = Image.new("RGB", (width, height), paper)
    on = ImageDraw.Draw(picture)
    ink = pick(rng, ((84, 52, 34), (44, 78, 62), (140, 44, 36)))
    pick(rng, EMBLEMS)(on, width / 2, height * 0.38, width * 0.2, ink, paper)
    wordmark(on, pick(rng, NAMES), (width / 2, height * 0.6), (width * 0.6, height * 0.09), ink, 700)
    return _picture(np.asarray(picture, float) + _fibres(rng, (height, width), 2.5, 1, 6))


def show_tear(rng: np.random.Generator, picture: Image.Image, torn: TornSheet, fibre: Colour, width_px: float, *, flutes: bool) -> Image.Image:
    """Paint what a tear lays bare along the torn edges of a printed sheet: a ragged rim of fibre, over flutes in corrugated board."""
    pixels = np.asarray(picture.convert("RGB"), float)
    h, w = pixels.shape[:2]
    rows, columns = np.arange(h)[:, None], np.arange(w)[None]
    kept = np.ones((h, w), bool)
    for which, edge in enumerate((torn.left, torn.right, torn.bottom, torn.top)):
        if not torn.torn[which]:
            continue
        steps = h if which < 2 else w
        at = np.interp(np.linspace(0, 1, steps), np.linspace(0, 1, len(edge)), edge)
        if which == 0:
            kept &= columns >= (at[::-1] * w)[:, None]
        elif which == 1:
            kept &= columns <= (at[::-1] * w)[:, None]
        elif which == 2:
            kept &= rows <= ((1 - at) * h)[None]
        else:
            kept &= rows >= ((1 - at) * h)[None]
    if kept.all():
        return picture
    wander = gaussian_filter(rng.normal(size=(h, w)), width_px * 1.6)
    fine = gaussian_filter(rng.normal(size=(h, w)), 1.2)
    reach = width_px * (1 + 0.55 * wander / wander.std() + 0.25 * fine / fine.std())
    bare = np.clip((reach - distance_transform_edt(kept)) / 1.5 + 0.5, 0, 1)[..., None]
    under = np.array(fibre, float) + _fibres(rng, (h, w), 7, 2.5, 1.2)
    if flutes:
        under = under * (0.86 + 0.14 * np.sin(columns * math.tau / (w / 42)))[..., None]
        lip = np.clip(1 - np.abs(reach - distance_transform_edt(kept)) / 2.5, 0, 1)[..., None]
        pixels = pixels * (1 - 0.22 * lip)
    return _picture(pixels * (1 - bare) + under * bare)
