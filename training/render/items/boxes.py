"""Cardboard: boxes open and shut, flattened cartons, torn pieces, egg boxes, cores."""

import math

import bpy
import numpy as np
from mathutils import Matrix
from PIL import Image
from scipy.ndimage import gaussian_filter

from device.common.arrays import Float64Array
from training.render.appearance.artwork import front
from training.render.appearance.creases import Layers, Tear, bent, crumpled, dented, torn_sheet
from training.render.appearance.materials import Colour, Grain, Reflection, clear_plastic, corrugated_edge, surface
from training.render.appearance.meshes import Cells, Shell, add_surface, outline, sheet, turned
from training.render.appearance.prints import KRAFT, board, show_tear
from training.render.catalogue import RenderedItem, kind
from training.render.laying import lay, on_its_side, shift, spun, turn
from training.render.random_choice import pick, toss

THICKNESS = 0.045
GRAIN = Grain(0.06, 40, stretch=(1, 0.15, 1))


def _panel(
    rng: np.random.Generator, size: tuple[float, float], place: Matrix, print_: Image.Image, colour: Colour, bend: float = 0.0
) -> bpy.types.Object:
    """A panel of corrugated board, never quite flat. size: width x height, dm."""
    width, height = size
    points = sheet(width, height, 70)
    x, y = points[..., 0], points[..., 1]
    points[..., 2] += bend * (2 * x / width) ** 2 + gaussian_filter(rng.normal(size=x.shape), 9) * 0.12
    points[..., 2] += crumpled(rng, x, y, 5, 0.004, Layers(count=2))
    skin = surface(rng, reflection=Reflection(roughness=0.85, specular=0.2), picture=print_, grain=GRAIN)
    part = add_surface(points, [skin, corrugated_edge(rng, colour)], shell=Shell(thickness=THICKNESS, rim=1))
    part.matrix_world = place
    return part


def _tape(rng: np.random.Generator, width: float, length: float, place: Matrix) -> bpy.types.Object:
    """Packing tape, brown or clear, cut with teeth."""
    points = sheet(width, length, 40, 60)
    teeth = 0.012 * (np.arange(40) % 2)
    points[0, :, 1] += teeth
    points[-1, :, 1] -= teeth
    points[..., 2] += np.abs(gaussian_filter(rng.normal(size=points.shape[:2]), 3)) * 0.004
    brown = toss(rng, 0.7)
    tint, haze = ((0.78, 0.62, 0.40), 0.35) if brown else ((0.95, 0.95, 0.95), 0.2)
    part = add_surface(points, [clear_plastic(rng, tint, roughness=0.14, haze=haze, ripple=Grain(0.05, 6))])
    part.matrix_world = place
    return part


@kind("cardboard", "box", share=3)
def box(rng: np.random.Generator) -> RenderedItem:
    """A shipping box: taped shut, or with its four flaps up."""
    colour = pick(rng, KRAFT)
    long, wide, tall = rng.uniform(1.6, 2.3), rng.uniform(1.1, 1.7), rng.uniform(0.5, 1.1)
    upright = turn("X", math.pi / 2)
    walls = [(k * math.pi / 2, (long, wide)[k % 2], (wide, long)[k % 2] / 2) for k in range(4)]  # facing, width, distance

    def printed(width: float, height: float, stamped: bool) -> Image.Image:
        return board(rng, round(380 * width), round(380 * height), colour, stamped=stamped)

    parts = [_panel(rng, (long, wide), shift(0, 0, 0), printed(long, wide, False), colour)]
    for around, width, out in walls:
        place = turn("Z", around) @ shift(0, -out, tall / 2) @ upright
        parts.append(_panel(rng, (width, tall), place, printed(width, tall, toss(rng, 0.6)), colour))
    if toss(rng, 0.5):
        flap = wide * 0.48
        for around, width, out in walls:
            hinge = turn("Z", around) @ shift(0, -out, tall) @ turn("X", rng.uniform(-0.5, 1.0)) @ shift(0, -flap / 2, 0)
            parts.append(_panel(rng, (width * 0.985, flap), hinge, printed(width, flap, False), colour, rng.uniform(-0.03, 0.03)))
    else:
        for side in (1, -1):
            place = shift(0, side * wide / 4, tall + rng.uniform(0, 0.02)) @ turn("X", side * rng.uniform(-0.02, 0.03))
            parts.append(_panel(rng, (long, wide / 2 - 0.008), place, printed(long, wide / 2, True), colour))
        parts.append(_tape(rng, 0.45, long, shift(0, 0, tall + 0.05) @ turn("Z", math.pi / 2)))
    return lay(parts, spun(rng))


@kind("cardboard", "torn-piece", share=3)
def torn_piece(rng: np.random.Generator) -> RenderedItem:
    """A piece ripped off a box, flutes bare along the rips, folded where the box had an edge."""
    colour = pick(rng, KRAFT)
    wide, high = rng.uniform(1.5, 2.2), rng.uniform(1.1, 1.8)
    sides = pick(rng, ((True, False, False, True), (False, True, True, False), (True, True, False, False), (True, False, True, True)))
    torn = torn_sheet(rng, wide, high, 300, Tear(sides, rng.uniform(0.12, 0.3), rng.uniform(0.035, 0.06)))
    print_ = board(rng, 1000, round(1000 * high / wide), colour, stamped=toss(rng, 0.8))
    r, g, b = colour
    print_ = show_tear(rng, print_, torn, (min(255, r + 16), min(255, g + 14), min(255, b + 10)), 26, flutes=True)
    points = torn.points
    x, y = points[..., 0].copy(), points[..., 1].copy()
    points = bent(points, 0, rng.uniform(-0.4, 0.4) * wide, rng.uniform(-0.15, 0.9))
    points[..., 2] += 0.05 * np.sin(y * rng.uniform(0.6, 1.4) + rng.uniform(0, 6)) * rng.uniform(0, 1.2)
    points[..., 2] += crumpled(rng, x, y, 7, 0.014) + _frayed(rng, (torn.points.shape[0], torn.points.shape[1]), sides)
    skin = surface(rng, reflection=Reflection(roughness=0.85, specular=0.2), picture=print_, back=colour, grain=GRAIN)
    part = add_surface(points, [skin, corrugated_edge(rng, colour)], cells=Cells(uv=torn.uv), shell=Shell(thickness=THICKNESS * 0.8, rim=1))
    return lay([part], spun(rng))


def _frayed(rng: np.random.Generator, shape: tuple[int, int], sides: tuple[bool, bool, bool, bool]) -> Float64Array:
    """Torn edges lift and droop unevenly within a few millimetres of the tear."""
    rows, columns = shape
    j, i = np.meshgrid(np.arange(columns), np.arange(rows))
    near = np.zeros(shape)
    for torn, steps in zip(sides, (j, columns - 1 - j, i, rows - 1 - i), strict=True):
        if torn:
            near = np.maximum(near, np.clip(1 - steps / (0.06 * columns), 0, 1) ** 2)
    ruffle = gaussian_filter(rng.normal(size=shape), 5)
    return np.asarray(near * ruffle / ruffle.std() * 0.022)


@kind("cardboard", "flat-carton", share=2)
def flat_carton(rng: np.random.Generator) -> RenderedItem:
    """A carton folded flat: its panels in layers, one flap standing up."""
    colour = pick(rng, KRAFT)
    wide, high = rng.uniform(1.7, 2.3), rng.uniform(1.1, 1.6)
    parts = []
    for k in range(3):
        w, h = wide * rng.uniform(0.88, 1), high * rng.uniform(0.85, 1)
        place = shift(rng.uniform(-0.12, 0.12), rng.uniform(-0.12, 0.12), 0.06 * k) @ turn("Z", rng.normal() * 0.05) @ turn("Y", rng.normal() * 0.015)
        parts.append(_panel(rng, (w, h), place, board(rng, round(400 * w), round(400 * h), colour, stamped=k == 2), colour, rng.uniform(-0.03, 0.06)))
    flap = high * 0.4
    hinge = shift(0, high * 0.45, 0.16) @ turn("X", rng.uniform(0.1, 0.7)) @ shift(0, flap / 2, 0)
    parts.append(_panel(rng, (wide * 0.9, flap), hinge, board(rng, round(360 * wide), round(400 * flap), colour, stamped=False), colour))
    if toss(rng, 0.6):
        parts.append(_tape(rng, 0.45, wide * 0.5, shift(rng.uniform(-0.3, 0.3), rng.uniform(-0.2, 0.2), 0.21) @ turn("Z", rng.uniform(0, 3))))
    return lay(parts, spun(rng))


@kind("cardboard", "food-carton", share=2)
def food_carton(rng: np.random.Generator) -> RenderedItem:
    """A printed folding carton, for cereal or tea, one end flap open and grey inside."""
    wide, high, deep = pick(rng, ((1.3, 1.9, 0.45), (0.9, 1.4, 0.5), (1.5, 1.0, 0.6)))
    face = front(rng, 700, round(700 * high / wide))
    ground = face.getpixel((4, 4))
    side = Image.new("RGB", (64, 64), ground)
    grey: Colour = (168, 160, 148)
    dents = rng.uniform(0.006, 0.016)

    def panel(width: float, height: float, place: Matrix, print_: Image.Image) -> bpy.types.Object:
        points = sheet(width, height, 60)
        points[..., 2] += crumpled(rng, points[..., 0], points[..., 1], 5, dents, Layers(count=2))
        part = add_surface(
            points, [surface(rng, reflection=Reflection(roughness=0.4, coat=0.15), picture=print_, back=grey)], shell=Shell(thickness=0.008)
        )
        part.matrix_world = place
        return part

    parts = [
        panel(wide, high, shift(0, 0, deep / 2), face),
        panel(wide, high, shift(0, 0, -deep / 2) @ turn("Y", math.pi), side),
        panel(deep, high, shift(wide / 2, 0, 0) @ turn("Y", math.pi / 2), side),
        panel(deep, high, shift(-wide / 2, 0, 0) @ turn("Y", -math.pi / 2), side),
        panel(wide, deep, shift(0, -high / 2, 0) @ turn("X", math.pi / 2), side),
    ]
    flap = shift(0, high / 2, deep / 2) @ turn("X", rng.uniform(-0.5, 0.5)) @ shift(0, deep / 2, 0)
    parts.append(panel(wide, deep, flap, side))
    return lay(parts, spun(rng))


@kind("cardboard", "egg-box", share=1)
def egg_box(rng: np.random.Generator) -> RenderedItem:
    """The bottom half of an egg box, moulded from pulp."""
    across, along, pitch = pick(rng, ((2, 3, 0.46), (2, 5, 0.44)))
    wide, long = across * pitch, along * pitch
    points = sheet(wide + 0.16, long + 0.16, 150)
    x, y = points[..., 0], points[..., 1]
    cup_x, cup_y = np.cos(math.tau * (x / pitch + across / 2 + 0.5)), np.cos(math.tau * (y / pitch + along / 2 + 0.5))
    inside = np.clip((wide / 2 - np.abs(x)) / 0.03, 0, 1) * np.clip((long / 2 - np.abs(y)) / 0.03, 0, 1)
    cup = np.clip((cup_x + cup_y) / 2 * 1.6, -1, 1)
    points[..., 2] = inside * (-0.26 * np.maximum(cup, 0) ** 0.7 + 0.16 * np.maximum(-cup, 0) ** 0.8)
    points[..., 2] += gaussian_filter(rng.normal(size=x.shape), 2.2) * 0.012
    colour = pick(rng, ((158, 153, 144), (170, 156, 134), (146, 142, 136)))
    skin = surface(rng, colour, reflection=Reflection(roughness=0.95, specular=0.1), grain=Grain(0.6, 26))
    return lay([add_surface(points, [skin], shell=Shell(thickness=0.025))], turn("X", rng.uniform(-0.03, 0.03)) @ spun(rng))


@kind("cardboard", "core", share=1)
def core(rng: np.random.Generator) -> RenderedItem:
    """The core of a kitchen or toilet roll, a seam winding round it, a little squashed."""
    tall, r = pick(rng, ((1.0, 0.21), (2.2, 0.2)))
    profile = outline([(r, 0), (r, tall)], 90)
    tube = turned(profile, 90)
    tube = dented(rng, tube, 5, 0.05, -0.2, tall + 0.2)
    tube[..., 1] *= rng.uniform(0.7, 1.0)
    colour = pick(rng, ((176, 158, 130), (190, 172, 146), (160, 146, 124)))
    print_ = board(rng, 420, round(420 * tall / (math.tau * r)), colour, stamped=False)
    pixels = np.asarray(print_, float)
    rows, columns = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]]
    winding = (columns + rows * 0.8) % 420
    pixels = pixels * np.where(winding < 5, 0.72, 1)[..., None]
    skin = surface(
        rng, reflection=Reflection(roughness=0.85, specular=0.15), picture=Image.fromarray(pixels.astype(np.uint8)), back=colour, grain=GRAIN
    )
    return lay([add_surface(tube, [skin], closed=True, shell=Shell(thickness=0.012))], on_its_side(rng))
