"""Bottles and jars: glass, PET, and the opaque ones that shampoo and detergent come in."""

import math

import bpy
import numpy as np
from scipy.interpolate import LinearNDInterpolator

from device.common.arrays import Float64Array
from training.render.appearance.artwork import front, wrapround
from training.render.appearance.materials import BRASS, Colour, Grain, Reflection, clear_plastic, glass, metal, surface
from training.render.appearance.meshes import Outline, add_surface, band, outline, rounded, thick, turned
from training.render.catalogue import RenderedItem, kind
from training.render.laying import lay, on_its_side, spun, turn
from training.render.random_choice import pick, toss

GREEN, BROWN, FLINT = (0.40, 0.66, 0.30), (0.80, 0.44, 0.14), (0.965, 0.985, 0.975)

BEER: Outline = (
    (0, 0.05), (0.2, 0.03), (0.27, 0), (0.3, 0.04), (0.305, 0.1), (0.305, 1.25), (0.28, 1.45), (0.19, 1.7), (0.145, 1.85),
    (0.135, 2.15), (0.135, 2.2), (0.155, 2.21), (0.155, 2.27), (0.13, 2.3),
)  # fmt: skip
STUBBY: Outline = (
    (0, 0.05), (0.2, 0.03), (0.29, 0), (0.33, 0.04), (0.335, 0.1), (0.335, 0.95), (0.29, 1.15), (0.17, 1.35), (0.14, 1.5),
    (0.14, 1.7), (0.16, 1.72), (0.16, 1.78), (0.13, 1.8),
)  # fmt: skip
WINE: Outline = (
    (0, 0.14), (0.22, 0.05), (0.33, 0), (0.36, 0.04), (0.37, 0.1), (0.37, 1.75), (0.34, 1.92), (0.2, 2.1), (0.15, 2.25),
    (0.14, 2.75), (0.155, 2.76), (0.155, 2.84), (0.14, 2.9),
)  # fmt: skip


@kind("glass", "bottle", share=3)
def bottle(rng: np.random.Generator) -> RenderedItem:
    """A beer bottle, long or stubby, mostly with its paper label."""
    shape, low, high = pick(rng, ((BEER, 0.35, 1.1), (STUBBY, 0.25, 0.8)))
    return _glass_bottle(rng, shape, pick(rng, (FLINT, BROWN, GREEN, BROWN, GREEN)), low, high, 0.7)


@kind("glass", "wine-bottle", share=2)
def wine_bottle(rng: np.random.Generator) -> RenderedItem:
    """A wine bottle: a punt, high shoulders, often soaked off its label."""
    return _glass_bottle(rng, WINE, pick(rng, (GREEN, GREEN, FLINT)), 0.45, 1.4, 0.6)


def _glass_bottle(
    rng: np.random.Generator, shape: Outline, tint: tuple[float, float, float], low: float, high: float, labelled: float
) -> RenderedItem:
    profile = rounded(shape, 170, 1.6)
    parts = [add_surface(turned(thick(profile, 0.05), 96), [glass(rng, tint)], closed=True)]
    if toss(rng, labelled):
        around = rng.uniform(0.35, 0.7)
        art = front(rng, 700, round(700 * (high - low) / (2 * 0.33 * math.pi * around)))
        parts.append(
            add_surface(
                band(profile, low, high, around=around), [surface(rng, reflection=Reflection(roughness=0.5), picture=art, back=(206, 204, 198))]
            )
        )
    return lay(parts, on_its_side(rng, (0.6, 2.5)), see_through=True)


@kind("glass", "jar", share=3)
def jar(rng: np.random.Generator) -> RenderedItem:
    """A preserving jar, rinsed or nearly; some keep their label, some their lid."""
    r, tall = rng.uniform(0.33, 0.45), rng.uniform(0.9, 1.35)
    screw = ((0.82, 0.9), (0.82, 0.93), (0.86, 0.94), (0.86, 0.96), (0.82, 0.97), (0.82, 0.99), (0.8, 1.0))
    thread = [(r * out, tall * up) for out, up in screw]
    profile = rounded([(0, 0.06), (r * 0.6, 0.03), (r * 0.85, 0), (r, 0.07), (r, tall * 0.78), (r * 0.96, tall * 0.84), *thread], 190, 1.5)
    parts = [add_surface(turned(thick(profile, 0.05), 96), [glass(rng, FLINT)], closed=True)]
    if toss(rng, 0.5):
        around = rng.uniform(0.4, 0.8)
        art = front(rng, 760, round(760 * tall * 0.5 / (2 * r * math.pi * around)))
        parts.append(
            add_surface(
                band(profile, tall * 0.2, tall * 0.7, around=around),
                [surface(rng, reflection=Reflection(roughness=0.5), picture=art, back=(206, 204, 198))],
            )
        )
    if toss(rng, 0.4):
        edge = r * 0.9
        lid = outline([(0, tall + 0.025), (edge * 0.8, tall + 0.025), (edge - 0.02, tall + 0.03), (edge, tall + 0.01), (edge, tall * 0.915)], 60)
        paint = pick(rng, (None, (150, 26, 28), (238, 236, 230), (34, 84, 58)))
        skin = metal(rng, BRASS) if paint is None else surface(rng, paint, reflection=Reflection(roughness=0.3, metallic=0.2, coat=0.4))
        parts.append(add_surface(turned(lid, 90), [skin], closed=True))
    if toss(rng, 0.4):
        return lay(parts, spun(rng), see_through=True)
    return lay(parts, on_its_side(rng), see_through=True)


@kind("glass", "tumbler")
def tumbler(rng: np.random.Generator) -> RenderedItem:
    """A drinking glass with a heavy bottom."""
    tall, foot, mouth = rng.uniform(0.8, 1.2), rng.uniform(0.27, 0.33), rng.uniform(0.34, 0.4)
    shell = [(0, 0.02), (foot - 0.03, 0), (foot, 0.03), (mouth, tall - 0.01), (mouth - 0.012, tall), (mouth - 0.03, tall - 0.01)]
    profile = rounded([*shell, (foot - 0.03, 0.17), (foot - 0.09, 0.14), (0, 0.14)], 220, 1.2)
    wall = turned(profile, 120)
    flutes = pick(rng, (0, 12, 20))
    angle = np.linspace(0, math.tau, 120, endpoint=False)
    outer = (np.arange(len(profile)) < len(profile) * 0.52)[:, None]
    low = np.clip((tall * 0.6 - wall[..., 2]) / 0.1, 0, 1)
    wall[..., :2] *= (1 - 0.035 * outer * low * np.abs(np.sin(angle * flutes / 2)))[..., None]
    part = add_surface(wall, [glass(rng, FLINT)], closed=True)
    if toss(rng, 0.4):
        return lay([part], spun(rng), see_through=True)
    return lay([part], on_its_side(rng, taper=math.atan((mouth - foot) / tall)), see_through=True)


@kind("plastic", "pet-bottle", share=4)
def pet_bottle(rng: np.random.Generator) -> RenderedItem:
    """A water or soda bottle: whole, squeezed, or wrung."""
    tall, r = pick(rng, ((2.1, 0.32), (2.3, 0.33), (2.6, 0.42)))
    shoulder = [(r, tall * 0.66), (r * 0.95, tall * 0.72), (r * 0.6, tall * 0.86), (r * 0.42, tall * 0.92), (r * 0.4, tall * 0.94)]
    neck = [(r * 0.5, tall * 0.945), (r * 0.5, tall * 0.95), (r * 0.39, tall * 0.955), (r * 0.39, tall)]
    profile = rounded([(0, 0.12), (r * 0.35, 0.07), (r * 0.62, 0), (r * 0.85, 0.02), (r, 0.14), *shoulder, *neck], 260, 1.5)
    height = profile[:, 1]
    low, high = tall * 0.36, tall * 0.58
    body = np.clip((height - 0.16) / 0.05, 0, 1) * np.clip((tall * 0.66 - height) / 0.05, 0, 1)
    plain = 1 - np.clip((height - low + 0.03) / 0.03, 0, 1) * np.clip((high + 0.03 - height) / 0.03, 0, 1)
    profile[:, 0] *= 1 + body * plain * 0.03 * np.sin(height * math.tau / rng.uniform(0.12, 0.17))
    shell = turned(profile, 110)
    out, angle = np.hypot(shell[..., 0], shell[..., 1]) / r, np.arctan2(shell[..., 1], shell[..., 0])
    petals = 0.05 * (np.cos(5 * angle) * 0.5 + 0.5) * np.clip(3 * out, 0, 1) * np.clip(1.4 - out, 0, 1)
    shell[..., 2] += np.clip((0.3 - shell[..., 2]) / 0.3, 0, 1) * petals
    sleeve = band(profile, low, high, gap=0.006)

    squeezed = pick(rng, (None, (rng.uniform(0.1, 0.3), 0.05), (rng.uniform(0.3, 0.55), 0.09)))
    if squeezed is not None:
        squeeze = _Squeeze(rng, tall, *squeezed)
        shell, sleeve = squeeze(shell), squeeze(sleeve)
    tint = pick(rng, ((0.955, 0.968, 0.975), (0.955, 0.968, 0.975), (0.80, 0.91, 0.97), (0.60, 0.87, 0.64)))
    parts = [add_surface(shell, [clear_plastic(rng, tint, roughness=rng.uniform(0.04, 0.09), haze=0.07, gloss=1.25)], closed=True)]
    if toss(rng, 0.8):
        art = wrapround(rng, 1000, round(1000 * (high - low) / (math.tau * r)))
        parts.append(
            add_surface(sleeve, [surface(rng, reflection=Reflection(roughness=0.32), picture=art, back=(190, 192, 196), grain=Grain(0.05, 5))])
        )
    if toss(rng, 0.85):
        parts.append(_screw_cap(rng, r * 0.46, tall * 0.955, tall + 0.02))
    return lay(parts, on_its_side(rng), see_through=True)


class _Squeeze:
    """A hand's squeeze of a soft bottle, the same for the bottle and for the label on it."""

    def __init__(self, rng: np.random.Generator, tall: float, flat: float, wrung: float) -> None:
        self.tall, self.flat, self.wrung = tall, flat, wrung
        far = [(-9, -9), (9, -9), (-9, 9), (9, 9)]
        where = [np.r_[rng.uniform(-1, 1, (90, 2)) * (1.5, tall), far] for _ in range(2)]
        self.creases = [LinearNDInterpolator(points, np.r_[rng.normal(size=90), 0, 0, 0, 0]) for points in where]

    def __call__(self, points: Float64Array) -> Float64Array:
        x, y, z = np.moveaxis(points, -1, 0)
        soft = np.clip(np.minimum(z / 0.35, (self.tall * 0.8 - z) / 0.4), 0, 1)
        x, y = x * (1 - soft * self.flat), y * (1 + soft * self.flat * 0.5)
        x, y = (
            x + self.wrung * soft * self.creases[0](2 * y + 0.5 * x, z),
            y + self.wrung * soft * self.creases[1](2 * x + 0.3 * y, z),
        )
        return np.stack([x, y, z], axis=-1)


def _screw_cap(rng: np.random.Generator, r: float, low: float, high: float) -> bpy.types.Object:
    angle = np.linspace(0, math.tau, 160, endpoint=False)
    knurl = 1 + 0.02 * np.sign(np.sin(angle * 40))
    rows = [
        np.stack([radius * ridge * np.cos(angle), radius * ridge * np.sin(angle), np.full(160, height)], axis=-1)
        for radius, height, ridge in ((0.01, high, 1), (r * 0.9, high, 1), (r, high - 0.02, knurl), (r, low, knurl), (r * 0.9, low, 1))
    ]
    colour = pick(rng, ((24, 74, 168), (236, 236, 236), (186, 32, 38), (22, 116, 64), (240, 150, 40)))
    return add_surface(np.stack(rows), [surface(rng, colour, reflection=Reflection(roughness=0.38))], closed=True, smooth=False)


@kind("plastic", "care-bottle", share=2)
def care_bottle(rng: np.random.Generator) -> RenderedItem:
    """A flat, opaque bottle for shampoo or washing-up liquid, on its back."""
    tall, r, depth = rng.uniform(1.6, 2.2), rng.uniform(0.36, 0.46), rng.uniform(0.48, 0.7)
    waist = rng.uniform(0.85, 1.02)
    profile = rounded(
        [
            (0, 0.03),
            (r * 0.8, 0),
            (r * 0.97, 0.05),
            (r, 0.15),
            (r * waist, tall * 0.5),
            (r * 0.95, tall * 0.7),
            (r * 0.6, tall * 0.82),
            (r * 0.3, tall * 0.85),
            (r * 0.3, tall * 0.87),
        ],
        150,
        3,
    )
    bodies: tuple[Colour, ...] = ((238, 238, 236), (34, 110, 184), (234, 190, 50), (200, 66, 112), (64, 150, 94), (224, 98, 38))
    colour = pick(rng, bodies)
    parts = [
        add_surface(
            turned(profile, 110, depth),
            [surface(rng, colour, reflection=Reflection(roughness=rng.uniform(0.25, 0.4), coat=0.2, subsurface=0.1))],
            closed=True,
        )
    ]
    cap = rounded([(0, tall * 1.02), (r * 0.3, tall * 1.02), (r * 0.36, tall), (r * 0.38, tall * 0.86), (r * 0.36, tall * 0.855)], 60, 1.5)
    cap_colour = pick(rng, ((240, 240, 238), colour, (44, 44, 50)))
    parts.append(add_surface(turned(cap, 80, max(depth, 0.8)), [surface(rng, cap_colour, reflection=Reflection(roughness=0.32))], closed=True))
    around, low, high = 0.3, tall * 0.15, tall * 0.62
    art = front(rng, 620, round(620 * (high - low) / (r * 1.5)))
    parts.append(add_surface(_broadside(profile, low, high, around, depth), [surface(rng, reflection=Reflection(roughness=0.4), picture=art)]))
    return lay(parts, spun(rng) @ turn("X", -math.pi / 2) @ turn("Z", rng.uniform(-0.1, 0.1)))


def _broadside(profile: Float64Array, low: float, high: float, around: float, depth: float) -> Float64Array:
    """A label on the broad side (-y) of an oval bottle."""
    height = np.linspace(low, high, 28)
    order = np.argsort(profile[:, 1])
    radius = np.interp(height, profile[order, 1], profile[order, 0])[:, None] + 0.006
    angle = np.linspace(-math.pi * around, math.pi * around, 80) - math.pi / 2
    return np.stack([radius * np.cos(angle), radius * np.sin(angle) * depth, np.repeat(height[:, None], 80, axis=1)], axis=-1)
