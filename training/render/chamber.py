"""Building a described place in Blender, putting an item into it, and photographing both: the picture and the item's exact outline."""

import math
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt
from mathutils import Matrix, Vector
from PIL import Image

from device.common.arrays import Float32Array
from training.render import scene
from training.render.appearance.finishes import Finish, picture
from training.render.appearance.materials import Grain, Reflection, surface
from training.render.appearance.meshes import Cells, add_surface, outline, sheet, turned
from training.render.catalogue import RenderedItem
from training.render.laying import lay, shift, turn
from training.render.places import RIB, Camera, Lamp, Panel, Place, ShotVariation, Spot

Light = Float32Array
Mask = npt.NDArray[np.uint8]

BOUNCES = 6
STANDS = 4.5
"""times its narrower side, beyond which height a thing falls over"""


def build(place: Place, drift: ShotVariation, size: tuple[int, int], threads: int = 1) -> None:
    """Set up an empty place, to be pictured at `size` (width, height)."""
    scene.bare_stage(threads)
    stage = bpy.context.scene
    stage.render.resolution_x, stage.render.resolution_y = size
    stage.render.film_transparent = False
    cycles = stage.cycles
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces, cycles.transmission_bounces = BOUNCES, 2, 2, BOUNCES
    cycles.sample_clamp_indirect, cycles.blur_glossy = 6.0, 0.6
    cycles.denoising_prefilter, cycles.use_light_tree = "FAST", False
    rng = np.random.default_rng([place.seed, 7])
    _floor(place, rng)
    for side, finish in place.walls.items():
        _wall(place, side, finish, rng)
    for fitting in place.fittings:
        _box(fitting.position, fitting.size, _skin(fitting.finish, rng), math.radians(fitting.turn_deg))
    for lamp, factor in zip(place.lamps, drift.lamps, strict=True):
        _lamp(lamp, factor)
    for panel, factor in zip(place.panels, drift.panels, strict=True):
        _panel(place, panel, factor)
    _surroundings(place, drift.ambient, rng)
    _aim(place.camera.nudged(*drift.turn_deg))


def put(item: RenderedItem, where: Spot) -> RenderedItem:
    """Move an item to its spot; its points move along."""
    move = np.array(where.move)
    for part in item.parts:
        part.matrix_world = shift(*where.move) @ part.matrix_world
    bpy.context.view_layer.update()
    return RenderedItem(item.parts, item.points + move, item.see_through)


def posed(item: RenderedItem, place: Place, rng: np.random.Generator) -> RenderedItem:
    """As it was laid, tipped on another side, or along the rails."""
    if rng.random() < 0.25:
        item = _tipped(item, rng)
    if place.floor.kind in ("rails", "vee"):
        flat = item.points[:, :2] - item.points[:, :2].mean(axis=0)
        _, axes = np.linalg.eigh(flat.T @ flat)
        longest = axes[:, 1]
        item = lay(item.parts, turn("Z", math.pi / 2 - math.atan2(longest[1], longest[0]) + rng.normal(0, 0.12)), see_through=item.see_through)
    return item


def _tipped(item: RenderedItem, rng: np.random.Generator) -> RenderedItem:
    """On another side, heavier end down; as it was where it would not stand like that."""
    ways = [turn(axis, angle) for axis in "XY" for angle in (math.pi / 2, -math.pi / 2)]
    rng.shuffle(ways)
    for way in ways:
        if stands(item.points @ np.array(way)[:3, :3].T):
            return lay(item.parts, turn("Z", rng.uniform(0, 6.28)) @ way, see_through=item.see_through)
    return item


def stands(points: npt.NDArray[np.floating[Any]]) -> bool:
    """Whether something of these N x 3 points would stay as it is on a plane: wide enough at its foot, its middle over it and not too high."""
    above = points[:, 2] - points[:, 2].min()
    tall, sides = above.max(), np.ptp(points[:, :2], axis=0)
    foot = points[above < 0.03 * tall + 0.01, :2]
    middle = points[:, :2].mean(axis=0)
    over = ((foot.min(axis=0) < middle) & (middle < foot.max(axis=0))).all()
    return bool(over and (np.ptp(foot, axis=0) > 0.35 * sides).all() and tall < STANDS * sides.min() and above.mean() < 0.55 * tall)


def photograph(samples: int, seed: int) -> Light:
    """What the camera sees: height x width x 3 float32, linear, top row first."""
    return np.ascontiguousarray(scene.trace(samples, seed)[..., :3])


def silhouette(item: RenderedItem, camera: Camera, size: tuple[int, int]) -> Mask:
    """Where the item is in view and nothing stands before it: height x width uint8, 0 or 255. Leaves the scene fit for nothing else."""
    stage = bpy.context.scene
    stage.render.resolution_x, stage.render.resolution_y = size
    stage.render.film_transparent = True
    stage.cycles.use_denoising = False
    stage.cycles.max_bounces = 0
    stage.cycles.pixel_filter_type = "BOX"
    bare = bpy.data.materials.new("silhouette")
    bare.use_nodes = True
    bare.node_tree.nodes.clear()
    glow, out = (bare.node_tree.nodes.new(f"ShaderNode{name}") for name in ("Emission", "OutputMaterial"))
    bare.node_tree.links.new(glow.outputs[0], out.inputs["Surface"])
    bpy.context.view_layer.material_override = bare
    parts = {part.name for part in item.parts}
    for thing in stage.objects:
        if thing.type == "MESH" and thing.name not in parts:
            thing.is_holdout = True
        elif thing.type == "LIGHT":
            thing.hide_render = True
    at = np.clip(camera.project(item.points, size[0] / size[1]), 0, 1)
    render = stage.render
    render.use_border, render.use_crop_to_border = not np.isnan(at).any(), False
    (render.border_min_x, low), (render.border_max_x, high) = np.nanmin(at, axis=0) - 0.02, np.nanmax(at, axis=0) + 0.02
    render.border_min_y, render.border_max_y = 1 - high, 1 - low
    alpha = scene.trace(4, 0)[..., 3]
    return np.where(alpha >= 0.5, 255, 0).astype(np.uint8)


def _aim(camera: Camera) -> None:
    stage = bpy.context.scene
    eye = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    stage.collection.objects.link(eye)
    stage.camera = eye
    eye.data.sensor_fit, eye.data.clip_start, eye.data.clip_end = "HORIZONTAL", 0.02, 200.0
    eye.data.angle = math.radians(camera.fov_deg)
    eye.matrix_world = Matrix.Translation(camera.position) @ Matrix(camera.axes().tolist()).to_4x4()
    bpy.context.view_layer.update()


def _skin(finish: Finish, rng: np.random.Generator) -> bpy.types.Material:
    grain = None
    if finish.relief:
        drawn_out = (1.0, 0.05, 1.0) if finish.look in ("brushed", "wood") else (1.0, 1.0, 1.0)
        grain = Grain(finish.relief, float(rng.uniform(8, 50)), drawn_out)
    return surface(
        rng,
        reflection=Reflection(roughness=finish.roughness, metallic=finish.metallic, coat=finish.coat, smears=0.06 if finish.wear > 0.1 else 0.0),
        picture=Image.fromarray(picture(finish)),
        grain=grain,
    )


def _flat(width: float, height: float, at: Matrix, skin: bpy.types.Material, repeats: float = 1.0) -> bpy.types.Object:
    points = sheet(width, height, 2, 2)
    uv = np.array([[(0, 0), (repeats, 0)], [(0, repeats * height / width), (repeats, repeats * height / width)]], float)
    part = add_surface(points, [skin], cells=Cells(uv=uv if repeats > 1 else None), smooth=False)
    part.matrix_world = at
    if repeats > 1:
        for node in skin.node_tree.nodes:
            if node.type == "TEX_IMAGE":
                node.extension = "REPEAT"
    return part


def _rod(start: tuple[float, float, float], end: tuple[float, float, float], radius: float, skin: bpy.types.Material) -> None:
    along = Vector(end) - Vector(start)
    profile = outline([(0.0, 0.0), (radius, 0.0), (radius, along.length), (0.0, along.length)], 6)
    rod = add_surface(turned(profile, 20), [skin], closed=True)
    rod.matrix_world = Matrix.Translation(start) @ along.to_track_quat("Z", "Y").to_matrix().to_4x4()


def _box(middle: tuple[float, float, float], size: tuple[float, float, float], skin: bpy.types.Material, angle: float = 0.0) -> None:
    x, y, z = np.array(size) / 2
    ring = [(-x, -y), (x, -y), (x, y), (-x, y)]
    levels = [(0.001, -z), (1.0, -z), (1.0, z), (0.001, z)]
    points = np.array([[(a * out, b * out, up) for a, b in ring] for out, up in levels])
    box = add_surface(points, [skin], closed=True, smooth=False)
    box.matrix_world = shift(*middle) @ turn("Z", angle)


def _floor(place: Place, rng: np.random.Generator) -> None:
    floor, spread = place.floor, place.spread
    skin = _skin(floor.finish, rng)
    width, depth = (place.size[0], place.size[1]) if place.walls else (2 * spread, 2 * spread)
    if floor.kind in ("plain", "belt"):
        _flat(width, depth, shift(0, 0, 0), skin, 1.0 if place.walls else 2 * spread / 6)
    if floor.kind == "belt":
        for y in np.arange(-depth / 2 + floor.pitch / 2, depth / 2, floor.pitch):
            _box((0, float(y), RIB / 2), (width, floor.radius, RIB), skin)
    if floor.kind in ("rails", "bars", "grid"):
        rows = [float(row) for row in floor.rows(width / 2)]
        for row in rows:
            _rod((row, -depth / 2, -floor.radius), (row, depth / 2, -floor.radius), floor.radius, skin)
        if floor.kind == "grid":
            for column in floor.rows(depth / 2):
                _rod((-width / 2, float(column), -floor.radius), (width / 2, float(column), -floor.radius), floor.radius, skin)
    if floor.kind in ("vee", "bowl"):
        across = np.linspace(-1, 1, 81)
        if floor.kind == "vee":
            x, y = np.meshgrid(across * width / 2, np.array((-depth / 2, depth / 2)))
            z = floor.heights(x, y, spread)
            add_surface(np.stack([x, y, z], axis=-1), [skin], smooth=False)
        else:
            out = np.linspace(0, floor.radius * 0.98, 50)
            profile = np.stack([out, floor.heights(out, np.zeros_like(out), spread) - 0.004], axis=1)
            add_surface(turned(profile, 96), [skin], closed=True)
    if floor.under is not None:
        _flat(width, depth, shift(0, 0, -floor.drop), _skin(floor.under, rng), 1.0 if place.walls else 2 * spread / 6)


def _placed(place: Place, side: str, inset: float = 0.0) -> tuple[Matrix, float, float]:
    """A wall's middle, facing in, and its width and height. Its x runs along the wall, its y up (on the lid: away)."""
    width, depth, height = place.size
    low = -place.floor.drop if place.floor.under is not None else -0.02
    middle, tall = (height + low) / 2, height - low
    upright = turn("X", math.pi / 2)
    if side == "left":
        return shift(-width / 2 + inset, 0, middle) @ turn("Z", math.pi / 2) @ upright, depth, tall
    if side == "right":
        return shift(width / 2 - inset, 0, middle) @ turn("Z", -math.pi / 2) @ upright, depth, tall
    if side == "back":
        return shift(0, depth / 2 - inset, middle) @ upright, width, tall
    if side == "front":
        return shift(0, -depth / 2 + inset, middle) @ turn("Z", math.pi) @ upright, width, tall
    return shift(0, 0, height - inset) @ turn("X", math.pi), width, depth


def _wall(place: Place, side: str, finish: Finish, rng: np.random.Generator) -> None:
    at, width, height = _placed(place, side)
    _flat(width, height, at, _skin(finish, rng))


def _panel(place: Place, panel: Panel, factor: float) -> None:
    at, width, height = _placed(place, panel.side, 0.02)
    glow = bpy.data.materials.new("panel")
    glow.use_nodes = True
    tree = glow.node_tree
    tree.nodes.clear()
    light, out = tree.nodes.new("ShaderNodeEmission"), tree.nodes.new("ShaderNodeOutputMaterial")
    light.inputs["Color"].default_value = (*panel.colour, 1.0)
    light.inputs["Strength"].default_value = panel.strength * factor
    tree.links.new(light.outputs[0], out.inputs["Surface"])
    (x, y), (half_x, half_y) = panel.centre, panel.half
    _flat(width * half_x, height * half_y, at @ shift(x * width / 2, y * height / 2, 0), glow)


def _lamp(lamp: Lamp, factor: float) -> None:
    kind = {"area": "AREA", "bulb": "POINT", "spot": "SPOT"}[lamp.kind]
    data = bpy.data.lights.new(lamp.kind, kind)
    data.color, data.energy = lamp.colour, lamp.power * factor
    if kind == "AREA":
        data.shape, data.size = "DISK", lamp.size
    else:
        data.shadow_soft_size = lamp.size
    if kind == "SPOT":
        data.spot_size, data.spot_blend = math.radians(70), 0.6
    bulb = bpy.data.objects.new(lamp.kind, data)
    bpy.context.scene.collection.objects.link(bulb)
    bulb.location = lamp.position
    bulb.rotation_euler = (Vector(lamp.aim) - Vector(lamp.position)).to_track_quat("-Z", "Y").to_euler()
    bulb.visible_camera = False


def _surroundings(place: Place, factor: float, rng: np.random.Generator) -> None:
    """What is beyond the walls: dimmer below, brighter above, blotched like a room out of focus."""
    world = bpy.data.worlds.new("surroundings")
    bpy.context.scene.world = world
    world.use_nodes = True
    tree = world.node_tree
    light = tree.nodes["Background"]
    light.inputs["Strength"].default_value = factor
    if max(place.ambient) == 0:
        light.inputs["Color"].default_value = (0, 0, 0, 1)
        return
    height, width = 32, 64
    up = np.linspace(1, 0, height)[:, None, None]
    blots = rng.lognormal(0, 0.5, (8, 16, 1)).repeat(4, axis=0).repeat(4, axis=1)
    room = np.array(place.ambient) * (0.35 + 0.9 * up) * blots
    image = bpy.data.images.new("surroundings", width, height, float_buffer=True)
    image.pixels.foreach_set(np.concatenate([room, np.ones((height, width, 1))], axis=2)[::-1].astype(np.float32).ravel())
    image.update()
    node = tree.nodes.new("ShaderNodeTexEnvironment")
    node.image = image
    tree.links.new(node.outputs["Color"], light.inputs["Color"])
    world.cycles.sampling_method, world.cycles.sample_map_resolution = "MANUAL", 64
