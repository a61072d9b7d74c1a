"""Which pixel values a stranger's classifier was trained on: the usual ranges are tried on validation photos, whose labels are known."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from converter.bundle import confidence
from converter.bundle.plausibility import in_likely_order
from converter.common.accuracy import Predictions, mcnemar_p
from converter.common.network_error import NetworkError
from converter.common.progress import Progress
from converter.data.photos import Photo
from converter.data.run import Run
from converter.foreign.foreign_model import ForeignClassifier, ForeignNetwork
from converter.quantization import calibration
from converter.quantization.calibration import NetworkInputs

TRIED_PHOTOS = 96
MOST_CHANCE = 0.01
"""how likely it may be that a range which names more photos right than another does so by chance, for the other to be refused"""
SELDOM = 20
"""how many times rarer torch's and caffe's ranges are taken to be than the others: a guess, which a few photos outweigh"""


@dataclass(frozen=True, eq=False)
class PixelChoice:
    """The range that was taken, one of `converter.foreign.pixel_range.RANGES`, and the network that it makes. told: how it was found."""

    pixels: str
    network: ForeignNetwork
    told: str


@dataclass(frozen=True, eq=False)
class _Tried:
    pixels: str
    network: ForeignNetwork
    answers: Predictions

    @property
    def likely(self) -> float:
        """Log probability of the range and of the photos' labels, in nats: compares ranges more finely than accuracy does.

        The labels' is that at the temperature which suits them best.
        """
        return math.log(1 / SELDOM if self.pixels in ("torch", "caffe") else 1.0) - self._nll() * len(self.answers.targets)

    def _nll(self) -> float:
        return self.answers.nll(confidence.fit_temperature(self.answers))

    def __str__(self) -> str:
        return f"{self.answers.accuracy:.2f} with {self.pixels}"


def choose_pixels(classifier: ForeignClassifier, given: str | None, run: Run, seed: int, progress: Progress) -> PixelChoice:
    """Try every range that the classifier can have been trained on. given: what its owner says, None to find out.

    Raises NetworkError where another range than the one given names more photos right, and that is no chance.
    """
    photos = calibration.choose_photos(run.val, TRIED_PHOTOS, seed)
    tried = _tried(classifier, given, photos, run, progress)
    ranked = sorted(tried, key=lambda one: one.likely, reverse=True)
    if given is None:
        best, *others = ranked
        told = f"pixels {best.pixels}: {best.answers.accuracy:.2f} of {len(photos)} validation photos right"
        if others:
            told += f", {others[0]}"
            if mcnemar_p(best.answers.right, others[0].answers.right) > MOST_CHANCE:
                told += "; too few photos to tell them apart: name --pixels if you know it"
        return PixelChoice(best.pixels, best.network, told)
    own = next(one for one in tried if one.pixels == given)
    better = next((one for one in ranked if _surely_better(one.answers, own.answers)), None)
    if better:
        raise NetworkError(
            f"--pixels {given}: {own.answers.accuracy:.2f} of {len(photos)} validation photos right, {better}; name that, or leave --pixels out"
        )
    return PixelChoice(given, own.network, "")


def _tried(classifier: ForeignClassifier, given: str | None, photos: Sequence[Photo], run: Run, progress: Progress) -> list[_Tried]:
    ranges = classifier.ranges
    if given is not None and given not in ranges:
        raise NetworkError(f"{run.model}: --pixels {given}: expected {' or '.join(ranges)}, for it takes {classifier.kind}")
    targets = np.array([run.target(photo) for photo in photos])
    tried = []
    for pixels in ranges:
        network = classifier.network(pixels)
        pictures = progress.track(NetworkInputs(photos, network.size), f"trying pixels {pixels} on photo")
        answers = Predictions(network.predict(pictures)["logits"].astype(np.float64), targets)
        # Labels in a wrong order are another mistake, which is told later; with it the right range would be right least often.
        tried.append(_Tried(pixels, network, in_likely_order(answers)))
    return tried


def _surely_better(one: Predictions, other: Predictions) -> bool:
    return one.accuracy > other.accuracy and mcnemar_p(one.right, other.right) < MOST_CHANCE
