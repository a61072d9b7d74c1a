"""The golden output of a bundle, `known_answer` in its JSON: the device compares its runtime with it at every start."""

from collections.abc import Callable

import msgspec
import numpy as np

from converter.common.parallel_map import parallel_map
from converter.common.progress import Indexable
from device.vision.inference.bundle import GoldenOutput
from device.vision.inference.classifier import Classifier, golden_input
from device.vision.inference.preprocess import Pixels
from device.vision.inference.runtime import architecture

NOISE_SEEDS = range(1, 17)
MARGIN = 2


def golden_output(exact: Callable[[], Classifier], shipping: Callable[[], Classifier], seed: int, photos: Indexable[Pixels]) -> GoldenOutput:
    """Run the exact kernels on a seeded input, and set the tolerance by how far the shipping kernels differ from them.

    exact, shipping: make a classifier; each thread gets its own. The tolerance is MARGIN times the largest difference on that input, on other seeded
    inputs and on `photos` (H x W x 3 uint8), plus one step, because other packages and processors round differently.
    """
    one = exact()
    size = one.bundle.info.input.size
    answer = one.raw_logits(golden_input(seed, size))
    seeds = (seed, *NOISE_SEEDS)

    def make_worker() -> Callable[[int], int]:
        kernels, others = exact(), shipping()

        def difference(number: int) -> int:
            picture = golden_input(seeds[number], size) if number < len(seeds) else photos[number - len(seeds)]
            return int(np.abs(kernels.raw_logits(picture) - others.raw_logits(picture)).max())

        return difference

    here = architecture()
    most = max(parallel_map(len(seeds) + len(photos), make_worker))
    return GoldenOutput(seed, tuple(answer.tolist()), MARGIN * most + 1, msgspec.UNSET if here == "x86_64" else here)
