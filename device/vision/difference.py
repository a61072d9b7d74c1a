"""How much a frame differs from the empty view, pixel by pixel, once its light is taken out: in units of what differs by chance.

Nothing is compared with a fixed number of counts. Noise is what the quietest part of this very frame shows against the empty view, more of
it where the empty views differ among each other and where they are full of edges; the floors below are what an eye would not see either.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from device.vision.empty import SATURATED, EmptyViews, Reference
from device.vision.light import TOE, fitted_light, logarithm
from device.vision.preprocess import Pixels

Floats = npt.NDArray[np.float32]

QUIET = 0.3
"""the share of the view that is taken for empty whatever lies there, and its noise measured"""
QUIET_DEVIATIONS = 0.385
"""below so many standard deviations lie QUIET of all values of a normal distribution"""
TONE, COLOUR, EDGE = 4.0, 4.0, 4.0
"""standard deviations from which on brightness, colour and edges differ"""
TONE_FLOOR, COLOUR_FLOOR, EDGE_FLOOR = 0.012, 0.008, 0.010
"""least standard deviations, in logarithms"""
SHADE = 1.2
"""deepest shadow, in logarithms: a third of the light is left"""
SHADE_WEIGHT, GLOW_WEIGHT = 0.25, 0.5
"""how much a difference counts that could be a shadow, or the glow of something near: even in colour and without edges"""
SHADE_TINT = 0.15
"""a shadow's change of colour as a share of its depth: the light that still falls into it comes from elsewhere"""


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs. score: H x W, 1 where an item begins to be likely; grey: H x W logarithms of the frame, to find edges by.

    covered: share of the view that does not fit the empty one at all, 0..1.
    """

    score: Floats
    grey: Floats
    covered: float


def difference(frame: Pixels, empty: EmptyViews) -> Difference:
    """Compare a frame (H x W x 3 uint8 RGB) with the empty views, of which at least one must be known."""
    small, reference = empty.shrunk(frame), empty.reference
    seen = logarithm(small)
    off = _off(seen, small, reference)
    tone = off.mean(axis=2)
    colour = off - tone[..., None]
    stray = np.sqrt(np.einsum("ijk,ijk->ij", colour, colour))
    grey = seen.mean(axis=2)
    # A sensor's noise is about the same in counts, so in logarithms it grows towards the dark.
    dark = np.float32(100.0) / np.exp(grey)
    edges = _steepness(tone)

    tone_noise = _noise(np.abs(tone), dark, reference.texture, TONE_FLOOR)
    colour_noise = _noise(stray, dark, reference.texture, COLOUR_FLOOR)
    edge_noise = _noise(edges, dark, reference.texture, EDGE_FLOOR)
    tinted = colour_noise + np.float32(SHADE_TINT) * np.abs(tone)

    by_edge = edges / (np.float32(EDGE) * edge_noise)
    by_colour = stray / (np.float32(COLOUR) * tinted)
    by_tone = np.abs(tone) / (np.float32(TONE) * tone_noise)
    plain = np.clip(1.5 - cv2.boxFilter(np.maximum(by_edge, by_colour), -1, (5, 5)), 0, 1)
    weight = np.where(tone < 0, np.where(tone > -SHADE, SHADE_WEIGHT, 1.0), GLOW_WEIGHT).astype(np.float32)
    by_tone = by_tone * (1 - plain * (1 - weight))
    score = np.sqrt(by_tone**2 + by_colour**2 + by_edge**2)
    score = cv2.GaussianBlur(score, (3, 3), 0)
    return Difference(np.asarray(score, np.float32), np.asarray(grey, np.float32), float((score > 1).mean()))


def _off(seen: Floats, small: Pixels, reference: Reference) -> Floats:
    """How far each pixel and channel is outside what the empty views show there in this light: H x W x 3, logarithms."""
    clipped = small >= SATURATED
    middle = (reference.low + reference.high) / 2
    light = fitted_light(seen, middle, ~(clipped | reference.saturated))
    low, high = reference.low + light, reference.high + light
    brightest, darkest = np.float32(np.log(SATURATED + TOE)), np.float32(np.log(TOE))
    low, high = np.clip(low, darkest, brightest), np.clip(high, darkest, brightest)
    above = np.maximum(seen - high, 0)
    above[reference.saturated] = 0
    below = np.maximum(low - seen, 0)
    below[clipped] = 0
    return np.asarray(above - below, np.float32)


def _steepness(tone: Floats) -> Floats:
    across = cv2.Sobel(tone, cv2.CV_32F, 1, 0, scale=0.25)
    down = cv2.Sobel(tone, cv2.CV_32F, 0, 1, scale=0.25)
    return np.asarray(cv2.magnitude(across, down), np.float32)


def _noise(strength: Floats, dark: Floats, texture: Floats, floor: float) -> Floats:
    """Standard deviation of `strength` by chance, from its quiet part: some that grows towards the dark, some with texture."""
    even = np.quantile((strength / dark)[::2, ::2], QUIET) / QUIET_DEVIATIONS
    rough = texture > max(float(np.quantile(texture[::2, ::2], 0.7)), 0.05)
    share = float(np.quantile((strength / np.maximum(texture, 1e-3))[rough], QUIET)) / QUIET_DEVIATIONS if rough.sum() > 50 else 0.0
    return np.sqrt(np.float32(floor) ** 2 + (np.float32(even) * dark) ** 2 + (np.float32(min(share, 0.5)) * texture) ** 2)
