"""How a frame differs from the empty view, pixel by pixel, once its light is taken out: in units of what differs by chance.

Nothing is compared with a fixed number of counts. Noise is what the quietest part of this very frame shows against the empty view, more of
it in the dark and where the empty view is full of edges; the floors below are what an eye would not see either.
"""

import cv2
import numpy as np
import numpy.typing as npt

from device.vision.empty import SATURATED, EmptyViews, Reference
from device.vision.light import TOE, fitted_light, logarithm
from device.vision.preprocess import Pixels
from device.vision.registration import movement, structure

Floats = npt.NDArray[np.float32]

CHANNELS = 7
"""brightness and two of colour over their noise, brightness and colour as they are, the frame, the empty view"""
TONE, STRAY = 3, 4
"""which channels are brightness and colour as they are"""
STRAY_GAIN = 2
"""by how much colour is stretched to fill its channel"""
QUIET = 0.3
"""the share of the view that is taken for empty whatever lies there, and its noise measured"""
QUIET_DEVIATIONS = 0.385
"""below so many standard deviations lie QUIET of all values of a normal distribution"""
TONE_FLOOR, COLOUR_FLOOR = 0.012, 0.008
"""least standard deviations of brightness and of colour, in logarithms"""
STRONG = 8.0
"""standard deviations at which a difference is squashed to a half"""
FEW = 3
"""every so many rows and columns are enough to measure noise"""
MOST_ROUGH = 0.5
"""most of the range among a pixel's neighbours that may count as noise: a camera that moved by half a pixel"""


def difference(frame: Pixels, empty: EmptyViews) -> Floats:
    """Compare a frame (H x W x 3 uint8 RGB) with the empty views, of which at least one must be known.

    Returns HEIGHT x WIDTH x CHANNELS of `empty`'s size, each -1..1: how much brighter, redder and bluer than any of the empty views, over the
    noise of that place (0.5 is STRONG standard deviations); how much brighter and how much more coloured in logarithms; and the frame and the empty
    view in the same light, in logarithms about the frame's median.
    """
    reference = empty.reference
    small = empty.shrunk(frame)
    seen = logarithm(small)
    grey = _grey(seen)
    there = movement(structure(grey), reference.structure)
    if there is not None:
        reference = reference.moved(there)
    clipped = small >= SATURATED
    light = fitted_light(seen, reference.middle, ~(clipped | reference.saturated))
    off = _off(seen, clipped, light, reference)
    tone, red, blue = _opposed(off)
    expected = _grey(reference.middle + light)
    # A sensor's noise is about the same in counts, so in logarithms it grows towards the dark.
    dark = np.asarray(cv2.exp(np.float32(np.log(100)) - np.maximum(grey, expected)), np.float32)
    stray = np.asarray(cv2.magnitude(red, blue), np.float32)
    rough = np.maximum(reference.texture, 1e-3)
    tone_noise = _noise(np.abs(tone), dark, rough, TONE_FLOOR)
    colour_noise = _noise(stray, dark, rough, COLOUR_FLOOR)
    middle = np.float32(_quantile(grey[::FEW, ::FEW].ravel(), 0.5))
    return np.asarray(
        cv2.merge(
            [
                _squashed(tone / tone_noise),
                _squashed(red / colour_noise),
                _squashed(blue / colour_noise),
                _bounded(tone),
                _bounded(stray * STRAY_GAIN),
                _bounded((grey - middle) / 2),
                _bounded((expected - middle) / 2),
            ]
        ),
        np.float32,
    )


def _off(seen: Floats, clipped: npt.NDArray[np.bool_], light: Floats, reference: Reference) -> Floats:
    """How far each pixel and channel is outside what the empty views show there in this light: H x W x 3, logarithms."""
    brightest, darkest = np.float32(np.log(SATURATED + TOE)), np.float32(np.log(TOE))
    high = np.minimum(np.maximum(reference.high + light, darkest), brightest)
    low = high if reference.low is reference.high else np.minimum(np.maximum(reference.low + light, darkest), brightest)
    above = np.maximum(seen - high, 0) * ~reference.saturated
    below = np.maximum(low - seen, 0) * ~clipped
    return np.asarray(above - below, np.float32)


def _grey(seen: Floats) -> Floats:
    return np.asarray(cv2.transform(seen, _GREY), np.float32)


def _opposed(off: Floats) -> list[Floats]:
    return [np.asarray(channel, np.float32) for channel in cv2.split(cv2.transform(off, _OPPONENTS))]


def _noise(strength: Floats, dark: Floats, rough: Floats, floor: float) -> Floats:
    """Standard deviation of `strength` by chance, from its quiet part: some that grows towards the dark, some with texture."""
    few = (slice(1, None, FEW), slice(1, None, FEW))
    strong, texture = strength[few].ravel(), rough[few].ravel()
    even = _quantile(strong / dark[few].ravel(), QUIET) / QUIET_DEVIATIONS
    uneven = texture > max(_quantile(texture, 0.7), 0.05)
    share = _quantile((strong / texture)[uneven], QUIET) / QUIET_DEVIATIONS if uneven.sum() > 50 else 0.0
    noise = np.square(np.float32(even) * dark) + np.square(np.float32(min(share, MOST_ROUGH)) * rough) + np.float32(floor**2)
    return np.asarray(cv2.sqrt(noise), np.float32)


def _quantile(values: Floats, share: float) -> float:
    place = int(share * (values.size - 1))
    return float(np.partition(values, place)[place])


def _squashed(deviations: Floats) -> Floats:
    return np.asarray(deviations / (np.abs(deviations) + np.float32(STRONG)), np.float32)


def _bounded(values: Floats) -> Floats:
    return np.minimum(np.maximum(values, np.float32(-1)), np.float32(1))


_GREY = np.full((1, 3), 1 / 3, np.float32)
_OPPONENTS = np.array([[1 / 3, 1 / 3, 1 / 3], [0.7, -0.7, 0], [-0.4, -0.4, 0.8]], np.float32)
