"""Cups, pots and tubs: drinking cups, deli tubs, yoghurt pots, and the coated noodle cup that belongs nowhere."""

import math
from collections.abc import Sequence

import bpy
import numpy as np

from device.common.arrays import Float64Array
from training.render.appearance.artwork import wrapround
from training.render.appearance.creases import Layers, bent, crumpled, dented
from training.render.appearance.materials import Grain, Reflection, clear_plastic, surface
from training.render.appearance.meshes import Cells, Shell, add_surface, height_uv, outline, turned
from training.render.catalogue import RenderedItem, kind
from training.render.laying import lay, on_its_side, shift, spun, turn
from training.render.random_choice import pick, toss


@kind("plastic", "drinking-cup", share=2)
def drinking_cup(rng: np.random.Generator) -> RenderedItem:
    """A party cup, clear, white or coloured, upright, upside down or on its side."""
    tall, foot, mouth = rng.uniform(0.85, 1.25), rng.uniform(0.25, 0.32), rng.uniform(0.38, 0.46)
    wall = [(foot + 0.01, 0.03), (foot + (mouth - foot) * 0.3, tall * 0.3), (mouth - 0.02, tall - 0.03)]
    profile = outline(
        [(0, 0.03), (foot - 0.03, 0.03), (foot, 0), *wall, (mouth + 0.02, tall - 0.02), (mouth + 0.025, tall), (mouth - 0.01, tall)], 170
    )
    ribbed = (profile[:, 1] > tall * 0.15) & (profile[:, 1] < tall * 0.6)
    profile[:, 0] += 0.006 * ribbed * np.sin(profile[:, 1] * math.tau / 0.07)
    cup = turned(profile, 110)
    if toss(rng, 0.4):
        cup = dented(rng, cup, 6, 0.08, 0.05, tall + 0.2)
    colour = pick(rng, (None, None, (192, 30, 36), (236, 236, 233), (40, 96, 170)))
    if colour is None:
        skin = clear_plastic(rng, haze=rng.uniform(0.08, 0.2), gloss=1.6, ripple=Grain(0.05, 6, detail=2))
        part = add_surface(cup, [skin], closed=True)
    else:
        part = add_surface(
            cup,
            [surface(rng, colour, reflection=Reflection(roughness=0.32, subsurface=0.1), back=(236, 236, 233))],
            closed=True,
            shell=Shell(thickness=0.01),
        )
    if toss(rng, 0.35):
        return lay([part], turn("X", pick(rng, (0.0, math.pi))) @ spun(rng), see_through=colour is None)
    return lay([part], on_its_side(rng, taper=math.atan((mouth - foot) / tall)), see_through=colour is None)


@kind("plastic", "deli-tub", share=2)
def deli_tub(rng: np.random.Generator) -> RenderedItem:
    """A fluted round tub for salads, clear or milky."""
    r, tall = rng.uniform(0.5, 0.62), rng.uniform(0.35, 0.6)
    base = [(0, 0.05), (r * 0.3, 0.05), (r * 0.33, 0.03), (r * 0.7, 0.03), (r * 0.75, 0), (r * 0.82, 0.03)]
    profile = outline([*base, (r * 0.97, tall - 0.05), (r * 1.04, tall - 0.04), (r * 1.05, tall), (r, tall)], 150)
    tub = turned(profile, 150)
    angle = np.arctan2(tub[..., 1], tub[..., 0])
    wall = np.clip(tub[..., 2] / tall, 0, 1) * np.clip((tall - tub[..., 2]) / 0.1, 0, 1)
    tub[..., :2] *= (1 + 0.012 * np.sin(24 * angle) * wall)[..., None]
    skin = clear_plastic(rng, haze=pick(rng, (0.1, 0.2, 0.5)), roughness=0.08, gloss=1.7, ripple=Grain(0.1, 6, detail=2))
    return lay([add_surface(tub, [skin], closed=True)], turn("X", pick(rng, (0.0, 0.0, math.pi))) @ spun(rng), see_through=True)


@kind("plastic", "yoghurt-pot", share=2)
def yoghurt_pot(rng: np.random.Generator) -> RenderedItem:
    """A printed pot with a smear left in it."""
    tall, foot, mouth = rng.uniform(0.7, 1.0), rng.uniform(0.25, 0.3), rng.uniform(0.33, 0.4)
    outside = outline(
        [
            (0, 0.02),
            (foot - 0.02, 0),
            (foot, 0.03),
            (mouth - 0.02, tall - 0.05),
            (mouth + 0.03, tall - 0.02),
            (mouth + 0.03, tall),
            (mouth - 0.03, tall),
        ],
        130,
    )
    inside = outline([(mouth - 0.035, tall - 0.03), (foot - 0.01, 0.05), (0, 0.04)], 60)
    pot = turned(np.r_[outside, inside], 110)
    uv = height_uv(pot, 0.03, tall - 0.05)
    zones = np.r_[np.ones(len(outside) - 8), np.zeros(8), np.full(len(inside) - 1, 2)].astype(int)
    if toss(rng, 0.3):
        pot = dented(rng, pot, 5, 0.06, 0.05, tall - 0.1)
    white = surface(rng, (238, 237, 232), reflection=Reflection(roughness=0.35, subsurface=0.15))
    art = surface(
        rng, reflection=Reflection(roughness=0.32, coat=0.2), picture=wrapround(rng, 1000, round(1000 * tall / (math.tau * 0.5 * (foot + mouth))))
    )
    smeared = surface(
        rng, pick(rng, ((236, 226, 214), (238, 214, 216), (232, 224, 196))), reflection=Reflection(roughness=0.3, smears=0.15), grain=Grain(0.5, 6)
    )
    part = add_surface(pot, [white, art, smeared], cells=Cells(uv=uv, material=np.repeat(zones[:, None], 110, axis=1)), closed=True)
    if toss(rng, 0.4):
        return lay([part], spun(rng))
    return lay([part], on_its_side(rng, taper=math.atan((mouth - foot) / tall)))


def _dish(rings: Sequence[tuple[float, float]], half_long: float, half_wide: float, corner: float) -> Float64Array:
    """A rounded rectangle pressed into shape.

    rings: share of the half sides and height, from the middle out; corner: 1 for an ellipse, less for a squarer one.
    """
    angle = np.linspace(0, math.tau, 200, endpoint=False)
    across, along = (np.sign(c) * np.abs(c) ** corner for c in (np.cos(angle), np.sin(angle)))
    profile = outline(rings, 60)
    share, height = profile[:, :1], profile[:, 1:]
    return np.stack([half_long * share * across, half_wide * share * along, np.repeat(height, 200, axis=1)], axis=-1)


@kind("plastic", "clamshell", share=2)
def clamshell(rng: np.random.Generator) -> RenderedItem:
    """A hinged clear box for berries or a sandwich, ajar or wide open, often dented."""
    half_long, half_wide, tall = rng.uniform(0.6, 0.95), rng.uniform(0.45, 0.65), rng.uniform(0.25, 0.45)
    ribs = [(0.35, 0.02), (0.4, 0.0), (0.6, 0.0), (0.65, 0.02)]
    shell = _dish(
        [(0.01, 0.02), *ribs, (0.84, 0.0), (0.88, 0.03), (0.95, tall - 0.02), (0.96, tall), (1.05, tall), (1.06, tall - 0.02)],
        half_long,
        half_wide,
        0.35,
    )
    tint = pick(rng, ((0.96, 0.97, 0.975), (0.96, 0.97, 0.975), (0.9, 0.95, 0.97)))
    skin = clear_plastic(rng, tint, haze=rng.uniform(0.04, 0.12), roughness=rng.uniform(0.04, 0.09), gloss=1.5, ripple=Grain(0.12, 5, detail=2))
    parts: list[bpy.types.Object] = []
    for opened in (0.0, pick(rng, (rng.uniform(0.1, 0.5), rng.uniform(1.2, 2.4), math.pi))):
        points = shell.copy()
        if toss(rng, 0.5):
            points[..., 2] += (
                crumpled(rng, points[..., 0], points[..., 1], 5, 0.03, Layers(count=2)) * np.clip(points[..., 2:3], 0, tall)[..., 0] / tall
            )
        part = add_surface(points, [skin], closed=True)
        if parts:  # turned over on to the other half, then opened about its long side
            hinge = shift(0, 1.05 * half_wide, tall)
            part.matrix_world = hinge @ turn("X", -opened) @ shift(0, -1.05 * half_wide, tall) @ turn("X", math.pi)
        parts.append(part)
    return lay(parts, spun(rng), see_through=True)


@kind("trash", "foam-tray", share=1)
def foam_tray(rng: np.random.Generator) -> RenderedItem:
    """A foamed tray that meat or mushrooms came in, white, black or pale, sometimes broken through."""
    half_long, half_wide, tall = rng.uniform(0.8, 1.2), rng.uniform(0.6, 0.85), rng.uniform(0.15, 0.3)
    dish = _dish(
        [(0.01, 0.03), (0.7, 0.03), (0.78, 0.0), (0.82, 0.02), (0.95, tall - 0.02), (1.04, tall), (1.06, tall - 0.03)], half_long, half_wide, 0.3
    )
    if toss(rng, 0.4):
        dish = bent(dish, 0, rng.uniform(-0.5, 0.5) * half_long, rng.uniform(0.2, 1.2))
    dish[..., 2] += crumpled(rng, dish[..., 0], dish[..., 1], 8, 0.012, Layers(count=2))
    colour = pick(rng, ((238, 238, 234), (238, 238, 234), (30, 30, 32), (240, 226, 150), (206, 220, 232)))
    skin = surface(rng, colour, reflection=Reflection(roughness=0.6, specular=0.3, subsurface=0.05), grain=Grain(0.12, 40))
    way = turn("X", pick(rng, (0.0, 0.0, math.pi)))
    return lay([add_surface(dish, [skin], closed=True, shell=Shell(thickness=0.03))], spun(rng) @ way)


@kind("trash", "noodle-cup", share=1)
def noodle_cup(rng: np.random.Generator) -> RenderedItem:
    """A coated board or foam cup: printed outside, white and stained within."""
    tall, foot, mouth = rng.uniform(1.0, 1.2), 0.3, 0.45
    outside = outline(
        [
            (0, 0.04),
            (foot - 0.02, 0.04),
            (foot, 0),
            (mouth - 0.02, tall - 0.03),
            (mouth + 0.015, tall - 0.03),
            (mouth + 0.02, tall),
            (mouth - 0.02, tall),
        ],
        130,
    )
    inside = outline([(mouth - 0.04, tall - 0.04), (foot - 0.02, 0.1), (0, 0.1)], 60)
    cup = turned(np.r_[outside, inside], 110)
    uv = height_uv(cup, 0, tall - 0.03)
    zones = np.r_[np.ones(len(outside) - 8), np.zeros(8 + len(inside) - 1)].astype(int)
    if toss(rng, 0.4):
        cup = dented(rng, cup, 6, 0.06, 0.05, tall + 0.3)
    white = surface(rng, (232, 228, 216), reflection=Reflection(roughness=0.6, subsurface=0.1), grain=Grain(0.1, 30))
    art = surface(rng, reflection=Reflection(roughness=0.42), picture=wrapround(rng, 1000, round(1000 * tall / (math.tau * 0.38))))
    part = add_surface(cup, [white, art], cells=Cells(uv=uv, material=np.repeat(zones[:, None], 110, axis=1)), closed=True)
    if toss(rng, 0.3):
        return lay([part], spun(rng))
    return lay([part], on_its_side(rng, taper=math.atan((mouth - foot) / tall)))
