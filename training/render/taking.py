"""Taking one picture of a series: the scene is built anew for each, so that a picture depends on its own description alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.render import bottles, boxes, cans, chamber, cups, foil, paper, sensor, wrappers
from training.render.places import CUT_OFF, Place, Wanted, drifted, spot, steady
from training.render.shots import Shot

FAMILIES = (bottles, boxes, cans, cups, foil, paper, wrappers)

PROBE = (80, 60)
LEAST_SHARE = 4e-4
"""of the picture that an item has to cover, or it is put elsewhere"""
TRIES = 6


@dataclass(frozen=True, slots=True)
class Look:
    """How pictures are taken.

    size: width and height of the picture, px; detail: share of it, each way, that is traced before the lens enlarges it, above 0 to 1;
    samples: light paths per traced pixel; cut_off: share of items that the frame cuts.
    """

    size: tuple[int, int]
    detail: float = 1.0
    samples: int = 12
    cut_off: float = 0.12

    @property
    def traced(self) -> tuple[int, int]:
        """Width and height that are traced."""
        width, height = (max(16, round(side * self.detail)) for side in self.size)
        return width, height


@dataclass(frozen=True, slots=True)
class Taken:
    """A picture as a JPEG file, with the item's mask (height x width uint8, 0 or 255), or no mask for an empty view. in_view: share of it."""

    jpeg: bytes
    mask: npt.NDArray[np.uint8] | None
    in_view: float
    kind: str | None


def exposure(place: Place) -> float:
    """Meter the empty place."""
    chamber.build(place, steady(place), PROBE)
    return sensor.gain(chamber.photograph(24, place.seed), place.sensor)


def take(shot: Shot, look: Look, metered: float) -> Taken:
    """Take a picture. metered: what `exposure` gave for its place. Raises RuntimeError when the item cannot be brought into view."""
    rng = shot.generator()
    drift = drifted(shot.place, rng)
    for _ in range(TRIES):
        chamber.build(shot.place, drift, look.traced)
        if shot.kind is None:
            light = chamber.photograph(2 * look.samples, shot.place.seed)
            return Taken(_developed(shot, look, light, metered, drift.gains, rng), None, 0.0, None)
        item = chamber.posed(shot.kind.build(rng), shot.place, rng)
        wanted = CUT_OFF if rng.random() < look.cut_off else Wanted()
        where = spot(shot.place, item.points, wanted, look.size[0] / look.size[1], rng)
        item = chamber.put(item, where)
        if where.in_view < 0.25:
            continue
        light = chamber.photograph(look.samples, shot.place.seed)
        mask = chamber.silhouette(item, look.size)
        if (mask > 0).mean() >= LEAST_SHARE:
            return Taken(_developed(shot, look, light, metered, drift.gains, rng), mask, where.in_view, shot.kind.name)
    raise RuntimeError(f"{shot.image}: {shot.kind and shot.kind.name} cannot be brought into view in {shot.place.name}")


def _developed(
    shot: Shot, look: Look, light: chamber.Light, metered: float, gains: tuple[float, float, float], rng: np.random.Generator
) -> bytes:
    camera = shot.place.sensor
    return sensor.jpeg(sensor.develop(light, camera, metered, gains, look.size, rng), camera.quality)
