"""The golden output of a bundle: what the device compares its runtime against at every start."""

from collections.abc import Callable

import msgspec
import numpy as np

from converter.common.parallel_map import parallel_map
from converter.common.progress import Indexable
from device.vision.inference.bundle import KnownAnswer
from device.vision.inference.classifier import Classifier, known_input
from device.vision.inference.preprocess import Pixels
from device.vision.inference.runtime import architecture

NOISE_SEEDS = range(1, 17)
MARGIN = 2


def golden_output(exact: Callable[[], Classifier], shipping: Callable[[], Classifier], seed: int, photos: Indexable[Pixels]) -> KnownAnswer:
    """Ask the exact kernels for the answer to a seeded input, and measure how far the shipping ones stray from them.

    exact, shipping: give a classifier of their own to each thread that asks. The tolerance is MARGIN times the largest difference seen on that
    input, on other seeded ones and on `photos` (H x W x 3 uint8), plus one step: other packages and processors round in other places.
    """
    one = exact()
    size = one.bundle.info.input.size
    answer = one.raw_logits(known_input(seed, size))
    seeds = (seed, *NOISE_SEEDS)

    def equipped() -> Callable[[int], int]:
        kernels, others = exact(), shipping()

        def strayed(number: int) -> int:
            picture = known_input(seeds[number], size) if number < len(seeds) else photos[number - len(seeds)]
            return int(np.abs(kernels.raw_logits(picture) - others.raw_logits(picture)).max())

        return strayed

    here = architecture()
    strayed_most = max(parallel_map(len(seeds) + len(photos), equipped))
    return KnownAnswer(seed, tuple(answer.tolist()), MARGIN * strayed_most + 1, msgspec.UNSET if here == "x86_64" else here)
