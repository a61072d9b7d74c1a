"""What the network is shown of a labelled photo: the whole of it, or its item by itself as a bin that knows its empty view shows it."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from converter.data.light_card import find_item
from converter.data.photos import Photo, read_mask, read_pixels
from device.vision.inference.ground import PLAIN, Ground
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.isolate import LEAST_AREA, paint

PhotoView = Callable[[Photo], Pixels]
"""What the network is shown of a photo: H x W x 3 uint8 RGB. Raises PhotosError."""

GROUND = Ground(PLAIN.colour, 0.35)
"""what bundles are shown round an item unless told otherwise: much of the surroundings helps on pale ground, little of them in busy places"""
ALL_ITEM = 0.9
"""share of a photo from which on its mask is taken for a failure"""


def whole_view(photo: Photo) -> Pixels:
    """The photo as it was taken: H x W x 3 uint8 RGB. Raises PhotosError."""
    return read_pixels(photo.path)


def isolated_view(photo: Photo, ground: Ground = GROUND) -> Pixels:
    """The item as `paint` shows it, by the photo's own mask or else by what stands out from light card: H x W x 3 uint8 RGB.

    A photo whose item cannot be told from its ground is returned whole, as a bin would show it. Raises PhotosError.
    """
    return try_isolate(photo, ground)[0]


def try_isolate(photo: Photo, ground: Ground) -> tuple[Pixels, bool]:
    """As `isolated_view`, and whether the item could be told from its ground. Raises PhotosError."""
    pixels = read_pixels(photo.path)
    mask = _item_mask(photo, pixels)
    return (pixels, False) if mask is None else (paint(pixels, mask, ground), True)


def can_be_isolated(photo: Photo) -> bool:
    """Whether `isolated_view` shows the item by itself. Raises PhotosError."""
    return _item_mask(photo, read_pixels(photo.path)) is not None


def read_given_mask(file: Path, pixels: Pixels) -> Pixels | None:
    """A mask that lies in a file, stretched to the size of its picture: H x W uint8, 0 ground to 255 item, or None where it shows no item or no
    ground. Raises PhotosError.
    """
    mask = read_mask(file)
    if mask.shape != pixels.shape[:2]:
        mask = np.asarray(cv2.resize(mask, (pixels.shape[1], pixels.shape[0]), interpolation=cv2.INTER_AREA), np.uint8)
    return mask if is_plausible_mask(mask) else None


def find_mask_on_card(pixels: Pixels) -> Pixels | None:
    """Where the one item is that lies on light card: H x W uint8, 0 or 255, or None where that cannot be told. pixels: H x W x 3 uint8 RGB."""
    found = find_item(pixels)
    return None if found is None else np.asarray(found, np.uint8) * np.uint8(255)


def is_plausible_mask(mask: Pixels) -> bool:
    """Whether a mask (H x W uint8) shows an item and some ground."""
    return LEAST_AREA <= float((mask > 127).mean()) <= ALL_ITEM


def _item_mask(photo: Photo, pixels: Pixels) -> Pixels | None:
    return find_mask_on_card(pixels) if photo.mask is None else read_given_mask(photo.mask, pixels)
