"""Calibration: the photos that show the converter which values each tensor takes."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from converter.photos import Photo, read_pixels
from device.vision.preprocess import Pixels, to_input


def choose(photos: Sequence[Photo], n: int, seed: int) -> tuple[Photo, ...]:
    """Draw `n` photos, as equally over the labels as they last, and return them in the order drawn.

    Every label counts the same, so a rare one is not left to chance. All photos are taken when there are at most `n`.
    """
    rng = np.random.default_rng(seed)
    drawn: list[tuple[int, str, Photo]] = []
    for label in sorted({photo.label for photo in photos}):
        own = sorted(photo for photo in photos if photo.label == label)
        drawn += [(turn, label, own[i]) for turn, i in enumerate(rng.permutation(len(own)))]
    drawn.sort(key=lambda draw: draw[:2])
    return tuple(photo for _, _, photo in drawn[:n])


class Inputs:
    """What the device would give the network for each photo: size x size x 3 uint8, RGB. Decoded anew each time they are gone through.

    Going through them raises PhotosError for a photo that cannot be decoded. With `full_range`, two pixels of the first one are made black
    and white: a range that photos alone leave to chance would break the promise that camera bytes go in untouched.
    """

    def __init__(self, photos: Sequence[Photo], size: int, *, full_range: bool = False) -> None:
        self._photos, self._size, self._full_range = photos, size, full_range

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, number: int) -> Pixels:
        picture = to_input(read_pixels(self._photos[number].path), self._size)
        if self._full_range and number == 0:
            picture[0, 0], picture[0, 1] = 0, 255
        return picture

    def __iter__(self) -> Iterator[Pixels]:
        return (self[number] for number in range(len(self)))


def fingerprint(photos: Sequence[Photo], *, names: bool) -> str:
    """sha256 over the photos' bytes in the order given; with `names`, each photo's name, a zero byte and its length go before its bytes."""
    total = hashlib.sha256()
    for photo in photos:
        content = photo.path.read_bytes()
        if names:
            total.update(f"{photo.name}\0{len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()
