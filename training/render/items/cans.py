"""Tinned things: drinks cans, food tins, jar lids, crown caps."""

import math

import numpy as np

from device.common.arrays import Float64Array
from training.render.appearance.artwork import wrapround
from training.render.appearance.creases import Layers, crumpled, dented
from training.render.appearance.materials import ALUMINIUM, BRASS, TINPLATE, Grain, Reflection, metal, surface
from training.render.appearance.meshes import Cells, Shell, add_surface, height_uv, outline, turned
from training.render.catalogue import RenderedItem, kind
from training.render.laying import lay, on_its_side, shift, spun, turn
from training.render.random_choice import pick, toss


@kind("metal", "drinks-can", share=4)
def drinks_can(rng: np.random.Generator) -> RenderedItem:
    """An opened can: whole, dented, stamped down, or flattened on its side."""
    tall, r = pick(rng, ((1.22, 0.33), (1.22, 0.33), (1.55, 0.33), (1.35, 0.265)))
    foot = [(0, 0.10), (0.17, 0.06), (r - 0.095, 0), (r - 0.075, 0), (r * 0.93, 0.06), (r, 0.12)]
    neck = [(r, tall - 0.13), (r - 0.01, tall - 0.11), (r - 0.055, tall - 0.03), (r - 0.05, tall - 0.005), (r - 0.065, tall)]
    lid = [(r - 0.075, tall - 0.04), (r - 0.09, tall - 0.045), (r - 0.12, tall - 0.035), (0, tall - 0.035)]
    profile = outline([*foot, *neck, *lid], 150)
    can = turned(profile, 110)
    uv = height_uv(can, 0.1, tall - 0.11)
    height = (profile[:-1, 1] + profile[1:, 1]) / 2
    printed = (height > 0.09) & (height < tall - 0.1) & (profile[:-1, 0] > r - 0.02)

    fate = pick(rng, ("whole", "dented", "dented", "stamped", "flattened"))
    if fate == "dented":
        can = dented(rng, can, 9, 0.09, 0.08, tall - 0.1)
    elif fate == "stamped":
        can = _stamped(rng, can, tall)
    elif fate == "flattened":
        can = _flattened(rng, can, tall)

    bare = metal(rng, roughness=0.22, grain=Grain(0.05, 50))
    art = surface(
        rng,
        reflection=Reflection(roughness=0.24, metallic=0.75, coat=0.35, smears=0.06),
        picture=wrapround(rng, 1000, round(1000 * tall / (math.tau * r))),
    )
    parts = [add_surface(can, [bare, art], cells=Cells(uv=uv, material=np.repeat(printed[:, None], 110, axis=1).astype(int)), closed=True)]
    if fate in ("whole", "dented"):
        top = tall - 0.033
        angle = np.linspace(0, math.tau, 40, endpoint=False)
        rims = [np.stack([0.085 * k * np.cos(angle), 0.105 * k * np.sin(angle) + 0.12, np.full(40, top + 0.004)], axis=-1) for k in (1, 0.01)]
        parts.append(add_surface(np.stack(rims), [surface(rng, (16, 15, 15), reflection=Reflection(roughness=0.6))], closed=True))
        parts += [
            add_surface(_ring(*size), [bare], closed=True)
            for size in ((0.075, 0.1, -0.06, top + 0.03, 0.025, 0.012), (0.02, 0.02, 0.02, top + 0.03, 0.03, 0.014))
        ]
    if fate == "stamped" or toss(rng, 0.2):
        return lay(parts, turn("X", rng.uniform(-0.05, 0.05)) @ spun(rng))
    roll = (-0.2, 0.2) if fate == "flattened" else (-3.14, 3.14)
    return lay(parts, on_its_side(rng, roll))


def _ring(rx: float, ry: float, y: float, z: float, width: float, thickness: float) -> Float64Array:
    """A flattened ring about the z axis: the two loops of a tab."""
    angle = np.linspace(0, math.tau, 40, endpoint=False)
    section = np.r_[np.linspace(0, math.tau, 12, endpoint=False), 0]
    return np.stack(
        [
            np.stack(
                [
                    (rx + width * np.cos(a)) * np.cos(angle),
                    (ry + width * np.cos(a)) * np.sin(angle) + y,
                    np.full(40, z + thickness * np.sin(a)),
                ],
                axis=-1,
            )
            for a in section
        ]
    )


def _stamped(rng: np.random.Generator, can: Float64Array, tall: float) -> Float64Array:
    """Trodden down from above: the wall buckles in rings, the top slides aside."""
    x, y, z = np.moveaxis(can, -1, 0)
    kept, phase = rng.uniform(0.38, 0.6), rng.uniform(0, 6)
    up, angle = z / tall, np.arctan2(y, x)
    free = np.clip(np.minimum(up, 1 - up) * 6, 0, 1)
    rings = 0.13 * np.sin(up * rng.uniform(14, 20) + 0.8 * np.sin(2 * angle + phase) + phase)
    wide = 1 + free * (rings + 0.08 * np.sin(3 * angle + 9 * up))
    aside = rng.uniform(-0.2, 0.2, 2)
    low = np.stack([x * wide + aside[0] * up * free, y * wide + aside[1] * up * free, z * kept + 0.04 * np.sin(angle + phase) * up], axis=-1)
    return dented(rng, low, 14, 0.05, 0.03, tall * kept - 0.05)


def _flattened(rng: np.random.Generator, can: Float64Array, tall: float) -> Float64Array:
    """Squeezed from both sides: flat and wide in the middle, the stiff ends less so."""
    x, y, z = np.moveaxis(can, -1, 0)
    up = np.clip(z / tall, 0, 1)
    squeeze = np.sin(np.pi * up) ** 0.5 * rng.uniform(0.5, 0.72)
    free = np.clip(np.minimum(up, 1 - up) * 8, 0, 1)
    buckles = crumpled(rng, x * 3, z * 3, 14, 0.035, Layers(count=2)) * free
    return np.stack([x * (1 + 0.35 * squeeze), y * (1 - squeeze) + 0.06 * np.sin(up * 7 + rng.uniform(0, 6)) + buckles, z], axis=-1)


@kind("metal", "food-tin", share=2)
def food_tin(rng: np.random.Generator) -> RenderedItem:
    """An opened tin with its lid hanging on; bare and ribbed, or with its paper label."""
    tall, r = pick(rng, ((1.1, 0.37), (1.15, 0.42), (0.6, 0.43)))
    shell = outline(
        [
            (0, 0.03),
            (r - 0.06, 0.03),
            (r - 0.05, 0),
            (r, 0.01),
            (r, 0.05),
            (r - 0.012, 0.07),
            (r - 0.012, tall - 0.06),
            (r, tall - 0.04),
            (r, tall),
            (r - 0.02, tall),
            (r - 0.025, tall - 0.05),
        ],
        190,
    )
    inside = outline([(r - 0.028, tall - 0.05), (r - 0.03, 0.06), (0, 0.06)], 90)
    for profile in (shell, inside):
        ribbed = (profile[:, 1] > tall * 0.26) & (profile[:, 1] < tall * 0.76) & (profile[:, 0] > r - 0.04)
        profile[:, 0] += ribbed * 0.008 * np.sin(profile[:, 1] * math.tau / 0.06)
    profile = np.r_[shell, inside]
    tin = turned(profile, 110)
    uv = height_uv(tin, 0.07, tall - 0.06)
    height = (profile[:-1, 1] + profile[1:, 1]) / 2
    outside = (np.arange(len(profile) - 1) < len(shell) - 1) & (height > 0.08) & (height < tall - 0.07) & (profile[:-1, 0] > r - 0.03)
    if toss(rng, 0.4):
        tin = dented(rng, tin, 6, 0.07, 0.05, tall - 0.05)
    bare = metal(rng, pick(rng, (TINPLATE, ALUMINIUM)), roughness=0.24, grain=Grain(0.05, 25))
    materials, cover = [bare], None
    if toss(rng, 0.6):
        label = wrapround(rng, 1000, round(1000 * tall / (math.tau * r)))
        materials.append(surface(rng, reflection=Reflection(roughness=0.5), picture=label, grain=Grain(0.03, 20)))
        cover = np.repeat(outside[:, None], 110, axis=1).astype(int)
    parts = [add_surface(tin, materials, cells=Cells(uv=uv, material=cover), closed=True)]

    beads = outline(
        [
            (0, 0),
            (r * 0.3, 0),
            (r * 0.33, 0.012),
            (r * 0.4, 0),
            (r * 0.6, 0),
            (r * 0.64, 0.014),
            (r * 0.72, 0),
            (r * 0.86, 0),
            (r * 0.9, 0.02),
            (r * 0.91, 0),
        ],
        50,
    )
    lid = add_surface(turned(beads, 80), [bare], closed=True, shell=Shell(thickness=0.008))
    lid.matrix_world = shift(0, r * 0.93, tall) @ turn("X", -rng.uniform(0.9, 1.9)) @ shift(0, -r * 0.9, 0)
    parts.append(lid)
    if toss(rng, 0.45):
        return lay(parts, spun(rng))
    return lay(parts, on_its_side(rng, (-1.2, 1.2)))


@kind("metal", "jar-lid")
def jar_lid(rng: np.random.Generator) -> RenderedItem:
    """A screw lid, either way up."""
    r, h = rng.uniform(0.3, 0.42), 0.14
    over = [
        (0, h - 0.02),
        (r * 0.3, h - 0.018),
        (r * 0.7, h - 0.018),
        (r * 0.75, h),
        (r - 0.03, h),
        (r, h - 0.03),
        (r, 0.02),
        (r + 0.012, 0),
    ]
    under = [(r - 0.02, 0), (r - 0.02, h - 0.05), (r - 0.09, h - 0.05), (r - 0.1, h - 0.035), (0, h - 0.035)]
    profile = outline([*over, *under], 160)
    colour, lacquered = pick(rng, ((BRASS, False), (TINPLATE, False), ((150, 26, 28), True), ((36, 92, 60), True), ((236, 234, 228), True)))
    outer = surface(rng, colour, reflection=Reflection(roughness=0.22, metallic=0.2 if lacquered else 1.0, coat=0.4, smears=0.05))
    inner = metal(rng, pick(rng, (BRASS, TINPLATE)), roughness=0.25)
    inside = np.arange(len(profile) - 1) > len(profile) * 0.62
    part = add_surface(turned(profile, 120), [outer, inner], closed=True, cells=Cells(material=np.repeat(inside[:, None], 120, axis=1).astype(int)))
    return lay([part], turn("X", pick(rng, (0.0, math.pi)) + rng.uniform(-0.06, 0.06)) @ turn("Y", rng.uniform(-0.05, 0.05)) @ spun(rng))


@kind("metal", "crown-cap")
def crown_cap(rng: np.random.Generator) -> RenderedItem:
    """A crown cap, levered off: its skirt of 21 teeth, a crease across."""
    r, h = 0.145, 0.062
    profile = outline([(0, h), (r * 0.7, h - 0.002), (r * 0.86, h - 0.012), (r * 0.95, h - 0.035), (r * 1.1, 0)], 60)
    cap = turned(profile, 168)
    angle = np.linspace(0, math.tau, 168, endpoint=False)
    skirt = np.clip((profile[:, 0] / r - 0.8) / 0.3, 0, 1)[:, None]
    cap[..., :2] *= (1 + 0.035 * skirt * np.cos(21 * angle))[..., None]
    cap[..., 2] += 0.03 * (cap[..., 0] / r) ** 2 * rng.uniform(0.1, 1.0)
    paint = surface(
        rng,
        pick(rng, ((176, 30, 38), (30, 70, 132), (206, 168, 70), (34, 100, 62), (232, 230, 224))),
        reflection=Reflection(roughness=0.25, metallic=0.35, coat=0.4),
        back=TINPLATE,
    )
    return lay([add_surface(cap, [paint], closed=True, shell=Shell(thickness=0.004))], turn("X", pick(rng, (0.0, 0.0, math.pi))) @ spun(rng))
