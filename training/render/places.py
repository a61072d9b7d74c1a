"""Places to see waste in: a bin's inside, its floor, its lamps and its camera, all described by numbers. Needs no Blender.

A `Place` stays as it is while items come and go. What still changes from one picture to the next is a `Drift`.
x points right, y away, z up; the floor is z = 0 around the origin. Lengths are in decimetres, light is linear RGB, finishes are sRGB.
"""

import math
from dataclasses import dataclass

import numpy as np

from device.common.arrays import Float64Array
from training.render.appearance.finishes import Finish
from training.render.sensor import Sensor

Point = tuple[float, float, float]

SIDES = ("left", "right", "back", "front", "lid")


@dataclass(frozen=True, slots=True)
class Camera:
    """Where it is, what it looks at, how it is turned about its axis, and how wide it sees (horizontally)."""

    position: Point
    target: Point
    fov_deg: float
    roll_deg: float = 0.0

    def axes(self) -> Float64Array:
        """Right, up and backward as the columns of a 3 x 3 rotation. Looking straight down, up is +y."""
        back = np.subtract(self.position, self.target)
        back = back / np.linalg.norm(back)
        upright = np.array((0.0, 0.0, 1.0)) if abs(back[2]) < 0.999 else np.array((0.0, 1.0, 0.0))
        right = np.cross(upright, back)
        right /= np.linalg.norm(right)
        up = np.cross(back, right)
        c, s = math.cos(math.radians(self.roll_deg)), math.sin(math.radians(self.roll_deg))
        return np.stack([c * right + s * up, c * up - s * right, back], axis=1)

    def project(self, points: Float64Array, aspect: float) -> Float64Array:
        """Where N x 3 points are seen: N x 2, right and down, 0..1 over the picture; NaN behind the camera. aspect: width / height."""
        seen = (points - np.array(self.position)) @ self.axes()
        ahead = np.where(seen[:, 2] < -0.02, -seen[:, 2], np.nan)
        half = math.tan(math.radians(self.fov_deg) / 2)
        return np.stack([0.5 + seen[:, 0] / ahead / (2 * half), 0.5 - seen[:, 1] / ahead / (2 * half) * aspect], axis=1)

    def nudged(self, right_deg: float, up_deg: float) -> "Camera":
        """The same, turned by a little, as a bracket gives."""
        axes = self.axes()
        reach = float(np.linalg.norm(np.subtract(self.target, self.position)))
        moved = np.array(self.target) + reach * (math.tan(math.radians(right_deg)) * axes[:, 0] + math.tan(math.radians(up_deg)) * axes[:, 1])
        x, y, z = (float(v) for v in moved)
        return Camera(self.position, (x, y, z), self.fov_deg, self.roll_deg)


@dataclass(frozen=True, slots=True)
class Lamp:
    """A light. kind: "area" (a soft panel), "bulb" or "spot". size: of what shines; power: watts before exposure, so only ratios count."""

    kind: str
    position: Point
    colour: Point
    power: float
    size: float = 0.5
    aim: Point = (0.0, 0.0, 0.5)


@dataclass(frozen=True, slots=True)
class Panel:
    """Something flat that shines and is seen: a window, a light strip, a back light. centre and half extents on a wall of the chamber."""

    side: str
    centre: tuple[float, float]
    half: tuple[float, float]
    colour: Point
    strength: float


@dataclass(frozen=True, slots=True)
class Floor:
    """What items lie on.

    kind: "plain", "belt" (with a low rib every `pitch`), "rails" (two or three, along y), "bars" (many, along y), "grid" (both ways),
    "vee" (a trough along y) or "bowl". pitch: between bars; radius: of a bar, or of the bowl; slope_deg: of the trough;
    drop: how far below the bars the bottom is; under: its finish.
    """

    kind: str
    finish: Finish
    under: Finish | None = None
    pitch: float = 0.6
    radius: float = 0.06
    bars: int = 2
    slope_deg: float = 25.0
    drop: float = 1.0

    def rows(self, reach: float) -> Float64Array:
        """Where bars are across a floor that reaches from -reach to reach, for one direction."""
        if self.kind == "rails":
            return (np.arange(self.bars) - (self.bars - 1) / 2) * self.pitch
        return np.arange(-math.floor(reach / self.pitch), math.floor(reach / self.pitch) + 1) * self.pitch

    def heights(self, x: Float64Array, y: Float64Array, reach: float) -> Float64Array:
        """How high the floor is at points of the plane, all of one shape."""
        if self.kind == "vee":
            return np.asarray(np.abs(x) * math.tan(math.radians(self.slope_deg)))
        if self.kind == "bowl":
            within = np.clip(self.radius**2 - x**2 - y**2, 0, None)
            return np.asarray(self.radius - np.sqrt(within))
        if self.kind in ("rails", "bars", "grid"):
            high = self._over_bars(x, reach)
            return np.maximum(high, self._over_bars(y, reach)) if self.kind == "grid" else high
        return np.full(np.shape(x), RIB if self.kind == "belt" else 0.0)

    def _over_bars(self, across: Float64Array, reach: float) -> Float64Array:
        off = np.abs(across[..., None] - self.rows(reach)).min(axis=-1)
        return np.where(off < self.radius, np.sqrt(np.clip(self.radius**2 - off**2, 0, None)) - self.radius, -self.drop)


RIB = 0.03
"""height of a belt's ribs"""


@dataclass(frozen=True, slots=True)
class Fitting:
    """Hardware on a wall: a box or a rod that is always in the picture."""

    position: Point
    size: Point
    turn_deg: float
    finish: Finish


@dataclass(frozen=True, slots=True)
class Place:
    """A bin, its light and its camera.

    size: width, depth and height; walls: a finish for each of `SIDES` that is there. A floor without any wall is a table or a room's floor and
    goes on to the horizon. ambient: light from all around, through what is open, linear RGB; reach: half the side of where items are put.
    jitter: how much lamps, exposure and white balance change between pictures, as a standard deviation of their logarithm; shake_deg: how much
    the camera moves.
    """

    name: str
    size: Point
    walls: dict[str, Finish]
    floor: Floor
    camera: Camera
    sensor: Sensor
    lamps: tuple[Lamp, ...] = ()
    panels: tuple[Panel, ...] = ()
    ambient: Point = (0.0, 0.0, 0.0)
    fittings: tuple[Fitting, ...] = ()
    reach: float = 1.2
    jitter: float = 0.05
    shake_deg: float = 0.0
    seed: int = 0

    @property
    def spread(self) -> float:
        """Half of how far the floor goes."""
        return max(self.size[0], self.size[1]) / 2 if self.walls else 40.0


@dataclass(frozen=True, slots=True)
class ShotVariation:
    """How one picture of a place differs from the next: factors on each light, on the exposure and its colours, and a turn of the camera."""

    lamps: tuple[float, ...]
    panels: tuple[float, ...]
    ambient: float
    gains: Point
    turn_deg: tuple[float, float] = (0.0, 0.0)


STEADY_GAINS: Point = (1.0, 1.0, 1.0)


def steady(place: Place) -> ShotVariation:
    """No drift at all."""
    return ShotVariation((1.0,) * len(place.lamps), (1.0,) * len(place.panels), 1.0, STEADY_GAINS)


def drifted(place: Place, rng: np.random.Generator) -> ShotVariation:
    """Lamps age and flicker, the camera's exposure and white balance hunt, its bracket gives."""

    def factors(count: int, deviation: float) -> tuple[float, ...]:
        return tuple(float(v) for v in np.exp(rng.normal(0, deviation, count)))

    lamps, panels = factors(len(place.lamps), place.jitter), factors(len(place.panels), place.jitter)
    (ambient,), (exposure,) = factors(1, 2 * place.jitter), factors(1, place.jitter)
    red, green, blue = factors(3, 0.25 * place.jitter)
    right, up = (float(v) for v in rng.normal(0, place.shake_deg, 2))
    return ShotVariation(lamps, panels, ambient, (exposure * red, exposure * green, exposure * blue), (right, up))


def settled(points: Float64Array, floor: Floor, reach: float) -> float:
    """How far N x 3 points have to be raised (or lowered, below 0) to rest on a floor without sinking in."""
    return float((floor.heights(points[:, 0], points[:, 1], reach) - points[:, 2]).max())


@dataclass(frozen=True, slots=True)
class Spot:
    """Where an item was put: moved by x, y and z, and how much of it the camera has in view, 0..1."""

    move: Point
    in_view: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """Bounds on how much of an item is in view."""

    least: float = 0.985
    most: float = 1.0


CUT_OFF = Wanted(0.45, 0.85)


def spot(place: Place, points: Float64Array, wanted: Wanted, aspect: float, rng: np.random.Generator, tries: int = 60) -> Spot:
    """Find room for an item of N x 3 points around the origin: on the floor, clear of the camera, in view as wanted.

    The first of `tries` random places that will do, else the best of them.
    """
    some = points[:: max(1, len(points) // 1500)]
    best, least_bad = Spot((0.0, 0.0, 0.0), 0.0), math.inf
    reach = place.reach * (1.6 if wanted.most < 1 else 1.0)
    for _ in range(tries):
        x, y = (float(v) for v in rng.uniform(-reach, reach, 2))
        if place.floor.kind in ("rails", "vee"):
            x *= 0.05
        elif place.floor.kind == "bowl":
            x, y = 0.3 * x, 0.3 * y
        moved = some + np.array((x, y, 0.0))
        lift = settled(moved, place.floor, place.spread)
        moved[:, 2] += lift
        bad, in_view = _badness(place, moved, wanted, aspect)
        if bad < least_bad:
            best, least_bad = Spot((x, y, lift), in_view), bad
        if bad == 0:
            break
    return best


def _badness(place: Place, points: Float64Array, wanted: Wanted, aspect: float) -> tuple[float, float]:
    at = place.camera.project(points, aspect)
    with np.errstate(invalid="ignore"):
        in_view = float(((at > 0) & (at < 1)).all(axis=1).mean())
    low, high = points.min(axis=0), points.max(axis=0)
    half = np.array(place.size[:2]) / 2 - 0.02 if place.walls else np.array((place.spread, place.spread))
    through = float(np.clip([*(-half - low[:2]), *(high[:2] - half)], 0, None).sum())
    close = max(0.0, 0.4 - float(np.linalg.norm(points - np.array(place.camera.position), axis=1).min()))
    return max(0.0, wanted.least - in_view) + max(0.0, in_view - wanted.most) + 4 * through + 8 * close, in_view
