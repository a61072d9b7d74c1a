"""Items for the virtual tray: cutouts with alpha that ship with Sortbin, or photos of the user."""

import itertools
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from device.common.arrays import Float32Array
from device.common.errors import SortbinError
from device.vision.inference.images import SUFFIXES, PictureError, read_pixels
from device.vision.inference.preprocess import Pixels

log = logging.getLogger(__name__)

ITEMS = Path(__file__).parent / "items"


class ItemsError(SortbinError, ValueError):
    """A folder of items that cannot be used. The message names it and what was expected."""


@dataclass(frozen=True)
class VirtualItem:
    """An item to throw in. label: the true label, None if unknown. size_cm: the longest side of a cutout, None for a photo.

    A photo covers most of the view, as a print on the tray does.
    """

    name: str
    label: str | None
    file: Path
    size_cm: float | None

    def picture(self) -> tuple[Pixels, Float32Array]:
        """Decode the file: H x W x 3 uint8 RGB, and alpha H x W float32 0..1. Raises ItemsError."""
        if self.size_cm is None:
            try:
                rgb = read_pixels(self.file)
            except PictureError as error:
                raise ItemsError(str(error)) from error
            return rgb, np.ones(rgb.shape[:2], np.float32)
        try:
            encoded = np.fromfile(self.file, np.uint8)
            picture = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
        except (OSError, cv2.error) as error:
            reason = error.strerror if isinstance(error, OSError) else error.err
            raise ItemsError(f"{self.file}: not a picture that can be decoded: {reason}") from error
        if picture is None:
            raise ItemsError(f"{self.file}: not a picture that can be decoded")
        if picture.ndim == 3 and picture.shape[2] == 4:
            rgb = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGRA2RGB), np.uint8)
            return rgb, picture[..., 3].astype(np.float32) / np.float32(255)
        rgb = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
        return rgb, np.ones(rgb.shape[:2], np.float32)


def shipped_items() -> list[VirtualItem]:
    """The cutouts that ship with Sortbin, sorted by name."""
    listed = json.loads((ITEMS / "items.json").read_text(encoding="utf-8"))
    return [VirtualItem(entry["kind"], entry["label"], ITEMS / entry["file"], entry["size_cm"]) for entry in listed]


def photo_items(folder: Path) -> list[VirtualItem]:
    """Photos in one folder for each label, named after it, or in a single folder without labels.

    Raises ItemsError when there is no photo, or a folder may not be read.
    """
    try:
        if not folder.is_dir():
            raise ItemsError(f"{folder}: expected a folder of photos, or of a folder for each label")
        loose = [VirtualItem(path.stem, None, path, None) for path in _pictures(folder)]
        labelled = [
            VirtualItem(path.stem, below.name, path, None) for below in sorted(folder.iterdir()) if below.is_dir() for path in _pictures(below)
        ]
    except OSError as error:
        raise ItemsError(f"{error.filename}: {error.strerror}; expected a folder of photos, or of a folder for each label") from error
    items = labelled or loose
    if not items:
        raise ItemsError(f"{folder}: expected photos in it or in folders below it, found none ({', '.join(sorted(SUFFIXES))})")
    return items


def endless_items(items: Sequence[VirtualItem], seed: int) -> Iterator[VirtualItem]:
    """The items again and again, each time in another random order. An item that cannot be decoded is skipped and logged once.

    Raises ItemsError when none is left.
    """
    left = list(items)
    for turn in itertools.count():
        for item in shuffled(left, seed + turn):
            try:
                item.picture()
            except ItemsError as error:
                left.remove(item)
                log.warning("%s, left out", error)
            else:
                yield item
        if not left:
            raise ItemsError(f"{items[0].file.parent}: expected photos, found none that can be decoded")


def shuffled(items: Sequence[VirtualItem], seed: int) -> list[VirtualItem]:
    """The items in a random order that mixes the labels evenly, so that a short run has all of them."""
    rng = np.random.default_rng(seed)
    by_label: dict[str | None, list[VirtualItem]] = {}
    for i in rng.permutation(len(items)):
        by_label.setdefault(items[i].label, []).append(items[i])
    placed = [((position + rng.random()) / len(own), item) for own in by_label.values() for position, item in enumerate(own)]
    return [item for _, item in sorted(placed, key=lambda pair: pair[0])]


def _pictures(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES]
