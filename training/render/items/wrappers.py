"""Wrappings. What is left for the last bin: crisp bags, bar wrappers, sachets, film, used tissues. And plastic bags."""

import math
from dataclasses import dataclass

import bpy
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from training.render.appearance.artwork import PALETTES, front
from training.render.appearance.creases import Layers, balled, crumpled, curled
from training.render.appearance.materials import Grain, Reflection, clear_plastic, surface
from training.render.appearance.meshes import Shell, add_surface, sheet
from training.render.catalogue import RenderedItem, kind
from training.render.laying import lay, spun
from training.render.random_choice import pick, toss


@dataclass(frozen=True, slots=True)
class PouchShape:
    """Size and deformation of a pouch, in dm. belly: how far it bulges; creased: depth of creases; crimp: width of the seams."""

    wide: float
    high: float
    belly: float
    creased: float
    crimp: float


@dataclass(frozen=True, slots=True)
class PouchLook:
    """Print and reflection of a pouch's laminate."""

    face: Image.Image
    back: Image.Image
    metallic: float
    roughness: float


def _pouch(rng: np.random.Generator, shape: PouchShape, look: PouchLook) -> list[bpy.types.Object]:
    """Two sheets of laminate sealed at the ends: bulging, creased, with crimped and pinked seams."""
    wide, high, belly, creased, crimp = shape.wide, shape.high, shape.belly, shape.creased, shape.crimp
    flat = sheet(wide, high, 210)
    x, y = flat[..., 0], flat[..., 1]
    across, along = 2 * x / wide, 2 * y / high
    full = np.clip(1 - across**2, 0, 1) ** 0.6 * np.clip(1 - along**2, 0, 1) ** 0.7
    loose = crumpled(rng, x, y, 16, 0.5, Layers(count=2))
    creases = crumpled(rng, x, y, 16, creased, Layers(fainter=0.42))
    warp = crumpled(rng, x, y, 6, creased * 1.2, Layers(count=1)) + rng.uniform(-0.15, 0.15) * x * y
    pulled = 0.1 * np.clip(1 - np.abs(along), 0, 1)
    seam = np.clip((np.abs(y) - high / 2 + crimp) / 0.02, 0, 1)
    pinked = np.where(np.abs(along) > 0.985, np.sign(y) * 0.014 * np.abs((x * 18) % 2 - 1), 0)
    parts = []
    for side, print_ in ((1, look.face), (-1, look.back)):
        points = flat.copy()
        lively = (1.0 if side > 0 else 0.6) * np.clip(2 * full + 0.25, 0, 1)
        points[..., 2] = side * belly * full * (1 + 0.25 * loose) + creases * lively + warp
        points[..., 2] += seam * 0.01 * np.sin(y * math.tau / 0.035) + side * 0.002
        points[..., 0] = x * (1 - pulled)
        points[..., 1] += pinked
        laminate = surface(
            rng,
            reflection=Reflection(roughness=look.roughness, metallic=look.metallic, coat=0.5),
            picture=print_,
            back=(190, 190, 194),
            grain=Grain(0.1, 8),
        )
        parts.append(add_surface(points, [laminate]))
    return parts


def _plain(colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (32, 32), colour)


@kind("trash", "crisp-bag", share=3)
def crisp_bag(rng: np.random.Generator) -> RenderedItem:
    """An emptied crisp bag; sometimes its silver inside is out."""
    wide, high = rng.uniform(1.3, 1.7), rng.uniform(1.7, 2.2)
    palette = pick(rng, PALETTES)
    inside_out = toss(rng, 0.15)
    face = _plain((206, 206, 209)) if inside_out else front(rng, 760, round(760 * high / wide), palette)
    pouch = _pouch(
        rng,
        PouchShape(wide, high, belly=rng.uniform(0.08, 0.22), creased=rng.uniform(0.06, 0.12), crimp=0.11),
        PouchLook(face=face, back=_plain(palette[0]), metallic=1.0 if inside_out else 0.35, roughness=rng.uniform(0.2, 0.3)),
    )
    return lay(pouch, spun(rng))


@kind("trash", "bar-wrapper", share=2)
def bar_wrapper(rng: np.random.Generator) -> RenderedItem:
    """The wrapper of a chocolate bar, pulled open and let go."""
    wide, high = rng.uniform(0.5, 0.7), rng.uniform(1.4, 1.9)
    palette = pick(rng, PALETTES)
    face = front(rng, 1000, round(1000 * wide / high), palette).rotate(90, expand=True)
    pouch = _pouch(
        rng,
        PouchShape(wide, high, belly=rng.uniform(0.05, 0.12), creased=rng.uniform(0.04, 0.08), crimp=0.1),
        PouchLook(face=face, back=_plain(palette[0]), metallic=0.3, roughness=rng.uniform(0.2, 0.28)),
    )
    return lay(pouch, spun(rng))


@kind("trash", "sachet", share=2)
def sachet(rng: np.random.Generator) -> RenderedItem:
    """A sauce or coffee sachet, squeezed out."""
    wide, high = rng.uniform(0.6, 0.85), rng.uniform(0.85, 1.15)
    palette = pick(rng, PALETTES)
    foil = toss(rng, 0.2)
    face = _plain(pick(rng, ((206, 206, 209), (204, 178, 108)))) if foil else front(rng, 640, round(640 * high / wide), palette)
    pouch = _pouch(
        rng,
        PouchShape(wide, high, belly=rng.uniform(0.03, 0.08), creased=rng.uniform(0.02, 0.05), crimp=0.13),
        PouchLook(face=face, back=_plain(palette[0]), metallic=1.0 if foil else 0.2, roughness=rng.uniform(0.22, 0.32)),
    )
    return lay(pouch, spun(rng))


@kind("trash", "tissue", share=3)
def tissue(rng: np.random.Generator) -> RenderedItem:
    """A used tissue or paper napkin, scrunched."""
    wide, high = pick(rng, ((2.1, 2.1), (2.3, 1.5), (1.8, 2.4)))
    points = sheet(wide, high, 240)
    x, y = points[..., 0].copy(), points[..., 1].copy()
    lift = crumpled(rng, x, y, 10, 0.34, Layers(count=4, finer=2.4, fainter=0.55))
    points[..., 2] = gaussian_filter(lift, 0.9) * pick(rng, (0.55, 0.9))
    points[..., 0] = x * rng.uniform(0.55, 0.75) + gaussian_filter(crumpled(rng, x, y, 10, 0.13, Layers(fainter=0.5)), 0.9)
    points[..., 1] = y * rng.uniform(0.6, 0.85) + gaussian_filter(crumpled(rng, x, y, 10, 0.13, Layers(fainter=0.5)), 0.9)
    if toss(rng, 0.5):
        points = balled(rng, points, 0.7, 5, 1.1)
    colour = pick(rng, ((238, 238, 234), (238, 236, 230), (196, 160, 122), (228, 206, 120)))
    skin = surface(rng, colour, reflection=Reflection(roughness=0.95, specular=0.08, subsurface=0.08), grain=Grain(0.35, 30))
    return lay([add_surface(points, [skin], shell=Shell(thickness=0.008))], spun(rng))


@kind("trash", "film", share=1)
def film(rng: np.random.Generator) -> RenderedItem:
    """Clear film off a pack, crackled and half rolled up."""
    points = sheet(1.3, 2.0, 190)
    x, y = points[..., 0].copy(), points[..., 1].copy()
    points = curled(points, 0, rng.uniform(1.6, 3.0), rng.uniform(-0.3, 0.1))
    points[..., 2] += crumpled(rng, x, y, 24, 0.09)
    points[..., 0] += crumpled(rng, x, y, 14, 0.04, Layers(count=2))
    skin = clear_plastic(rng, haze=0.1, roughness=0.1, gloss=2.2, ripple=Grain(0.3, 8, detail=2))
    return lay([add_surface(points, [skin], smooth=False)], spun(rng), see_through=True)


@kind("trash", "mask", share=1)
def face_mask(rng: np.random.Generator) -> RenderedItem:
    """A pleated disposable mask with its ear loops."""
    wide, high = 1.75, 0.95
    points = sheet(wide, high, 200)
    x, y = points[..., 0].copy(), points[..., 1].copy()
    pleats = 0.02 * np.abs(((y / high * 3.2) % 1) - 0.5) * np.clip((wide / 2 - np.abs(x)) / 0.15, 0, 1)
    bow = 0.22 * (1 - (2 * x / wide) ** 2) * (1 - 0.6 * (2 * y / high) ** 2)
    points[..., 2] = 2 * pleats + bow + crumpled(rng, x, y, 9, 0.03)
    blue = pick(rng, ((150, 192, 214), (158, 200, 206), (226, 228, 230)))
    skin = surface(rng, blue, reflection=Reflection(roughness=0.9, specular=0.1), back=(236, 237, 238), grain=Grain(0.2, 60))
    parts = [add_surface(points, [skin], shell=Shell(thickness=0.012))]
    band = surface(rng, (238, 238, 238), reflection=Reflection(roughness=0.9))
    for side in (1, -1):
        t = np.linspace(0, math.pi, 60)
        reach = rng.uniform(0.45, 0.75)
        path = np.stack(
            [
                side * (wide / 2 - 0.03 + reach * np.sin(t)),
                0.42 * np.cos(t) + 0.06 * rng.normal() * np.sin(t),
                0.03 + 0.06 * np.sin(2 * t) ** 2,
            ],
            axis=-1,
        )
        ring = np.linspace(0, math.tau, 8, endpoint=False)
        tube = path[:, None] + 0.016 * np.stack([np.cos(ring) * side, 0 * ring, np.sin(ring)], axis=-1)[None]
        parts.append(add_surface(tube, [band], closed=True))
    return lay(parts, spun(rng))


@kind("plastic", "bag", share=2)
def plastic_bag(rng: np.random.Generator) -> RenderedItem:
    """A thin bag, clear, milky or coloured, let go or scrunched up."""
    wide, high = rng.uniform(2.0, 2.8), rng.uniform(2.2, 3.0)
    points = sheet(wide, high, 230)
    x, y = points[..., 0].copy(), points[..., 1].copy()
    points[..., 2] = crumpled(rng, x, y, 14, 0.3, Layers(count=4, finer=2.4, fainter=0.5))
    points[..., 0] = 0.7 * x + crumpled(rng, x, y, 12, 0.14, Layers(fainter=0.5))
    points[..., 1] = 0.7 * y + crumpled(rng, x, y, 12, 0.14, Layers(fainter=0.5))
    points = gaussian_filter(points, (0.8, 0.8, 0))
    if toss(rng, 0.7):
        points = balled(rng, points, rng.uniform(0.45, 0.75), int(rng.integers(6, 16)), 1.2, rng.uniform(0.5, 0.85))
    look = pick(rng, ("clear", "clear", "milky", "milky", "coloured"))
    if look == "coloured":
        colour = pick(rng, ((36, 96, 170), (30, 120, 70), (196, 40, 44), (28, 28, 30), (240, 190, 60)))
        skin = surface(rng, colour, reflection=Reflection(roughness=0.35, subsurface=0.1), grain=Grain(0.08, 20))
    else:
        haze = rng.uniform(0.08, 0.2) if look == "clear" else rng.uniform(0.4, 0.75)
        skin = clear_plastic(rng, (0.94, 0.95, 0.96), haze=haze, roughness=rng.uniform(0.08, 0.2), gloss=1.8, ripple=Grain(0.25, 9, detail=2))
    return lay([add_surface(points, [skin])], spun(rng), see_through=look != "coloured")
