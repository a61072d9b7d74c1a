"""Pictures of items in the dark, brought towards the light in which items were learned."""

import cv2
import numpy as np

from device.vision.inference.preprocess import Pixels

LIT = 160
"""a picture whose brightest pixels are below this is dark all over, counts of 255: there is neither pale ground nor a light nor a glint in it"""
BRIGHTEST = 0.02
"""share of the pixels that count as its brightest"""
MOST_GAIN = 3.0
"""more would show mostly noise"""
ROWS = 24
"""so many rows or a few more, and as many columns for their length, are enough to tell how bright it is"""


def brighten_dark(picture: Pixels) -> Pixels:
    """A picture that is dark all over, as much brighter as its brightest pixels allow; any other as it is. H x W x 3 uint8 RGB."""
    step = max(1, min(picture.shape[:2]) // ROWS)
    brightest = picture[::step, ::step].max(axis=2).ravel()
    place = int((1 - BRIGHTEST) * (brightest.size - 1))
    brightest.partition(place)
    level = int(brightest[place])
    if level >= LIT:
        return picture
    return np.asarray(cv2.convertScaleAbs(picture, alpha=min(LIT / max(level, 1), MOST_GAIN)), np.uint8)
