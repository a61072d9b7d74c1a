"""Brighten pictures of items in the dark towards the light of the training photos."""

import cv2
import numpy as np

from device.vision.inference.preprocess import Pixels

LIT = 160
"""counts of 255: a picture whose brightest pixels are below this is dark all over, without pale ground, lamp or glint"""
BRIGHTEST = 0.02
"""share of the pixels that count as the brightest"""
MOST_GAIN = 3.0
"""most brightening; more would show mostly noise"""
ROWS = 24
"""brightness is measured on about this many rows, and columns at the same spacing"""


def brighten_dark(picture: Pixels) -> Pixels:
    """Brighten a picture that is dark all over until its brightest pixels reach LIT, by at most MOST_GAIN. Others stay. H x W x 3 uint8 RGB."""
    step = max(1, min(picture.shape[:2]) // ROWS)
    brightest = picture[::step, ::step].max(axis=2).ravel()
    place = int((1 - BRIGHTEST) * (brightest.size - 1))
    brightest.partition(place)
    level = int(brightest[place])
    if level >= LIT:
        return picture
    return np.asarray(cv2.convertScaleAbs(picture, alpha=min(LIT / max(level, 1), MOST_GAIN)), np.uint8)
