"""Kitchen foil and trays. Foil that was used is creased all over, so it mirrors a blur, not the room."""

import math

import numpy as np

from training.render.appearance.creases import Layers, Tear, balled, crumpled, torn_sheet
from training.render.appearance.materials import ALUMINIUM, Grain, metal
from training.render.appearance.meshes import Shell, add_surface, sheet
from training.render.catalogue import RenderedItem, kind
from training.render.laying import anyhow, lay, spun
from training.render.random_choice import pick


@kind("metal", "foil-ball")
def foil_ball(rng: np.random.Generator) -> RenderedItem:
    """Foil crushed in a fist."""
    foil = sheet(2.6, 2.4, 260)
    foil[..., 2] += crumpled(rng, foil[..., 0], foil[..., 1], 70, 0.05)
    foil = balled(rng, foil, rng.uniform(0.26, 0.36), int(rng.integers(56, 76)), 1.3, rng.uniform(0.75, 0.95))
    skin = metal(rng, ALUMINIUM, roughness=0.3, grain=Grain(0.3, 16))
    return lay([add_surface(foil, [skin], smooth=False, shell=Shell(thickness=0.004))], anyhow(rng))


@kind("metal", "foil-scrap")
def foil_scrap(rng: np.random.Generator) -> RenderedItem:
    """A torn-off piece, crumpled and half pulled flat again."""
    wide, high = rng.uniform(1.3, 1.9), rng.uniform(1.0, 1.5)
    torn = torn_sheet(rng, wide, high, 240, Tear((True, True, pick(rng, (True, False)), True), 0.1, 0.05))
    foil = torn.points
    x, y = foil[..., 0].copy(), foil[..., 1].copy()
    foil[..., 2] += crumpled(rng, x, y, 12, 0.16, Layers(count=4, fainter=0.42))
    foil[..., 0] = 0.9 * foil[..., 0] + crumpled(rng, x, y, 10, 0.035, Layers(count=2))
    foil[..., 1] = 0.9 * foil[..., 1] + crumpled(rng, x, y, 10, 0.035, Layers(count=2))
    foil[..., 2] += rng.uniform(0.1, 0.5) * np.maximum(0, x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1)) ** 1.5
    skin = metal(rng, ALUMINIUM, roughness=0.27, grain=Grain(0.2, 26))
    return lay([add_surface(foil, [skin], smooth=False)], spun(rng))


@kind("metal", "foil-tray")
def foil_tray(rng: np.random.Generator) -> RenderedItem:
    """A ready-meal tray: pleated walls, a rolled rim, a bottom that was scraped with a fork."""
    half_long, half_wide, tall = pick(rng, ((1.0, 0.75, 0.34), (0.75, 0.6, 0.4), (0.6, 0.6, 0.3)))
    angle = np.linspace(0, math.tau, 360, endpoint=False)
    bend = 0.38 if half_long != half_wide else 1.0  # a superellipse: a rounded rectangle, or a round tray
    across, along = (np.sign(c) * np.abs(c) ** bend for c in (np.cos(angle), np.sin(angle)))
    rings = []
    for share, height, pleated in (
        (0.01, 0.02, 0), (0.4, 0.02, 0), (0.74, 0.02, 0), (0.8, 0.02, 0.3), (0.83, 0.05, 1), (0.88, tall * 0.5, 1), (0.93, tall, 1),
        (0.97, tall, 0.5), (1.03, tall, 0.5), (1.06, tall + 0.01, 0.1), (1.07, tall - 0.03, 0),
    ):  # fmt: skip
        pleat = 1 + 0.011 * pleated * np.sin(angle * 64)
        rings.append(np.stack([half_long * share * across * pleat, half_wide * share * along * pleat, np.full(360, height)], axis=-1))
    rows = np.stack(rings)
    at = np.linspace(0, len(rows) - 1, 90)
    below = np.clip(at.astype(int), 0, len(rows) - 2)
    part = (at - below)[:, None, None]
    tray = rows[below] * (1 - part) + rows[below + 1] * part
    x, y = tray[..., 0], tray[..., 1]
    tray[..., 2] += crumpled(rng, x, y, 16, rng.uniform(0.008, 0.022), Layers(count=3))
    tray[..., 2] += rng.uniform(-0.06, 0.06) * x * y
    warp = 1 + 0.05 * rng.uniform(-1, 1) * np.sin(2 * np.arctan2(y, x) + rng.uniform(0, 6))
    tray[..., :2] *= warp[..., None]
    tray[..., 2] = np.maximum(tray[..., 2], 0)
    skin = metal(rng, ALUMINIUM, roughness=0.3, grain=Grain(0.06, 34))
    return lay([add_surface(tray, [skin], closed=True, shell=Shell(thickness=0.006))], spun(rng))
