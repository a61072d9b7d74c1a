"""Judge one picture: the bundle's network, and on top of it the head that was taught on the device."""

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
from device.vision.isolation.tta import FRAME_CROPS, ITEM_CROPS, Crops, ItemCrop, Look, crops_of, look_weights, view_share


class CropPrediction(NamedTuple):
    """The result for one crop.

    probabilities: calibrated, one for each label of the judge, summing to 1. unknown: novelty score, 0 familiar to 1 unlike everything known; None
    where the bundle has no novelty model. embedding: pooled features, float32.
    """

    probabilities: Float64Array
    unknown: float | None
    embedding: Logits


class ItemFusion:
    """Joins what several looks say of one item."""

    def __init__(self, judge: "Judge") -> None:
        self._judge = judge
        self._looks: list[tuple[bool, float]] = []
        self.predictions: list[CropPrediction] = []
        """what each look gave"""
        self._share = 0.0
        self._complete = False

    def add_look(self, look: Look, item: Isolated, *, in_domain: bool) -> None:
        """Judge one more look at `item`. in_domain: see `Judge.predict`. Raises RuntimeFault."""
        self.predictions.append(self._judge.predict(look.picture, in_domain=in_domain))
        self._looks.append((look.of_item, self._judge.look_weight(look)))
        kinds = {isinstance(crop, ItemCrop) for crop in self._judge.crops(item)}
        self._share = view_share(item)
        self._complete = kinds <= {of_item for of_item, _ in self._looks}

    @property
    def complete(self) -> bool:
        """Whether there was a look of each kind that this item is judged by."""
        return self._complete

    @property
    def posterior(self) -> Float64Array:
        """Calibrated probabilities, one for each label of the judge, summing to 1."""
        return fuse([each.probabilities for each in self.predictions], weights=look_weights(self._looks, self._share))

    @property
    def unknown(self) -> float | None:
        """The novelty score: the mean over the looks at the isolated item, which differ by noise, else over all. None where there is no score."""
        pairs = list(zip(self.predictions, self._looks, strict=True))
        of_item = [each.unknown for each, (of_item, _) in pairs if of_item and each.unknown is not None]
        scores = of_item or [each.unknown for each in self.predictions if each.unknown is not None]
        return sum(scores) / len(scores) if scores else None


class PieceFusion:
    """Judges the pieces of an item one by one and fuses the frames of a burst for each."""

    def __init__(self, judge: "Judge") -> None:
        self._judge = judge
        self._posteriors: list[list[Float64Array]] = []

    def add_frame(self, pictures: Sequence[Pixels]) -> list[Float64Array]:
        """Judge one more frame, given one picture for each piece. Return the fused probabilities of each piece. Raises RuntimeFault.

        When the number of pieces changes, earlier frames are dropped.
        """
        if len(pictures) != len(self._posteriors):
            self._posteriors = [[] for _ in pictures]
        for picture, posteriors in zip(pictures, self._posteriors, strict=True):
            posteriors.append(self._judge.predict(picture, in_domain=True).probabilities)
        return [fuse(posteriors) for posteriors in self._posteriors]


class Judge:
    """Judges pictures: H x W x 3 uint8 RGB of any size, isolated where the bin isolates. For one thread at a time.

    open_spare: opens another classifier of the same bundle, given why the first one failed; None where there is no other runtime.
    """

    def __init__(self, classifier: Classifier, teaching: FewshotHead | None = None, open_spare: Callable[[str], Classifier] | None = None) -> None:
        """Raises BundleError for a bundle whose `known.npz` is damaged."""
        self.classifier, self.teaching = classifier, teaching
        self._open_spare = open_spare
        self._failed: Classifier | None = None
        info = classifier.bundle.info
        self._novelty = read_novelty_model(classifier.bundle) if teaching is None else None
        self.labels = info.labels if teaching is None else teaching.labels
        self.reject_below = info.reject_below if teaching is None else teaching.reject_below
        bound = info.unknown_above if teaching is None else teaching.unknown_above
        self._unknown_above = bound if isinstance(bound, float) else 1.0

    @property
    def drift_file(self) -> str:
        """The name of the drift monitor's file. It differs for each bundle and each set of labels, whose scores cannot be compared."""
        text = "\0".join((self.classifier.bundle.info.learning_digest, *self.labels))
        return f"usual-{zlib.crc32(text.encode()):08x}.npy"

    @property
    def expected_shares(self) -> Float64Array:
        """The share of each label that its probabilities assume: that of the training photos, or that of the taught site."""
        try:
            counts = read_embedding_stats(self.classifier.bundle).counts if self.teaching is None else self.teaching.prior.frequencies
        except BundleError:
            counts = np.ones(len(self.labels))
        return np.divide(counts, counts.sum())

    def predict(self, picture: Pixels, *, in_domain: bool) -> CropPrediction:
        """Judge one picture. in_domain: whether it is known to show an item at the site where the bin was taught. Raises RuntimeFault."""
        probabilities, embedding = self.classifier.predict(picture)
        if self.teaching is not None:
            return CropPrediction(*self.teaching.predict(probabilities, embedding, in_domain=in_domain), embedding)
        return CropPrediction(probabilities, None if self._novelty is None else self._novelty.score(embedding, probabilities), embedding)

    def start_spare(self, why: str) -> "Future[Classifier] | None":
        """Open the spare classifier on its own thread, for `switch_to`. None where there is no other or it was opened before.

        why: what is wrong with the current one.
        """
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
        """Use another classifier of the same bundle from now on."""
        # Keep the failed one: freeing a device that does not answer may hang.
        self._failed, self.classifier = self.classifier, classifier

    def crops(self, item: Isolated) -> Crops:
        """The crops by which an item is judged. A taught head has learned crops of the item alone where it was isolated."""
        if self.teaching is None:
            return crops_of(item)
        return ITEM_CROPS if item.found else FRAME_CROPS

    def look_weight(self, look: Look) -> float:
        """The weight of a look among those of its kind. They weigh the same for a taught head, which was fitted to all of them."""
        return look.weight if self.teaching is None else 1.0

    def is_unknown(self, unknown: float | None) -> bool:
        """Whether an item with this novelty score counts as unknown."""
        return unknown is not None and unknown > self._unknown_above
