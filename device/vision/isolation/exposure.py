"""Brighten pictures of items in the dark towards the light of the training photos."""

import cv2
import numpy as np

from device.vision.inference.preprocess import Pixels

BRIGHT_ENOUGH = 160
"""counts of 255: a picture whose brightest pixels are below this is dark all over, without pale ground, lamp or glint"""
BRIGHTEST_SHARE = 0.02
"""share of the pixels that count as the brightest"""
MOST_GAIN = 3.0
"""most brightening; more would show mostly noise"""
SAMPLED_ROWS = 24
"""brightness is measured on about this many rows, and columns at the same spacing"""


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
