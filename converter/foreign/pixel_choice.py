"""Finds the pixel range that a foreign classifier was trained on: tries the usual ranges on labelled validation photos."""

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
from converter.data.training_run import Run
from converter.foreign.foreign_model import ForeignClassifier, ForeignNetwork
from converter.quantization import calibration_photos as calibration
from converter.quantization.calibration_photos import NetworkInputs

TRIED_PHOTOS = 96
MOST_CHANCE = 0.01
"""a range is refused if another one is more accurate with a p-value below this"""
SELDOM = 20
"""prior: torch's and caffe's ranges count as this many times rarer than the others; a guess that a few photos outweigh"""


@dataclass(frozen=True, eq=False)
class PixelChoice:
    """The chosen range, one of `pixel_range.RANGES`, and the network with it. text: how it was chosen, or empty if it was given."""

    pixels: str
    network: ForeignNetwork
    text: str


@dataclass(frozen=True, eq=False)
class _TriedRange:
    pixels: str
    network: ForeignNetwork
    answers: Predictions

    @property
    def log_probability(self) -> float:
        """Log probability of the range and of the photos' labels, in nats. It is more precise than accuracy.

        The probability of the labels is taken at the temperature that fits best.
        """
        return math.log(1 / SELDOM if self.pixels in ("torch", "caffe") else 1.0) - self._nll() * len(self.answers.targets)

    def _nll(self) -> float:
        return self.answers.nll(confidence.fit_temperature(self.answers))

    def __str__(self) -> str:
        return f"{self.answers.accuracy:.2f} with {self.pixels}"


def choose_pixels(classifier: ForeignClassifier, given: str | None, run: Run, seed: int, progress: Progress) -> PixelChoice:
    """Try every range that the classifier may have been trained on. given: the range that the user named, or None.

    Raises NetworkError if another range is significantly more accurate than the given one.
    """
    photos = calibration.choose_photos(run.val, TRIED_PHOTOS, seed)
    tried = _try_ranges(classifier, given, photos, run, progress)
    ranked = sorted(tried, key=lambda one: one.log_probability, reverse=True)
    if given is None:
        best, *others = ranked
        text = f"pixels {best.pixels}: {best.answers.accuracy:.2f} of {len(photos)} validation photos right"
        if others:
            text += f", {others[0]}"
            if mcnemar_p(best.answers.right, others[0].answers.right) > MOST_CHANCE:
                text += "; too few photos to tell them apart: name --pixels if you know it"
        return PixelChoice(best.pixels, best.network, text)
    own = next(one for one in tried if one.pixels == given)
    better = next((one for one in ranked if _significantly_better(one.answers, own.answers)), None)
    if better:
        raise NetworkError(
            f"--pixels {given}: {own.answers.accuracy:.2f} of {len(photos)} validation photos right, {better}; name that, or leave --pixels out"
        )
    return PixelChoice(given, own.network, "")


def _try_ranges(classifier: ForeignClassifier, given: str | None, photos: Sequence[Photo], run: Run, progress: Progress) -> list[_TriedRange]:
    ranges = classifier.ranges
    if given is not None and given not in ranges:
        raise NetworkError(f"{run.model}: --pixels {given}: expected {' or '.join(ranges)}, for it takes {classifier.kind}")
    targets = np.array([run.target(photo) for photo in photos])
    tried = []
    for pixels in ranges:
        network = classifier.network(pixels)
        pictures = progress.track(NetworkInputs(photos, network.size), f"trying pixels {pixels} on photo")
        answers = Predictions(network.predict(pictures)["logits"].astype(np.float64), targets)
        # Labels in a wrong order would make the right range the least accurate one. That mistake is reported later.
        tried.append(_TriedRange(pixels, network, in_likely_order(answers)))
    return tried


def _significantly_better(one: Predictions, other: Predictions) -> bool:
    return one.accuracy > other.accuracy and mcnemar_p(one.right, other.right) < MOST_CHANCE
