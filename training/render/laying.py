"""Putting an item down: turned as it lies, resting on the ground, centred."""

import math
from collections.abc import Sequence

import bpy
import numpy as np
from mathutils import Matrix

from device.common.arrays import Float64Array
from training.render.catalogue import RenderedItem


def shift(x: float, y: float, z: float) -> Matrix:
    """A move in decimetres."""
    return Matrix.Translation((x, y, z))


def turn(axis: str, angle: float) -> Matrix:
    """A turn about X, Y or Z, in radians."""
    return Matrix.Rotation(angle, 4, axis)


def anyhow(rng: np.random.Generator) -> Matrix:
    """Any way up: for balls."""
    return turn("Z", rng.uniform(0, 6.28)) @ turn("X", rng.uniform(0, 6.28)) @ turn("Y", rng.uniform(0, 6.28))


def spun(rng: np.random.Generator) -> Matrix:
    """As modelled, facing anywhere."""
    return turn("Z", rng.uniform(0, 6.28))


def on_its_side(rng: np.random.Generator, roll: tuple[float, float] = (-3.14, 3.14), taper: float = 0.0) -> Matrix:
    """A turned shape lying down, rolled about its axis, pointing anywhere. taper: the angle of its wall, on which a cone lies."""
    return spun(rng) @ turn("X", math.pi / 2 + taper) @ turn("Z", rng.uniform(*roll))


def lay(parts: Sequence[bpy.types.Object], way: Matrix, *, see_through: bool = False) -> RenderedItem:
    """Turn all parts together, then lower them on to z = 0 and centre them."""
    for part in parts:
        part.matrix_world = way @ part.matrix_world
    bpy.context.view_layer.update()
    points = np.concatenate([_vertices(part) for part in parts])
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    move = np.array([-middle[0], -middle[1], -points[:, 2].min()])
    for part in parts:
        part.matrix_world = shift(*move) @ part.matrix_world
    bpy.context.view_layer.update()
    return RenderedItem(tuple(parts), points + move, see_through)


def _vertices(part: bpy.types.Object) -> Float64Array:
    flat = np.empty(len(part.data.vertices) * 3, np.float32)
    part.data.vertices.foreach_get("co", flat)
    world = np.array(part.matrix_world)
    return np.asarray(flat.reshape(-1, 3).astype(float) @ world[:3, :3].T + world[:3, 3])
