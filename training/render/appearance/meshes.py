"""Surfaces as grids of points, and the Blender objects made from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from device.common.arrays import Float64Array

Outline = Sequence[tuple[float, float]]


def sheet(width: float, height: float, columns: int, rows: int | None = None) -> Float64Array:
    """A flat rectangle in the xy plane: rows x columns x 3 points, centred. Without `rows` the cells are about square."""
    rows = rows or max(2, round(columns * height / width))
    x, y = np.meshgrid(np.linspace(-width / 2, width / 2, columns), np.linspace(-height / 2, height / 2, rows))
    return np.stack([x, y, np.zeros_like(x)], axis=-1)


def outline(corners: Outline, steps: int) -> Float64Array:
    """Points along a polyline of (radius, height), evenly spaced, its corners kept: about `steps` x 2."""
    points = np.asarray(corners, float)
    walked = np.r_[0, np.cumsum(np.hypot(*np.diff(points, axis=0).T))]
    at = np.unique(np.r_[np.linspace(0, walked[-1], steps), walked])
    return np.stack([np.interp(at, walked, points[:, 0]), np.interp(at, walked, points[:, 1])], axis=1)


def rounded(corners: Outline, steps: int, spread: float) -> Float64Array:
    """The same with its corners rounded off; `spread` is in steps. The two ends stay where they are."""
    sharp = outline(corners, steps)
    soft: Float64Array = gaussian_filter1d(sharp, spread, axis=0, mode="nearest")
    soft[0], soft[-1] = sharp[0], sharp[-1]
    return soft


def thick(profile: Float64Array, wall: float) -> Float64Array:
    """Out along a profile that starts on the axis, and back inside it at a distance of `wall`: a closed shell to turn."""
    along = np.gradient(profile, axis=0)
    inward = np.stack([-along[:, 1], along[:, 0]], axis=1)
    inward /= np.linalg.norm(inward, axis=1, keepdims=True) + 1e-9
    inner = profile + inward * wall
    inner[:, 0] = np.maximum(inner[:, 0], 0)
    inner[0] = 0, profile[0, 1] + wall * 1.6
    return np.asarray(np.r_[profile, inner[::-1]])


def turned(profile: Float64Array, segments: int, depth: float = 1.0) -> Float64Array:
    """Turn a profile about the z axis: len(profile) x segments x 3 points. `depth` scales y: an oval below 1."""
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    radius, height = profile[:, :1], profile[:, 1:]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle) * depth, np.repeat(height, segments, axis=1)], axis=-1)


def band(profile: Float64Array, low: float, high: float, *, around: float = 1.0, gap: float = 0.005, depth: float = 1.0) -> Float64Array:
    """A label's surface just outside a turned profile between two heights, over `around` of the way round, centred on +x."""
    height = np.linspace(low, high, 28)
    order = np.argsort(profile[:, 1])
    radius = np.interp(height, profile[order, 1], profile[order, 0])[:, None] + gap
    angle = np.linspace(-np.pi * around, np.pi * around, 96)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle) * depth, np.repeat(height[:, None], 96, axis=1)], axis=-1)


def height_uv(points: Float64Array, low: float, high: float) -> Float64Array:
    """Texture coordinates of a turned surface: once round it, and 0..1 between two heights of the untouched profile."""
    around, up = np.meshgrid(np.linspace(0, 1, points.shape[1] + 1), (points[:, 0, 2] - low) / (high - low))
    return np.stack([around, up], axis=-1)


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The cells of a grid. uv: texture coordinates, rows x columns x 2 (one more column when closed), 0..1 over the grid when left out.

    material: index into the materials, per cell.
    """

    uv: Float64Array | None = None
    material: npt.NDArray[np.integer[Any]] | None = None


@dataclass(frozen=True, slots=True)
class Shell:
    """The thickness of a sheet in decimetres, half of it on each side. rim: the cut edge takes the material so many places further on."""

    thickness: float = 0.0
    rim: int = 0


PLAIN_CELLS, NO_SHELL = Cells(), Shell()


def add_surface(
    points: Float64Array,
    materials: Sequence[bpy.types.Material],
    *,
    cells: Cells = PLAIN_CELLS,
    closed: bool = False,
    smooth: bool = True,
    shell: Shell = NO_SHELL,
) -> bpy.types.Object:
    """Put a grid of points into the scene as a surface of quads.

    points: rows x columns x 3. closed: the last column joins the first, as on a turned surface.
    """
    rows, columns = points.shape[:2]
    spans = columns if closed else columns - 1
    left = np.arange(spans)
    right = (left + 1) % columns
    row = np.arange(rows - 1)[:, None] * columns
    corners = np.stack([row + left, row + right, row + columns + right, row + columns + left], axis=-1).reshape(-1, 4)
    faces = len(corners)

    mesh = bpy.data.meshes.new("surface")
    mesh.vertices.add(rows * columns)
    mesh.vertices.foreach_set("co", points.reshape(-1).astype(np.float32))
    mesh.loops.add(faces * 4)
    mesh.loops.foreach_set("vertex_index", corners.reshape(-1).astype(np.int32))
    mesh.polygons.add(faces)
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces * 4, 4, dtype=np.int32))
    mesh.polygons.foreach_set("use_smooth", np.full(faces, smooth))
    if cells.material is not None:
        mesh.polygons.foreach_set("material_index", cells.material.reshape(-1).astype(np.int32))
    for material in materials:
        mesh.materials.append(material)

    uv = cells.uv
    if uv is None:
        uv = np.stack(np.meshgrid(np.linspace(0, 1, spans + 1), np.linspace(0, 1, rows)), axis=-1)
    at = np.stack([uv[:-1, :-1], uv[:-1, 1:], uv[1:, 1:], uv[1:, :-1]], axis=-2)
    mesh.uv_layers.new().data.foreach_set("uv", at.reshape(-1).astype(np.float32))
    mesh.update(calc_edges=True)
    mesh.validate()

    part = bpy.data.objects.new("surface", mesh)
    bpy.context.scene.collection.objects.link(part)
    if shell.thickness:
        solid = part.modifiers.new("thickness", "SOLIDIFY")
        solid.thickness, solid.offset, solid.use_even_offset = shell.thickness, 0, False
        solid.material_offset_rim = shell.rim
    return part
