"""Taking one picture of a series: the scene is built anew for each, so that a picture depends on its own description alone."""

from dataclasses import dataclass

import numpy as np

from training.render import chamber, sensor
from training.render.album import OutOfView, Taken
from training.render.items import bottles, boxes, cans, cups, foil, paper, wrappers
from training.render.places import CUT_OFF, Place, ShotVariation, Wanted, drifted, spot, steady
from training.render.shots import Shot

FAMILIES = (bottles, boxes, cans, cups, foil, paper, wrappers)

PROBE = (80, 60)
LEAST_SHARE = 4e-4
"""of the picture that an item has to cover, or it is put elsewhere"""
LEAST_IN_VIEW = 0.25
TRIES = 6


@dataclass(frozen=True, slots=True)
class Studio:
    """Takes pictures in Blender.

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

    def meter(self, place: Place) -> float:
        """The exposure at which the empty place is as bright as its camera wants it."""
        chamber.build(place, steady(place), PROBE)
        return sensor.gain(chamber.photograph(24, place.seed), place.sensor)

    def take(self, shot: Shot, exposure: float) -> Taken:
        """Take a picture of an item or, where the shot has none, an empty view. Raises OutOfView when the item cannot be seen."""
        rng = shot.generator()
        drift = drifted(shot.place, rng)
        if shot.kind is None:
            chamber.build(shot.place, drift, self.traced)
            return Taken(self._developed(shot, chamber.photograph(2 * self.samples, shot.place.seed), exposure, drift, rng))
        for _ in range(TRIES):
            chamber.build(shot.place, drift, self.traced)
            item = chamber.posed(shot.kind.build(rng), shot.place, rng)
            wanted = CUT_OFF if rng.random() < self.cut_off else Wanted()
            where = spot(shot.place, item.points, wanted, self.size[0] / self.size[1], rng)
            if where.in_view < LEAST_IN_VIEW:
                continue
            item = chamber.put(item, where)
            light = chamber.photograph(self.samples, shot.place.seed)
            mask = chamber.silhouette(item, shot.place.camera.nudged(*drift.turn_deg), self.size)
            if (mask > 0).mean() >= LEAST_SHARE:
                return Taken(self._developed(shot, light, exposure, drift, rng), mask, where.in_view)
        raise OutOfView(f"{shot.image}: a {shot.kind.name} cannot be brought into view")

    def _developed(self, shot: Shot, light: chamber.Light, exposure: float, drift: ShotVariation, rng: np.random.Generator) -> bytes:
        camera = shot.place.sensor
        return sensor.jpeg(sensor.develop(light, camera, exposure, drift.gains, self.size, rng), camera.quality)
