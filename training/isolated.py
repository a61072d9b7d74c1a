"""A labelled photo's item by itself, as a bin that knows its empty view shows it to the network."""

from converter.photos import Photo, read_mask, read_pixels
from device.vision.bundle import GROUND
from device.vision.isolate import LEAST_AREA, paint
from device.vision.preprocess import Pixels
from training.card import take_off

ALL_ITEM = 0.9
"""share of a photo from which on its mask is taken for a failure"""


def isolated(photo: Photo) -> Pixels:
    """The item on the neutral ground, by the photo's own mask or else by what stands out from light card: side x side x 3 uint8 RGB.

    A photo whose item cannot be told from its ground is returned whole, as a bin would show it. Raises PhotosError.
    """
    pixels = read_pixels(photo.path)
    mask = read_mask(photo.mask) if photo.mask is not None else take_off(pixels).mask.astype("uint8") * 255
    share = float((mask > 127).mean())
    return paint(pixels, mask, GROUND) if LEAST_AREA <= share <= ALL_ITEM else pixels
