"""Calibration photos: those with which the quantizer finds the value range of each tensor. Half of them are shown isolated."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass

import numpy as np

from converter.common.parallel_map import parallel_map
from converter.data.isolated_view import GROUND, PhotoView, can_be_isolated, isolated_view, try_isolate, whole_view
from converter.data.photos import Photo, report_all_unreadable
from device.vision.inference.ground import Ground
from device.vision.inference.preprocess import Pixels, to_input


def choose_photos(photos: Sequence[Photo], n: int, seed: int) -> tuple[Photo, ...]:
    """Draw `n` photos at random, in equal numbers for each label while they last, and return them in the order drawn.

    Equal numbers ensure that rare labels are among them. If there are at most `n` photos, all are returned.
    """
    rng = np.random.default_rng(seed)
    drawn: list[tuple[int, str, Photo]] = []
    for label in sorted({photo.label for photo in photos}):
        own = sorted(photo for photo in photos if photo.label == label)
        drawn += [(turn, label, own[i]) for turn, i in enumerate(rng.permutation(len(own)))]
    drawn.sort(key=lambda draw: draw[:2])
    return tuple(photo for _, _, photo in drawn[:n])


def thin_photos(photos: Sequence[Photo], step: int) -> tuple[Photo, ...]:
    """Of each label the first photo and every `step`-th after it, in their order. Labels keep their shares, and none is lost."""
    so_far: Counter[str] = Counter()
    thinned = []
    for photo in photos:
        if so_far[photo.label] % step == 0:
            thinned.append(photo)
        so_far[photo.label] += 1
    return tuple(thinned)


def photos_to_isolate(photos: Sequence[Photo]) -> frozenset[Photo]:
    """Every second photo of each label whose item can be isolated. Raises PhotosError."""
    counts: Counter[tuple[str, bool]] = Counter()
    found = set()
    for photo in photos:
        alone = counts[photo.label, True] < counts[photo.label, False] and can_be_isolated(photo)
        counts[photo.label, alone] += 1
        if alone:
            found.add(photo)
    return frozenset(found)


def isolated_inputs(photos: Sequence[Photo], size: int, ground: Ground = GROUND) -> tuple[list[Pixels], int]:
    """The network's inputs for the isolated item of each photo, size x size x 3 uint8 RGB, and how many could be isolated.

    The other photos are whole. Raises PhotosError.
    """

    def make_worker() -> Callable[[int], tuple[Pixels, bool]]:
        def load(number: int) -> tuple[Pixels, bool]:
            pixels, isolated = try_isolate(photos[number], ground)
            return to_input(pixels, size), isolated

        return load

    rows = list(parallel_map(len(photos), make_worker))
    return [picture for picture, _ in rows], sum(alone for _, alone in rows)


@dataclass(frozen=True)
class CalibrationPhotos:
    """Photos that the quantizer is calibrated with, in the order drawn. isolated: those of which the network sees the item alone, on `ground`."""

    photos: tuple[Photo, ...]
    isolated: Set[Photo] = frozenset()
    ground: Ground = GROUND

    def view(self, photo: Photo) -> Pixels:
        """What the network sees of a photo: H x W x 3 uint8 RGB. Raises PhotosError."""
        return isolated_view(photo, self.ground) if photo in self.isolated else whole_view(photo)

    def inputs(self, size: int, most: int | None = None, *, full_range: bool = False) -> "NetworkInputs":
        """The network's inputs for the first `most` photos, or for all. size, full_range: as for `NetworkInputs`."""
        return NetworkInputs(self.photos[:most], size, view=self.view, full_range=full_range)


class NetworkInputs:
    """The network's input for each photo, as the device makes it: size x size x 3 uint8, RGB. A photo is decoded each time it is read.

    view: how a photo is shown, whole by default. full_range: two pixels of the first photo are made black and white. Only then is the input range
    surely 0..255, so that camera bytes can go in unchanged.

    Reading raises PhotosError for a photo that cannot be decoded; the message names all such photos.
    """

    def __init__(self, photos: Sequence[Photo], size: int, *, view: PhotoView = whole_view, full_range: bool = False) -> None:
        self._photos, self._size, self._view, self._full_range = photos, size, view, full_range

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, number: int) -> Pixels:
        with report_all_unreadable(self._photos):
            picture = to_input(self._view(self._photos[number]), self._size)
        if self._full_range and number == 0:
            picture[0, 0], picture[0, 1] = 0, 255
        return picture

    def all(self) -> list[Pixels]:
        """All inputs as a list, decoded on all processors."""
        return list(parallel_map(len(self), lambda: self.__getitem__))

    def __iter__(self) -> Iterator[Pixels]:
        return (self[number] for number in range(len(self)))


def fingerprint(photos: Sequence[Photo], *, names: bool) -> str:
    """The sha256 of the photos' bytes, in the order given. names: each photo's name, a zero byte and its length go before its bytes."""
    total = hashlib.sha256()
    for photo in photos:
        content = photo.path.read_bytes()
        if names:
            total.update(f"{photo.name}\0{len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()
