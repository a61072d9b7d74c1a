"""What happens to things before they are thrown away: creases, dents, curls, folds, tears."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from device.common.arrays import Float64Array


def facets(rng: np.random.Generator, x: Float64Array, y: Float64Array, count: int, depth: float) -> Float64Array:
    """A height over x and y of flat triangles that meet in creases, as in stiff sheet: about `count` corners, normal heights of `depth`."""
    (x0, x1), (y0, y1) = (x.min(), x.max()), (y.min(), y.max())
    edge_x, edge_y = 0.15 * (x1 - x0), 0.15 * (y1 - y0)
    corners = int(count * 1.7)
    scattered = np.c_[rng.uniform(x0 - edge_x, x1 + edge_x, corners), rng.uniform(y0 - edge_y, y1 + edge_y, corners)]
    far = [(x0 - 9, y0 - 9), (x1 + 9, y0 - 9), (x0 - 9, y1 + 9), (x1 + 9, y1 + 9)]
    return np.asarray(LinearNDInterpolator(np.r_[scattered, far], np.r_[rng.normal(size=corners), 0, 0, 0, 0])(x, y) * depth)


@dataclass(frozen=True, slots=True)
class Layers:
    """Layers of creases: each has `finer` times as many corners and `fainter` times the depth of the one before."""

    count: int = 3
    finer: float = 2.6
    fainter: float = 0.5


THREE_LAYERS = Layers()


def crumpled(rng: np.random.Generator, x: Float64Array, y: Float64Array, corners: int, depth: float, layers: Layers = THREE_LAYERS) -> Float64Array:
    """Creases within creases. corners, depth: of the first layer."""
    heights = (facets(rng, x, y, int(corners * layers.finer**k), depth * layers.fainter**k) for k in range(layers.count))
    return sum(heights, np.zeros_like(x))


def dented(rng: np.random.Generator, points: Float64Array, count: int, depth: float, low: float, high: float) -> Float64Array:
    """Push faceted dents into a turned surface between two heights; it swells a little where it is not pushed."""
    x, y, z = np.moveaxis(points, -1, 0)
    radius = np.hypot(x, y)
    reach = radius.max()
    angle = np.arctan2(y, x)
    east, north = reach * np.cos(angle), reach * np.sin(angle)
    push = np.zeros_like(z)
    for k in range(2):
        many, deep = int(count * 2.5**k), depth * 0.5**k
        push += facets(rng, 2 * east + 0.7 * north, z, many, deep) + facets(rng, 2 * north, z, many, deep)
    within = np.clip((z - low) / 0.12, 0, 1) * np.clip((high - z) / 0.12, 0, 1)
    scale = 1 + np.minimum(push * within, 0.03) * np.clip(radius / reach, 0, 1) ** 2 / np.maximum(radius, 0.05)
    scale = np.clip(scale, 0.55, 1.06)
    return np.stack([x * scale, y * scale, z], axis=-1)


def balled(rng: np.random.Generator, points: Float64Array, radius: float, folds: int, start: float, squash: float = 1.0) -> Float64Array:
    """Fold a sheet into a ball: mirror whatever sticks out of ever smaller planes about its middle, the way a hand does."""
    points = points - points.reshape(-1, 3).mean(axis=0)
    for distance in np.geomspace(start, radius, folds):
        normal = rng.normal(size=3)
        normal /= np.linalg.norm(normal)
        beyond = points @ normal - distance * rng.uniform(0.75, 1.05)
        points = points - 2 * np.maximum(beyond, 0)[..., None] * normal
    points[..., 2] *= squash
    return points


def curled(points: Float64Array, axis: int, curvature: float, start: float) -> Float64Array:
    """Roll up the part of a flat sheet beyond `start` along x (0) or y (1); curvature in 1/dm."""
    points = points.copy()
    beyond = np.maximum(points[..., axis] - start, 0)
    points[..., axis] = np.where(beyond > 0, start + np.sin(beyond * curvature) / curvature, points[..., axis])
    points[..., 2] += (1 - np.cos(beyond * curvature)) / curvature
    return points


def bent(points: Float64Array, axis: int, at: float, angle: float) -> Float64Array:
    """Fold a flat sheet up along a line, by an angle in radians."""
    points = points.copy()
    beyond = np.maximum(points[..., axis] - at, 0)
    points[..., axis] = np.minimum(points[..., axis], at) + beyond * np.cos(angle)
    points[..., 2] += gaussian_filter(beyond, 1.2) * np.sin(angle)
    return points


@dataclass(frozen=True, slots=True)
class TornSheet:
    """A sheet with some edges torn. points: rows x columns x 3; uv: where each point was in the whole sheet, 0..1.

    left, right, bottom, top: where the edge runs, in 0..1 of the whole sheet, per row or column; torn: which of the four were torn.
    """

    points: Float64Array
    uv: Float64Array
    left: Float64Array
    right: Float64Array
    bottom: Float64Array
    top: Float64Array
    torn: tuple[bool, bool, bool, bool]


def tear_line(rng: np.random.Generator, steps: int, bite: float, raggedness: float) -> Float64Array:
    """How far a tear reaches in, per step: a slanting, wandering line with ever finer notches, from 0 up, in dm."""
    along = np.linspace(-1, 1, steps)
    line = bite * (1 + rng.uniform(-0.8, 0.8) * along)
    for share, size in ((1 / 4, 1.0), (1 / 12, 0.5), (1 / 36, 0.2), (1 / 100, 0.08)):
        noise = gaussian_filter1d(rng.normal(size=steps), max(0.6, steps * share / 3), mode="nearest")
        line = line + noise / (noise.std() + 1e-9) * raggedness * size
    return np.maximum(line, 0.0)


@dataclass(frozen=True, slots=True)
class Tear:
    """How a sheet is torn. sides: which of left, right, bottom, top; bite: how far the tear reaches in, dm; raggedness: size of its notches, dm."""

    sides: tuple[bool, bool, bool, bool]
    bite: float
    raggedness: float


def torn_sheet(rng: np.random.Generator, width: float, height: float, columns: int, tear: Tear) -> TornSheet:
    """A flat sheet torn along some of left, right, bottom, top. The grid is squeezed up to the tear, so its edge is as fine as the grid."""
    rows = max(2, round(columns * height / width))

    def inset(which: int, steps: int, length: float) -> Float64Array:
        return tear_line(rng, steps, tear.bite, tear.raggedness) / length if tear.sides[which] else np.zeros(steps)

    left, right = inset(0, rows, width), 1 - inset(1, rows, width)
    bottom, top = inset(2, columns, height), 1 - inset(3, columns, height)
    u, v = np.meshgrid(np.linspace(0, 1, columns), np.linspace(0, 1, rows))
    across = left[:, None] + u * (right - left)[:, None]
    up = bottom[None] + v * (top - bottom)[None]
    points = np.stack([(across - 0.5) * width, (up - 0.5) * height, np.zeros_like(u)], axis=-1)
    return TornSheet(points, np.stack([across, up], axis=-1), left, right, bottom, top, tear.sides)
