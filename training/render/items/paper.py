"""Paper: crumpled, torn, folded, read."""

import numpy as np

from training.render.appearance.creases import Layers, Tear, balled, crumpled, curled, torn_sheet
from training.render.appearance.materials import Grain, Reflection, surface
from training.render.appearance.meshes import Cells, Shell, add_surface, sheet
from training.render.appearance.prints import bag, envelope, page, show_tear
from training.render.catalogue import RenderedItem, kind
from training.render.laying import anyhow, lay, shift, spun, turn
from training.render.random_choice import pick, toss

INSIDE = (220, 219, 214)
PAGES = ("letter", "letter", "lined", "flyer", "form", "blank")


@kind("paper", "ball", share=2)
def ball(rng: np.random.Generator) -> RenderedItem:
    """A page crumpled in anger."""
    points = sheet(2.1, 2.97, 200)
    points[..., 2] += crumpled(rng, points[..., 0], points[..., 1], 60, 0.03)
    points = balled(rng, points, rng.uniform(0.38, 0.5), int(rng.integers(30, 46)), 1.4, rng.uniform(0.75, 1))
    skin = surface(
        rng, reflection=Reflection(roughness=0.8, specular=0.2), picture=page(rng, 620, 877, pick(rng, PAGES)), back=INSIDE, grain=Grain(0.15, 8)
    )
    return lay([add_surface(points, [skin], smooth=False, shell=Shell(thickness=0.004))], anyhow(rng))


@kind("paper", "page", share=3)
def loose_page(rng: np.random.Generator) -> RenderedItem:
    """A page that was creased, folded, curled, and perhaps torn across."""
    wide, high = pick(rng, ((2.1, 2.97), (1.48, 2.1), (2.1, 1.9)))
    print_ = page(rng, 700, round(700 * high / wide), pick(rng, PAGES[:-1]))
    ripped = toss(rng, 0.45)
    torn = torn_sheet(rng, wide, high, 240, Tear((False, False, ripped, False), high * rng.uniform(0.12, 0.35), 0.045))
    print_ = show_tear(rng, print_, torn, (250, 249, 246), 6, flutes=False)
    points = torn.points
    x, y = points[..., 0].copy(), points[..., 1].copy()
    depth = pick(rng, (0.012, 0.03, 0.06, 0.09))
    points[..., 0] *= 1 - 1.2 * depth
    points[..., 1] *= 1 - depth
    shape = pick(rng, ("folded", "curled", "flat"))
    if shape == "folded":
        points[..., 2] += np.abs(x - rng.uniform(-0.5, 0.5)) * rng.uniform(0.1, 0.35)
    elif shape == "curled":
        points = curled(points, pick(rng, (0, 1)), rng.uniform(0.5, 1.5), rng.uniform(0, 0.6))
    points[..., 2] += crumpled(rng, x, y, pick(rng, (12, 25, 40)), depth, Layers(fainter=0.42))
    skin = surface(rng, reflection=Reflection(roughness=0.75, specular=0.25), picture=print_, back=INSIDE)
    return lay([add_surface(points, [skin], cells=Cells(uv=torn.uv), smooth=depth < 0.05)], spun(rng))


@kind("paper", "newspaper", share=2)
def newspaper(rng: np.random.Generator) -> RenderedItem:
    """A few leaves of a newspaper, the top one lifting."""
    wide, high = 2.2, 1.6
    lift_from, lift = high * rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.6)
    parts = []
    for k in range(3):
        points = sheet(wide, high, 140)
        x, y = points[..., 0].copy(), points[..., 1].copy()
        points[..., 2] += crumpled(rng, x, y, 14, 0.025) * (0.6 + 0.4 * k) + 0.06 * k + 0.03 * np.abs(x)
        if k == 2:
            points[..., 2] += lift * np.maximum(0, y - lift_from)
        skin = surface(rng, reflection=Reflection(roughness=0.85, specular=0.15), picture=page(rng, 960, 700, "news"), back=(196, 192, 182))
        leaf = add_surface(points, [skin])
        leaf.matrix_world = shift(rng.normal() * 0.05, rng.normal() * 0.05, 0) @ turn("Z", rng.normal() * 0.07)
        parts.append(leaf)
    return lay(parts, spun(rng))


@kind("paper", "envelope", share=2)
def opened_envelope(rng: np.random.Generator) -> RenderedItem:
    """An envelope, torn open along the top."""
    wide, high = pick(rng, ((2.2, 1.1), (1.62, 1.14)))
    paper = pick(rng, ((246, 246, 243), (222, 198, 158), (226, 222, 212)))
    torn = torn_sheet(rng, wide, high, 260, Tear((False, False, False, toss(rng, 0.75)), 0.07, 0.03))
    print_ = show_tear(rng, envelope(rng, 900, round(900 * high / wide), paper, window=toss(rng, 0.5)), torn, (250, 248, 244), 5, flutes=False)
    points = torn.points
    x, y = points[..., 0], points[..., 1]
    full = np.clip(1 - (2 * x / wide) ** 4, 0, 1) * np.clip(1 - (2 * y / high) ** 4, 0, 1)
    points[..., 2] += crumpled(rng, x, y, 14, 0.02) + 0.07 * full
    skin = surface(rng, reflection=Reflection(roughness=0.75, specular=0.25), picture=print_, back=(208, 206, 200))
    return lay([add_surface(points, [skin], cells=Cells(uv=torn.uv), shell=Shell(thickness=0.012))], spun(rng))


@kind("paper", "receipt", share=1)
def receipt(rng: np.random.Generator) -> RenderedItem:
    """A till receipt, curling as it came off its roll."""
    wide, long = 0.8, rng.uniform(1.6, 2.4)
    points = sheet(wide, long, 70)
    x, y = points[..., 0].copy(), points[..., 1].copy()
    points = curled(points, 1, rng.uniform(0.9, 2.0), rng.uniform(-0.3, 0.3))
    points[..., 2] += crumpled(rng, x, y, 10, 0.02)
    skin = surface(
        rng, reflection=Reflection(roughness=0.6, specular=0.35), picture=page(rng, 360, round(360 * long / wide), "receipt"), back=(232, 232, 230)
    )
    return lay([add_surface(points, [skin])], spun(rng))


@kind("paper", "bag", share=2)
def paper_bag(rng: np.random.Generator) -> RenderedItem:
    """A bakery bag, flat and crumpled, its mouth zigzag cut."""
    wide, high = rng.uniform(1.2, 1.7), rng.uniform(1.9, 2.5)
    colour = pick(rng, ((190, 152, 110), (190, 152, 110), (238, 236, 230)))
    face = bag(rng, 640, round(640 * high / wide), colour)
    flat = sheet(wide, high, 190)
    x, y = flat[..., 0], flat[..., 1]
    belly = np.clip(1 - (2 * x / wide) ** 4, 0, 1) * np.clip((y / high + 0.5) * 4, 0, 1)
    creases = crumpled(rng, x, y, 18, rng.uniform(0.05, 0.1), Layers(fainter=0.45)) + rng.uniform(-0.08, 0.08) * x * y
    zigzag = np.where(y > high / 2 * 0.985, 0.03 * np.abs((x * 12) % 2 - 1), 0)
    parts = []
    for side, lively in ((1, 1.0), (-1, 0.7)):
        points = flat + np.stack([np.zeros_like(x), zigzag, side * rng.uniform(0.05, 0.14) * belly + lively * creases], axis=-1)
        skin = surface(rng, reflection=Reflection(roughness=0.8, specular=0.2), picture=face, back=colour, grain=Grain(0.1, 20))
        parts.append(add_surface(points, [skin], smooth=False))
    return lay(parts, spun(rng))
