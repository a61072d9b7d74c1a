"""A place: real photos from one site, with a folder for each label, and which of them belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.common.progress import Progress
from converter.data.photos import Photo, read_photos
from device.common.errors import SortbinError
from training.left_out.grouping import group_photos

Ints = npt.NDArray[np.integer[Any]]


class PhotoPlaceError(SortbinError, ValueError):
    """Places that cannot be measured. The message names the folder or option and what was expected."""


@dataclass(frozen=True, eq=False)
class PhotoPlace:
    """Photos from one site. groups: of each photo, a number that photos of one item or sequence share."""

    name: str
    folder: Path
    photos: tuple[Photo, ...]
    groups: Ints

    def of_labels(self, labels: Sequence[str]) -> "PhotoPlace":
        """The photos of these labels alone. Raises PhotoPlaceError where there is none."""
        chosen = [number for number, photo in enumerate(self.photos) if photo.label in labels]
        if not chosen:
            found = sorted({photo.label for photo in self.photos})
            raise PhotoPlaceError(f"{self.folder}: no photo of {', '.join(labels)}; found folders {', '.join(found)}")
        return PhotoPlace(self.name, self.folder, tuple(self.photos[number] for number in chosen), self.groups[chosen])

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of its photos, sorted."""
        return tuple(sorted({photo.label for photo in self.photos}))


def read_places(folders: Sequence[Path], group_by: Sequence[str], progress: Progress, most: int | None = None) -> list[PhotoPlace]:
    """Read places and find the groups of their photos. A place is called as its folder.

    group_by: values of `--group-by`, RULE for all places or PLACE=RULE for one; see `grouping`. most: of each label at a place, evenly spaced;
    None for all. Raises PhotoPlaceError for two places of one name and for a rule of no place; GroupingError, PhotosError.
    """
    names = [folder.resolve().name for folder in folders]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise PhotoPlaceError(f"{folders[number]}: a second place called {name}; expected folders of different names")
    rules = _rules_by_place(group_by, names)
    places = []
    for name, folder in zip(names, folders, strict=True):
        photos = _thinned(read_photos(folder), most)
        groups = group_photos(folder, photos, rules.get(name, rules.get("")), progress)
        places.append(PhotoPlace(name, folder, photos, groups))
    return places


def _thinned(photos: Sequence[Photo], most: int | None) -> tuple[Photo, ...]:
    """At most `most` photos of each label, evenly spaced in the order of their names."""
    if most is None:
        return tuple(photos)
    by_label = [[photo for photo in photos if photo.label == label] for label in dict.fromkeys(photo.label for photo in photos)]
    return tuple(own[index] for own in by_label for index in np.linspace(0, len(own) - 1, min(most, len(own))).round().astype(int))


def _rules_by_place(group_by: Sequence[str], names: Sequence[str]) -> Mapping[str, str]:
    """The rule of each place that has one of its own; under an empty name, the rule of all others."""
    rules: dict[str, str] = {}
    for given in group_by:
        place, equals, rule = given.rpartition("=")
        if equals and place not in names:
            raise PhotoPlaceError(f"--group-by {given}: no place is called {place}; expected one of {', '.join(names)}")
        if place in rules:
            raise PhotoPlaceError(f"--group-by {given}: a second rule for {place or 'all places'}; expected one")
        rules[place] = rule
    return rules
