"""The known answer of a bundle: what the device compares its runtime against at every start."""

from collections.abc import Iterable

import numpy as np

from device.vision.bundle import KnownAnswer
from device.vision.classifier import Classifier, known_input
from device.vision.preprocess import Pixels

NOISE_SEEDS = range(1, 17)
MARGIN = 2


def known_answer(exact: Classifier, shipping: Classifier, seed: int, photos: Iterable[Pixels]) -> KnownAnswer:
    """Ask the exact kernels for the answer to a seeded input, and measure how far the shipping ones stray from them.

    The tolerance is MARGIN times the largest difference seen on that input, on other seeded ones and on `photos` (H x W x 3 uint8), plus
    one step: other packages and processors round in other places.
    """
    size = exact.bundle.info.input.size
    answer = exact.raw_logits(known_input(seed, size))
    pictures = [*(known_input(other, size) for other in (seed, *NOISE_SEEDS)), *photos]
    strayed = max(int(np.abs(exact.raw_logits(picture) - shipping.raw_logits(picture)).max()) for picture in pictures)
    return KnownAnswer(seed, tuple(answer.tolist()), MARGIN * strayed + 1)
