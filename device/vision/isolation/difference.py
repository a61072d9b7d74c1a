"""The difference of a frame to the empty view, pixel by pixel, without the change of light, in units of noise.

There are no fixed thresholds in counts. The noise is measured on the quietest part of the frame itself; it grows in the dark and where the empty view
has edges. The floors below are too small for an eye to see.
"""

import cv2
import numpy as np

from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel, BackgroundStats, quantile, subsample
from device.vision.isolation.light import BRIGHTEST, DARKEST, fit_light, grey, to_log
from device.vision.isolation.registration import estimate_motion, fine_structure

CHANNELS = 7
"""brightness and two of colour in units of noise, brightness and colour in logarithms, the frame, the empty view"""
BRIGHTNESS, COLOUR = 3, 4
"""channels of brightness and colour in logarithms"""
COLOUR_GAIN = 2
"""factor on the colour channel, so that it fills its range"""
QUIET = 0.3
"""share of the view that is taken for empty, and whose noise is measured"""
QUIET_DEVIATIONS = 0.385
"""QUIET of the values of a normal distribution lie within this many standard deviations"""
BRIGHTNESS_FLOOR, COLOUR_FLOOR = 0.012, 0.008
"""floors of the standard deviation of brightness and of colour, in logarithms"""
STRONG = 8.0
"""standard deviations that map to 0.5"""
MOST_ROUGH = 0.5
"""most share of the texture that counts as noise: a camera that moved by half a pixel"""


def difference_image(frame: Pixels, empty: BackgroundModel) -> Float32Array:
    """`difference_channels` with channels last, as networks take it: HEIGHT x WIDTH x CHANNELS."""
    return np.asarray(cv2.merge(list(difference_channels(frame, empty))), np.float32)


def difference_channels(frame: Pixels, empty: BackgroundModel) -> Float32Array:
    """Compare a frame (H x W x 3 uint8 RGB) with the empty views; there must be one.

    Returns CHANNELS x HEIGHT x WIDTH, float32, -1..1: how much brighter, redder and bluer than any empty view in units of local noise (0.5 is STRONG
    standard deviations); how much brighter and how much more coloured in logarithms; the frame, and the empty view in the same light, in logarithms
    about the frame's median.
    """
    stats = empty.stats
    frame_log = to_log(empty.shrink(frame))
    plain = grey(frame_log)
    affine = estimate_motion(fine_structure(plain), stats.landmarks)
    if affine is not None:
        stats = stats.warped(affine)
    light = fit_light(frame_log, stats.middle, stats.any_saturated)
    expected = stats.grey + grey(light)
    # Sensor noise is about constant in counts, so in logarithms it grows towards the dark.
    darkness = np.asarray(cv2.exp(np.maximum(plain, expected) * np.float32(-2)), np.float32)
    difference = np.empty((CHANNELS, *plain.shape), np.float32)
    opponents = np.empty((3, *plain.shape), np.float32)
    cv2.split(cv2.transform(_outside(frame_log, light, stats), _OPPONENTS), list(opponents))
    brightness, red, blue = opponents
    colour = np.asarray(cv2.magnitude(red, blue), np.float32)
    over_noise, unscaled = difference[:3], difference[3:]
    np.abs(opponents, out=over_noise)
    over_noise[0] += _strong_noise(subsample(over_noise[0]), darkness, stats, BRIGHTNESS_FLOOR)
    over_noise[1:] += _strong_noise(subsample(colour), darkness, stats, COLOUR_FLOOR)
    np.divide(opponents, over_noise, out=over_noise)
    middle = quantile(subsample(plain), 0.5)
    unscaled[BRIGHTNESS - 3] = brightness
    np.multiply(colour, np.float32(COLOUR_GAIN), out=unscaled[COLOUR - 3])
    for view, place in ((plain, 2), (expected, 3)):
        cv2.addWeighted(view, 0.5, view, 0, -middle / 2, dst=unscaled[place])
    np.maximum(unscaled, np.float32(-1), out=unscaled)
    np.minimum(unscaled, np.float32(1), out=unscaled)
    return difference


def _outside(frame_log: Float32Array, light: Float32Array, stats: BackgroundStats) -> Float32Array:
    """How far each pixel and channel is outside the range of the empty views in this light: H x W x 3, logarithms."""
    nearest = stats.low + light
    np.minimum(nearest, BRIGHTEST, out=nearest)
    np.maximum(nearest, frame_log, out=nearest)
    brightest = stats.high + light
    np.minimum(brightest, stats.ceiling, out=brightest)
    np.minimum(nearest, brightest, out=nearest)
    np.maximum(nearest, DARKEST, out=nearest)
    return np.subtract(frame_log, nearest, out=nearest)


def _strong_noise(strength: Float32Array, darkness: Float32Array, stats: BackgroundStats, floor: float) -> Float32Array:
    """STRONG standard deviations of the noise of each pixel, H x W. One part of it grows towards the dark, one with the texture.

    strength: absolute difference of the subsampled pixels. darkness: squared, of all pixels. floor: least standard deviation.
    """
    even = quantile(strength * strength / subsample(darkness), QUIET) / QUIET_DEVIATIONS**2
    uneven, texture = stats.most_textured
    share = quantile(strength[uneven] / texture, QUIET) / QUIET_DEVIATIONS if len(uneven) > 50 else 0.0
    weights = STRONG**2 * even, (STRONG * min(share, MOST_ROUGH)) ** 2, (STRONG * floor) ** 2
    return np.asarray(cv2.sqrt(cv2.addWeighted(darkness, weights[0], stats.roughness, weights[1], weights[2])), np.float32)


_OPPONENTS = np.array([[1 / 3, 1 / 3, 1 / 3], [0.7, -0.7, 0], [-0.4, -0.4, 0.8]], np.float32)
