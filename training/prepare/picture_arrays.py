"""All pictures of a source as arrays: the few numbers of each that decide about it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from converter.data.manifest import SPLITS
from device.common.arrays import Float64Array
from training.prepare.layout import Layout
from training.prepare.records import Records

Numbers = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]

UNASSIGNED = -1


@dataclass(frozen=True)
class Catalogue:
    """One entry for each picture, ordered by path.

    ids: in the records. names: labels, sorted; labels: index into them. given: index into SPLITS that the layout says, else UNASSIGNED.
    width, height: pixels, 0 for what cannot be decoded. truncated: a part of it is missing. transparent: some of it was.
    first: index of the first picture with the same pixels.
    hashes: perceptual, meaningful where hashed is set. moments: N x 6, mean of R, G, B, then mean of their squares, 0..1.
    """

    names: tuple[str, ...]
    ids: Numbers
    labels: Numbers
    given: Numbers
    width: Numbers
    height: Numbers
    truncated: Marks
    transparent: Marks
    first: Numbers
    hashes: npt.NDArray[np.uint64]
    hashed: Marks
    moments: Float64Array

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def decodable(self) -> Marks:
        return self.width > 0


def read_catalogue(records: Records, layout: Layout) -> Catalogue:
    """Read the catalogue. Every picture in the records must be inspected and have a label."""
    count = records.count()
    ids, labels, given, width, height = (np.zeros(count, np.int64) for _ in range(5))
    truncated, transparent, hashed = (np.zeros(count, np.bool_) for _ in range(3))
    hashes, halves = np.zeros(count, np.uint64), np.zeros((count, 2), np.uint64)
    moments = np.zeros((count, 6))
    numbers: dict[str, int] = {}
    for index, known in enumerate(records.known()):
        place = layout.place(known.path)
        assert place is not None  # those without one were dropped
        ids[index], width[index], height[index] = known.id, known.width, known.height
        labels[index] = numbers.setdefault(place.label, len(numbers))
        given[index] = SPLITS.index(place.split) if place.split else UNASSIGNED
        truncated[index] = known.fault == "truncated"
        transparent[index] = bool(known.transparent)
        # What cannot be decoded is like nothing, so its own id stands in for the hash of its pixels.
        halves[index] = np.frombuffer(known.pixels, "<u8") if known.pixels else (known.id, 0)
        hashed[index] = known.hash is not None
        hashes[index] = int.from_bytes(known.hash or b"")
        moments[index] = np.frombuffer(known.moments, "<f8")
    names = tuple(sorted(numbers))
    sorted_number = np.array([names.index(name) for name in numbers], np.int64)
    _, lowest, same = np.unique(halves, axis=0, return_index=True, return_inverse=True)
    return Catalogue(
        names,
        ids,
        sorted_number[labels] if count else labels,
        given,
        width,
        height,
        truncated,
        transparent,
        lowest[same.ravel()],
        hashes,
        hashed,
        moments,
    )
