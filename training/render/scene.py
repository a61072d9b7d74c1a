"""The bin's light and camera: soft lamps above a tray, and a camera that looks down on it at a slant.

Renders are linear, scene-referred floats; `matte.display` turns them into what a camera shows.
"""

import contextlib
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

from device.common.arrays import Float32Array, Float64Array
from training.render.appearance.materials import linear
from training.render.catalogue import RenderedItem

Pixels = Float32Array

TILT_DEG = (20.0, 40.0)
DISTANCE_DM = 5.0
TRAY = (150, 150, 148)


def empty_stage(threads: int = 1) -> None:
    """Throw the last item away and set up the renderer, the lamps and a tray that lights and is mirrored but is not in the picture."""
    bare_stage(threads)
    _light()
    _tray()


def bare_stage(threads: int = 1) -> None:
    """Throw everything away and set up the renderer: Cycles on the CPU, denoised, repeatable."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.threads_mode, scene.render.threads = "FIXED", threads
    scene.render.resolution_percentage = 100
    scene.render.use_persistent_data = True
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.image_settings.color_depth = "32"
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.use_adaptive_sampling = False
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 12, 3, 4
    cycles.transmission_bounces, cycles.transparent_max_bounces = 12, 24
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect, cycles.blur_glossy = 25.0, 0.5


def aim(item: RenderedItem, rng: np.random.Generator, longest_px: int) -> None:
    """Look at the item from `TILT_DEG` off the vertical, so that it just fills a picture of `longest_px`."""
    scene = bpy.context.scene
    low, high = item.points.min(axis=0), item.points.max(axis=0)
    target = (low + high) / 2
    tilt, bearing = math.radians(rng.uniform(*TILT_DEG)), rng.uniform(0, math.tau)
    away = max(DISTANCE_DM, 2.4 * float(np.ptp(item.points, axis=0).max()))
    toward = np.array([math.sin(tilt) * math.cos(bearing), math.sin(tilt) * math.sin(bearing), math.cos(tilt)])
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    camera.location = Vector(target + toward * away)
    camera.rotation_euler = Vector(-toward).to_track_quat("-Z", "Y").to_euler()
    bpy.context.view_layer.update()

    to_camera = np.array(camera.matrix_world.inverted())
    seen = item.points @ to_camera[:3, :3].T + to_camera[:3, 3]
    slopes = seen[:, :2] / -seen[:, 2:]
    left_low, right_high = slopes.min(axis=0), slopes.max(axis=0)
    middle, half = (left_low + right_high) / 2, (right_high - left_low) / 2 * 1.05 + 0.002
    lens = camera.data
    lens.sensor_fit = "HORIZONTAL"
    lens.angle = 2 * math.atan(half[0])
    lens.shift_x, lens.shift_y = middle / (2 * half[0])
    scale = longest_px / half.max()
    scene.render.resolution_x, scene.render.resolution_y = (max(16, round(extent * scale)) for extent in half)


def shoot(samples: int, seed: int) -> Pixels:
    """Render what the camera sees: height x width x 4, linear, premultiplied alpha, top row first. Clear where there is no item."""
    scene = bpy.context.scene
    scene.render.film_transparent = True
    scene.cycles.denoising_prefilter = "FAST"
    return trace(samples, seed)


def shoot_over(grey: float, samples: int, seed: int) -> Pixels:
    """Render with a plain ground of a linear grey behind the item, also as seen through it: height x width x 3, linear."""
    scene = bpy.context.scene
    scene.render.film_transparent = False
    scene.cycles.denoising_prefilter = "ACCURATE"  # guides seen through glass are as noisy as the picture
    scene.world.node_tree.nodes["backing"].inputs["Color"].default_value = (grey, grey, grey, 1.0)
    return trace(samples, seed)[..., :3]


def trace(samples: int, seed: int) -> Pixels:
    """Render the scene as it is set up: height x width x 4 float32, linear, premultiplied alpha, top row first."""
    scene = bpy.context.scene
    scene.cycles.samples, scene.cycles.seed = samples, seed
    with tempfile.TemporaryDirectory() as folder:
        scene.render.filepath = str(Path(folder) / "render.exr")
        with _hushed():
            bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(scene.render.filepath)
        width, height = image.size
        pixels = np.empty(width * height * 4, np.float32)
        image.pixels.foreach_get(pixels)
        bpy.data.images.remove(image)
    return pixels.reshape(height, width, 4)[::-1].copy()


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep Blender's own progress off standard output: it writes past Python, a line a frame."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _light() -> None:
    """A chamber as light sees it: pale walls, a wide lamp above, a smaller one across from it, something dark low down.

    What the camera sees past or through the item is not the chamber but a plain backing.
    """
    height, width = 128, 256
    up = 90 - 180 * (np.arange(height)[:, None] + 0.5) / height
    round_ = 360 * (np.arange(width)[None] + 0.5) / width
    chamber = np.ones((height, width, 3)) * (0.20 + 0.16 * np.clip(up / 70, 0, 1) ** 2)[..., None]

    def patch(bearing: float, half_width: float, low: float, high: float) -> Float64Array:
        off = np.abs((round_ - bearing + 180) % 360 - 180)
        soft = np.clip((half_width - off) / 5 + 0.5, 0, 1) * np.clip((up - low) / 4 + 0.5, 0, 1) * np.clip((high - up) / 4 + 0.5, 0, 1)
        return np.asarray(soft[..., None])

    for bearing, half_width, low, high, colour in (
        (200, 22, -5, 26, (0.10, 0.10, 0.11)),
        (20, 14, -5, 34, (0.13, 0.12, 0.12)),
        (300, 18, -5, 20, (0.16, 0.15, 0.15)),
        (70, 34, 50, 74, (15.0, 14.6, 13.9)),
        (245, 20, 34, 50, (7.0, 7.4, 8.0)),
        (150, 7, 12, 48, (6.0, 6.1, 6.4)),
    ):
        here = patch(bearing, half_width, low, high)
        chamber = chamber * (1 - here) + here * np.array(colour)

    image = bpy.data.images.new("chamber", width, height, float_buffer=True)
    image.pixels.foreach_set(np.concatenate([chamber, np.ones((height, width, 1))], axis=2)[::-1].astype(np.float32).ravel())
    image.update()
    world = bpy.data.worlds.new("chamber")
    bpy.context.scene.world = world
    world.use_nodes = True
    new, link = world.node_tree.nodes.new, world.node_tree.links.new
    light = world.node_tree.nodes["Background"]
    picture = new("ShaderNodeTexEnvironment")
    picture.image = image
    link(picture.outputs["Color"], light.inputs["Color"])
    backing = new("ShaderNodeBackground")
    backing.name = "backing"
    ray, seen, mix = new("ShaderNodeLightPath"), new("ShaderNodeMath"), new("ShaderNodeMixShader")
    seen.operation = "MAXIMUM"
    link(ray.outputs["Is Camera Ray"], seen.inputs[0])
    link(ray.outputs["Is Transmission Ray"], seen.inputs[1])
    link(seen.outputs[0], mix.inputs[0])
    link(light.outputs[0], mix.inputs[1])
    link(backing.outputs[0], mix.inputs[2])
    link(mix.outputs[0], world.node_tree.nodes["World Output"].inputs["Surface"])
    world.cycles.sampling_method, world.cycles.sample_map_resolution = "MANUAL", 256


def _tray() -> None:
    mesh = bpy.data.meshes.new("tray")
    mesh.from_pydata([(-30, -30, -0.002), (30, -30, -0.002), (30, 30, -0.002), (-30, 30, -0.002)], [], [(0, 1, 2, 3)])
    material = bpy.data.materials.new("tray")
    material.use_nodes = True
    shader = material.node_tree.nodes["Principled BSDF"]
    shader.inputs["Base Color"].default_value = (*linear(TRAY), 1.0)
    shader.inputs["Roughness"].default_value = 0.7
    mesh.materials.append(material)
    tray = bpy.data.objects.new("tray", mesh)
    bpy.context.scene.collection.objects.link(tray)
    tray.visible_camera = tray.visible_transmission = False
