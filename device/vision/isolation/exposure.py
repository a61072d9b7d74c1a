"""Items in the dark, or in too much light: brighten their pictures, and say by how much a camera should change its exposure for them."""

import cv2
import numpy as np

from device.common.arrays import Float64Array
from device.vision.inference.preprocess import Pixels

BRIGHT_ENOUGH = 160
"""counts of 255: a picture whose brightest pixels are below this is dark all over, without pale ground, lamp or glint"""
BRIGHTEST_SHARE = 0.02
"""share of the pixels that count as the brightest"""
MOST_GAIN = 3.0
"""most brightening; more would show mostly noise"""
SAMPLED_ROWS = 24
"""brightness is measured on about this many rows, and columns at the same spacing"""
BLACK_ITEM = 110
"""counts of 255: an item is black at this exposure if nine tenths of it are darker"""
WHITE_ITEM, WHITE_SHARE = 250, 0.5
"""counts of 255 from which a pixel is saturated in all channels, and the share of such pixels at which an item is white at this exposure"""
WELL_EXPOSED = 170
"""counts of 255 that the brightest tenth of a black item is exposed for: as pale items are in training photos, and below saturation"""
METERABLE = 5
"""counts of 255 below which an item's light cannot be told from what the sensor and the lens add"""
METERED_ROWS, LEAST_METERED = 96, 20
"""an item is metered on about this many rows of the view, and columns at the same spacing; one with fewer pixels than this there is not metered"""
ON_ITEM = 200
"""mask values above this are on the item and not on its soft edge, where the ground shines in"""
UNMETERED = 8.0
"""change of exposure where the light cannot be metered: up for a black item, down for a white one"""


def brighten_dark(picture: Pixels) -> Pixels:
    """Brighten a picture that is dark all over until its brightest pixels reach BRIGHT_ENOUGH, by at most MOST_GAIN. Others stay. H x W x 3 uint8
    RGB."""
    step = max(1, min(picture.shape[:2]) // SAMPLED_ROWS)
    brightest = picture[::step, ::step].max(axis=2).ravel()
    place = int((1 - BRIGHTEST_SHARE) * (brightest.size - 1))
    brightest.partition(place)
    level = int(brightest[place])
    if level >= BRIGHT_ENOUGH:
        return picture
    return np.asarray(cv2.convertScaleAbs(picture, alpha=min(BRIGHT_ENOUGH / max(level, 1), MOST_GAIN)), np.uint8)


def exposure_change(pixels: Pixels, mask: Pixels) -> float:
    """By how much the exposure should change for an item; 1.0 where the item is neither black nor white all over.

    pixels: H x W x 3 uint8 RGB, by the curve of sRGB, as nearly every camera has it. mask: H x W uint8, 0 ground to 255 item.
    """
    item = _metered(pixels, mask)
    if len(item) < LEAST_METERED:
        return 1.0
    if np.count_nonzero(item.min(axis=1) >= WHITE_ITEM) >= WHITE_SHARE * len(item):
        return 1 / UNMETERED
    level = int(np.quantile(item.max(axis=1), 0.9))
    if level >= BLACK_ITEM:
        return 1.0
    return UNMETERED if level < METERABLE else float(_LIGHT[WELL_EXPOSED] / _LIGHT[level])


def item_light(pixels: Pixels, mask: Pixels) -> float:
    """The mean light of an item, above 0 and up to 1. pixels, mask: as for `exposure_change`."""
    item = _metered(pixels, mask)
    return float(_LIGHT[item].mean()) if len(item) else 1.0


def _metered(pixels: Pixels, mask: Pixels) -> Pixels:
    """Some pixels of the item, n x 3."""
    few = slice(None, None, max(1, min(mask.shape) // METERED_ROWS))
    return np.asarray(pixels[few, few][mask[few, few] > ON_ITEM], np.uint8)


def _light_of_counts() -> Float64Array:
    """The light of each count, 0..1, by the curve of sRGB (IEC 61966-2-1); of 0 a tenth of that of 1, since its logarithm is used."""
    shares = np.maximum(np.arange(256), 0.1) / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


_LIGHT = _light_of_counts()
