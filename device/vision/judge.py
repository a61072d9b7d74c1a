"""What a bin makes of one picture: the bundle's network, and what was taught on top of it."""

import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

from device.common.arrays import Float64Array
from device.vision.fewshot.fewshot_head import FewshotHead
from device.vision.inference.bundle import BundleError
from device.vision.inference.classifier import Classifier, Logits
from device.vision.inference.embedding_stats import read_embedding_stats
from device.vision.inference.fusion import fuse
from device.vision.inference.novelty import read_novelty_model
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.isolate import Isolated
from device.vision.isolation.tta import FRAME_CROP_WEIGHTS


class CropPrediction(NamedTuple):
    """One look at an item. probabilities: calibrated, one a label of the judge, summing to 1; unknown: 0 familiar to 1 unlike everything known, None
    where the bundle does not say what it knows; embedding: float32, the network's pooled features.
    """

    probabilities: Float64Array
    unknown: float | None
    embedding: Logits


def mean_unknown_score(opinions: Sequence[CropPrediction]) -> float | None:
    """How unknown an item is that was looked at several times: frames of a still item differ by noise, so their mean is taken."""
    scores = [opinion.unknown for opinion in opinions if opinion.unknown is not None]
    return sum(scores) / len(scores) if scores else None


class PieceFusion:
    """What the frames of a burst say of the pieces that lie in them, each looked at alone."""

    def __init__(self, judge: "Judge") -> None:
        self._judge = judge
        self._seen: list[list[Float64Array]] = []

    def add_frame(self, pictures: Sequence[Pixels]) -> list[Float64Array]:
        """Look at one more frame: a picture a piece. Returns the probabilities of each piece by all frames so far; by this one alone where there were
        more or fewer pieces before. Raises RuntimeFault.
        """
        if len(pictures) != len(self._seen):
            self._seen = [[] for _ in pictures]
        for picture, seen in zip(pictures, self._seen, strict=True):
            seen.append(self._judge.predict(picture, in_domain=True).probabilities)
        return [fuse(seen) for seen in self._seen]


class Judge:
    """Judges pictures: H x W x 3 uint8, RGB, of any size, isolated where the bin isolates. Not for two threads at once.

    open_spare: opens a classifier of the same bundle that is there to go on when this one fails, given why it does; None where none is.
    """

    def __init__(self, classifier: Classifier, teaching: FewshotHead | None = None, open_spare: Callable[[str], Classifier] | None = None) -> None:
        """Raises BundleError for a bundle whose `known.npz` is damaged."""
        self.classifier, self.teaching = classifier, teaching
        self._open_spare = open_spare
        self._failed: Classifier | None = None
        info = classifier.bundle.info
        self._known = read_novelty_model(classifier.bundle) if teaching is None else None
        self.labels = info.labels if teaching is None else teaching.labels
        self.reject_below = info.reject_below if teaching is None else teaching.reject_below
        bound = info.unknown_above if teaching is None else teaching.unknown_above
        self._unknown_above = bound if isinstance(bound, float) else 1.0

    @property
    def drift_file(self) -> str:
        """A name for the file of what is usual at this bin, in the eyes of this judge."""
        text = "\0".join((self.classifier.bundle.info.learning_digest, *self.labels))
        return f"usual-{zlib.crc32(text.encode()):08x}.npy"

    @property
    def expected_shares(self) -> Float64Array:
        """How often each label is supposed to occur by its probabilities, as shares: as in the training photos, or at a taught place."""
        try:
            counts = read_embedding_stats(self.classifier.bundle).counts if self.teaching is None else self.teaching.prior.frequencies
        except BundleError:
            counts = np.ones(len(self.labels))
        return np.divide(counts, counts.sum())

    def predict(self, picture: Pixels, *, in_domain: bool) -> CropPrediction:
        """in_domain: whether the picture is known to be of the place where the bin was taught. Raises RuntimeFault."""
        probabilities, embedding = self.classifier.predict(picture)
        if self.teaching is not None:
            return CropPrediction(*self.teaching.predict(probabilities, embedding, in_domain=in_domain), embedding)
        return CropPrediction(probabilities, None if self._known is None else self._known.score(embedding, probabilities), embedding)

    def start_spare(self, why: str) -> "Future[Classifier] | None":
        """A classifier for `go_on_with`, opened and tried on a thread of its own; None where there is no other. why: what is wrong with this one."""
        if self._open_spare is None:
            return None
        open_spare, self._open_spare = self._open_spare, None
        opened: Future[Classifier] = Future()

        def open_it() -> None:
            try:
                opened.set_result(open_spare(why))
            except BaseException as error:
                opened.set_exception(error)

        threading.Thread(target=open_it, name="spare", daemon=True).start()
        return opened

    def switch_to(self, classifier: Classifier) -> None:
        """Judge with another classifier of the same bundle from now on."""
        # The one that failed is never freed: to let go of a device that does not answer may hang.
        self._failed, self.classifier = self.classifier, classifier

    def crop_weight(self, item: Isolated, number: int) -> float:
        """How much the look of that number tells beside others at the same item, or at the same view without one.

        A head that was taught by all looks reads them alike.
        """
        return 1.0 if item.found or self.teaching is not None else FRAME_CROP_WEIGHTS[number % len(FRAME_CROP_WEIGHTS)]

    def is_unknown(self, unknown: float | None) -> bool:
        """Whether an item with that score counts as unknown."""
        return unknown is not None and unknown > self._unknown_above
