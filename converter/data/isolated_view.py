"""The views of a labelled photo that a network sees: the whole photo, or its item isolated as the device isolates it."""

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
"""returns what the network sees of a photo: H x W x 3 uint8 RGB; raises PhotosError"""

GROUND = Ground(PLAIN.colour, 0.35)
"""what surrounds an isolated item by default: more of the real surroundings helps on pale ground, less in busy places"""
ALL_ITEM = 0.9
"""a mask that covers a larger share of the photo is taken for a failure"""


def whole_view(photo: Photo) -> Pixels:
    """The photo as it is: H x W x 3 uint8 RGB. Raises PhotosError."""
    return read_pixels(photo.path)


def isolated_view(photo: Photo, ground: Ground = GROUND) -> Pixels:
    """The item isolated with `paint`: H x W x 3 uint8 RGB. The mask is the photo's own, or else what stands out from light card.

    Where the item cannot be isolated, the photo is returned whole, as on a device. Raises PhotosError.
    """
    return try_isolate(photo, ground)[0]


def try_isolate(photo: Photo, ground: Ground) -> tuple[Pixels, bool]:
    """As `isolated_view`, and whether the item could be isolated. Raises PhotosError."""
    pixels = read_pixels(photo.path)
    mask = _item_mask(photo, pixels)
    return (pixels, False) if mask is None else (paint(pixels, mask, ground), True)


def can_be_isolated(photo: Photo) -> bool:
    """Whether `isolated_view` can isolate the item. Raises PhotosError."""
    return _item_mask(photo, read_pixels(photo.path)) is not None


def read_given_mask(file: Path, pixels: Pixels) -> Pixels | None:
    """A mask from a file, resized to its picture: H x W uint8, 0 ground to 255 item. None if it shows no item or no ground.

    Raises PhotosError.
    """
    mask = read_mask(file)
    if mask.shape != pixels.shape[:2]:
        mask = np.asarray(cv2.resize(mask, (pixels.shape[1], pixels.shape[0]), interpolation=cv2.INTER_AREA), np.uint8)
    return mask if is_plausible_mask(mask) else None


def find_mask_on_card(pixels: Pixels) -> Pixels | None:
    """The mask of one item on light card: H x W uint8, 0 or 255. None if it cannot be found. pixels: H x W x 3 uint8 RGB."""
    found = find_item(pixels)
    return None if found is None else np.asarray(found, np.uint8) * np.uint8(255)


def is_plausible_mask(mask: Pixels) -> bool:
    """Whether a mask (H x W uint8) shows both an item and some ground."""
    return LEAST_AREA <= float((mask > 127).mean()) <= ALL_ITEM


def _item_mask(photo: Photo, pixels: Pixels) -> Pixels | None:
    return find_mask_on_card(pixels) if photo.mask is None else read_given_mask(photo.mask, pixels)
