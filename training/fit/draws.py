"""Which photos an epoch shows: more of rare labels and small places, less of a place whose surroundings give the label away."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from converter.data.photos import Photo
from device.common.arrays import Float64Array
from training.fit.recipe import RecipeError

DATA_SET = "data"
"""the name in `places` of photos of the data set itself"""


@dataclass(frozen=True, eq=False)
class Draws:
    """shares: (N,) how often each photo is drawn, summing to 1. count: how many photos an epoch draws."""

    shares: Float64Array
    count: int

    def draw(self, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        """Indices of the photos of an epoch, in random order: each photo share * count times, rounded down or up (systematic sampling)."""
        order = rng.permutation(len(self.shares))
        ends = np.cumsum(self.shares[order])
        picks = np.searchsorted(ends / ends[-1], (rng.random() + np.arange(self.count)) / self.count, side="right")
        return rng.permutation(order[np.minimum(picks, len(order) - 1)])


def draw_shares(photos: Sequence[Photo], balance: float, places: Mapping[str, float]) -> Float64Array:
    """How often each photo is drawn, (N,), summing to 1. Raises RecipeError where `places` leaves nothing.

    A label is drawn by its number of photos to the power 1 - balance, then one of its places in the same way, times its factor in `places`, then any
    photo of that label and place.
    """
    place_of = [photo.place or DATA_SET for photo in photos]
    labels = Counter(photo.label for photo in photos)
    cells = Counter((photo.label, place) for photo, place in zip(photos, place_of, strict=True))
    weights = {cell: places.get(cell[1], 1.0) * count ** (1 - balance) for cell, count in cells.items()}
    of_label: defaultdict[str, float] = defaultdict(float)
    for (label, _), weight in weights.items():
        of_label[label] += weight
    shown = {label: labels[label] ** (1 - balance) for label, weight in of_label.items() if weight > 0}
    if not shown:
        raise RecipeError("places: expected a factor above 0 for at least one place")
    whole = sum(shown.values())
    share = {cell: shown[cell[0]] / whole * weight / of_label[cell[0]] / cells[cell] if cell[0] in shown else 0.0 for cell, weight in weights.items()}
    return np.array([share[photo.label, place] for photo, place in zip(photos, place_of, strict=True)])
