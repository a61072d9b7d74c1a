"""Places drawn by chance, for training material: any walls, floor, lamps and camera that a bin might have. Needs no Blender."""

import math
from dataclasses import replace

import numpy as np

from training.render.appearance.finishes import LOOKS, Colour, Finish
from training.render.places import SIDES, Camera, Fitting, Floor, Lamp, Panel, Place, Point
from training.render.random_choice import pick, toss
from training.render.sensor import Sensor

Rng = np.random.Generator


def place(seed: int, number: int) -> Place:
    """The number-th place of the series that `seed` names: always the same, and another one for every number."""
    rng = np.random.default_rng([seed, number, 90_001])
    inside = toss(rng, 0.75)  # a bin's inside, else a table, a bench, a room's floor
    width, depth = (float(v) for v in rng.uniform(2.8, 5.0, 2)) if inside else (9.0, 9.0)
    height = _spread(rng, 1.5, 5.0) if inside else 8.0
    floor = _floor(rng, inside)
    reach = min(1.4, 0.36 * min(width, depth))
    camera = _camera(rng, inside, (width, depth, height), floor)
    if floor.kind in ("bars", "grid"):
        floor, camera = _from_below(np.random.default_rng([seed, number, 90_002]), floor, camera)
    walls = _walls(rng, inside, (width, depth, height), camera)
    ambient = _ambient(rng, "lid" in walls)
    panels = _panels(rng, walls, camera)
    return Place(
        f"s{seed}-{number:05d}",
        (width, depth, height),
        walls,
        floor,
        camera,
        _sensor(rng),
        _lamps(rng, (width, depth, height), camera, closed="lid" in walls, dark=max(ambient) < 0.05 and not panels),
        panels,
        ambient,
        _fittings(rng, walls, (width, depth, height), camera),
        reach,
        jitter=_spread(rng, 0.02, 0.12),
        shake_deg=pick(rng, (0.0, 0.0, 0.05, 0.15)),
        seed=int(rng.integers(2**31)),
    )


def _spread(rng: Rng, low: float, high: float) -> float:
    """Between two positive numbers, each doubling as likely."""
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))


def _colour(rng: Rng, grey: float) -> Colour:
    """About a grey of 0..255, mostly dull."""
    tone = np.clip(grey * np.exp(rng.normal(0, 1, 3) * pick(rng, (0.02, 0.05, 0.15, 0.45))), 4, 245)
    r, g, b = (int(v) for v in tone)
    return r, g, b


def _finish(rng: Rng) -> Finish:
    """Dark, grey, white, coloured, metal, wood, board or patterned; new or worn."""
    what = pick(rng, ("dark", "dark", "dark", "grey", "white", "metal", "metal", "wood", "concrete", "card", "patterned", "patterned"))
    wear, seed = float(rng.uniform(0, 1)) ** 1.5, int(rng.integers(2**31))
    rough, relief = float(rng.uniform(0.2, 0.9)), pick(rng, (0.0, 0.0, 0.1, 0.3))
    if what == "metal":
        grey = _colour(rng, rng.uniform(110, 215))
        return Finish("brushed", grey, roughness=float(rng.uniform(0.18, 0.5)), metallic=1.0, relief=relief / 2, wear=wear, seed=seed)
    if what == "wood":
        tone = np.array((188, 138, 90)) * rng.uniform(0.35, 1.2)
        r, g, b = (int(v) for v in np.clip(tone * np.exp(rng.normal(0, 0.06, 3)), 8, 240))
        return Finish("wood", (r, g, b), roughness=rough, coat=pick(rng, (0.0, 0.0, 0.4)), wear=wear, repeats=float(rng.uniform(2, 12)), seed=seed)
    if what == "card":
        brown = 172 + int(rng.integers(-20, 20)), 132 + int(rng.integers(-16, 16)), 92
        return Finish("card", _colour(rng, 150) if toss(rng, 0.2) else brown, roughness=0.9, wear=wear, seed=seed)
    if what == "concrete":
        return Finish("concrete", _colour(rng, rng.uniform(80, 170)), roughness=0.85, relief=relief, wear=wear, seed=seed)
    if what == "patterned":
        look = pick(rng, [name for name in LOOKS if name not in ("plain", "brushed", "wood", "concrete", "card")])
        first, second = _colour(rng, _spread(rng, 20, 230)), _colour(rng, _spread(rng, 10, 240))
        return Finish(look, first, second, roughness=rough, relief=relief, wear=wear, repeats=_spread(rng, 3, 30), seed=seed)
    brightness = {"dark": _spread(rng, 10, 60), "grey": float(rng.uniform(70, 160)), "white": float(rng.uniform(190, 240))}[what]
    return Finish("plain", _colour(rng, brightness), roughness=rough, coat=pick(rng, (0.0, 0.0, 0.5)), relief=relief, wear=wear, seed=seed)


def _floor(rng: Rng, inside: bool) -> Floor:
    kind = pick(rng, ("plain", "plain", "plain", "plain", "belt", "rails", "bars", "grid", "vee", "bowl")) if inside else "plain"
    if kind in ("rails", "bars", "grid"):
        radius = float(rng.uniform(0.025, 0.11))
        pitch = float(rng.uniform(0.35, 0.6)) if kind == "rails" else float(rng.uniform(0.22, 0.55))
        bars = _finish(rng)
        return Floor(kind, bars, _finish(rng), max(pitch, 2.5 * radius), radius, int(rng.integers(2, 4)), drop=float(rng.uniform(0.4, 2.0)))
    if kind == "belt":
        grey, wear, seed = _colour(rng, _spread(rng, 14, 80)), float(rng.uniform(0, 1)), int(rng.integers(2**31))
        rubber = Finish("plain", grey, roughness=0.7, relief=0.3, wear=wear, seed=seed)
        return Floor("belt", rubber, pitch=float(rng.uniform(0.3, 1.2)), radius=float(rng.uniform(0.04, 0.15)))
    if kind == "bowl":
        return Floor("bowl", _finish(rng), _finish(rng), radius=float(rng.uniform(2.4, 4.0)), drop=0.3)
    return Floor(kind, _finish(rng), slope_deg=float(rng.uniform(12, 35)))


def _camera(rng: Rng, inside: bool, size: Point, floor: Floor) -> Camera:
    """From above, aslant, or from the side; inside the walls, or looking in from above."""
    width, depth, _ = size
    view = pick(rng, ("above", "aslant", "aslant", "side"))
    if floor.kind in ("rails", "bars", "grid", "vee", "bowl") and view == "side":
        view = "aslant"
    low, high = {"above": (62, 90), "aslant": (28, 62), "side": (6, 28)}[view]
    tilt, bearing = math.radians(rng.uniform(low, high)), rng.uniform(0, math.tau)
    fov = float(rng.uniform(42, 80))
    target = np.array((*rng.normal(0, 0.15, 2), rng.uniform(0.1, 0.6)))
    seen = _spread(rng, 2.2, 5.5)  # decimetres across the picture at the target
    away = seen / (2 * math.tan(math.radians(fov) / 2))
    toward = np.array((math.cos(tilt) * math.cos(bearing), math.cos(tilt) * math.sin(bearing), math.sin(tilt)))
    if inside and view == "side":
        room = np.array((width, depth)) / 2 - 0.1
        away = min(away, *(float((room[axis] - abs(target[axis])) / max(abs(toward[axis]), 1e-3)) for axis in (0, 1)))
    x, y, z = (float(v) for v in target + toward * max(away, 1.1))
    roll = float(rng.normal(0, 6)) if view != "above" else float(rng.uniform(-180, 180))
    a, b, c = (float(v) for v in target)
    return Camera((x, y, max(z, 0.25)), (a, b, c), fov, roll)


def _from_below(rng: Rng, floor: Floor, camera: Camera) -> tuple[Floor, Camera]:
    """Now and then, what lies on bars is looked at from under them, there is no bottom, and what is small is caught between them."""
    if not toss(rng, 0.25):
        return floor, camera
    x, y = (float(v) for v in rng.normal(0, 0.6, 2))
    below = Camera((x, y, -_spread(rng, 1.8, 4.0)), (0.0, 0.0, 0.1), float(rng.uniform(45, 75)), float(rng.uniform(-180, 180)))
    return replace(floor, under=None, drop=0.1), below


def _walls(rng: Rng, inside: bool, size: Point, camera: Camera) -> dict[str, Finish]:
    """Those that do not stand before the camera; often all of one finish. A table may have a wall at its far side."""
    width, depth, height = size
    x, y, z = camera.position
    before = {"left": x < -width / 2, "right": x > width / 2, "front": y < -depth / 2, "back": y > depth / 2, "lid": z > height}
    one = _finish(rng) if toss(rng, 0.5) else None
    if not inside:
        return {side: _finish(rng) for side in pick(rng, ((), (), ("back",), ("left", "back"))) if not before[side]}
    missing = {side for side in SIDES if toss(rng, 0.5 if side == "lid" else 0.1)}
    return {side: one or _finish(rng) for side in SIDES if not before[side] and side not in missing}


def _light(rng: Rng) -> Point:
    """White of any warmth, now and then a colour."""
    warmth = rng.uniform(-1, 1)
    r, g, b = (1 + 0.35 * warmth, 1.0, 1 - 0.45 * warmth) if toss(rng, 0.85) else tuple(float(v) for v in rng.uniform(0.15, 1.0, 3))
    return float(r), float(g), float(b)


def _ambient(rng: Rng, closed: bool) -> Point:
    strength = 0.0 if closed and toss(rng, 0.7) else _spread(rng, 0.01, 1.0)
    r, g, b = (strength * c for c in _light(rng))
    return r, g, b


def _panels(rng: Rng, walls: dict[str, Finish], camera: Camera) -> tuple[Panel, ...]:
    """A window or a back light, mostly across from the camera; or a strip."""
    sides = [side for side in walls if side != "lid"]
    if not sides or not toss(rng, 0.35):
        return ()
    x, y, _ = camera.position
    across = {"left": x, "right": -x, "front": y, "back": -y}
    side = max(sides, key=lambda name: across[name]) if toss(rng, 0.7) else pick(rng, sides)
    window = float(rng.uniform(0.2, 0.95)), float(rng.uniform(0.2, 0.9))
    half = pick(rng, (window, window, window, (0.9, 0.05), (0.05, 0.8)))
    middle = float(rng.uniform(-1, 1) * (1 - half[0])), float(rng.uniform(-1, 1) * (1 - half[1]))
    return (Panel(side, middle, half, _light(rng), _spread(rng, 2, 20)),)


def _lamps(rng: Rng, size: Point, camera: Camera, *, closed: bool, dark: bool) -> tuple[Lamp, ...]:
    """None to two, at least one in the dark; inside a closed chamber, else as well high above it, or beside the camera."""
    lamps = []
    width, depth, height = size
    for _ in range(max(int(dark), int(rng.integers(0, 3)))):
        kind = pick(rng, ("area", "area", "area", "bulb", "spot", "flash"))
        if kind == "flash":
            x, y, z = (float(v) for v in np.array(camera.position) + rng.normal(0, 0.2, 3))
            lamps.append(Lamp("bulb", (x, y, z if z < 0 else max(z, 0.2)), _light(rng), _spread(rng, 8, 40), _spread(rng, 0.03, 0.2)))
            continue
        high = height * rng.uniform(0.75, 0.95) if closed else height + _spread(rng, 0.5, 6.0)
        aside = 0.42 if closed else 1.2
        x, y = float(rng.uniform(-aside, aside) * width), float(rng.uniform(-aside, aside) * depth)
        power = _spread(rng, 8, 60) * (x * x + y * y + high * high) / 4
        x_aim, y_aim = (float(v) for v in rng.normal(0, 0.4, 2))
        lamps.append(Lamp(kind, (x, y, float(high)), _light(rng), power, _spread(rng, 0.1, 2.0), (x_aim, y_aim, 0.0)))
    return tuple(lamps)


def _sensor(rng: Rng) -> Sensor:
    white = np.exp(rng.normal(0, pick(rng, (0.02, 0.06, 0.15)), 3))
    r, g, b = (float(v) for v in white / white.mean())
    return Sensor(
        brightness=_spread(rng, 0.06, 0.5),
        auto=pick(rng, (0.0, 0.0, 0.4, 0.8)),
        white=(r, g, b),
        shoulder=toss(rng, 0.6),
        vignetting=float(rng.uniform(0, 0.4)),
        flare=pick(rng, (0.0, 0.02, 0.06, 0.15)),
        blur_px=float(rng.uniform(0.2, 1.0)),
        noise=_spread(rng, 3e-5, 4e-3),
        sharpening=float(rng.uniform(0, 0.8)),
        quality=int(rng.integers(45, 95)),
    )


def _fittings(rng: Rng, walls: dict[str, Finish], size: Point, camera: Camera) -> tuple[Fitting, ...]:
    """Brackets, sensors and pipes along the walls, clear of the camera."""
    width, depth, height = size
    out: list[Fitting] = []
    sides = [side for side in walls if side != "lid"]
    for _ in range(pick(rng, (0, 0, 1, 2, 3)) if sides else 0):
        side, along, up = pick(rng, sides), rng.uniform(-0.45, 0.45), rng.uniform(0.05, 0.9) * height
        x, y = {
            "left": (-width / 2, along * depth),
            "right": (width / 2, along * depth),
            "front": (along * width, -depth / 2),
            "back": (along * width, depth / 2),
        }[side]
        a, b, c = (_spread(rng, 0.1, 0.8) for _ in range(3))
        if np.linalg.norm(np.subtract((x, y, up), camera.position)) > 1.2:
            out.append(Fitting((float(x), float(y), float(up)), (a, b, c), float(rng.uniform(0, 90)), _finish(rng)))
    return tuple(out)
