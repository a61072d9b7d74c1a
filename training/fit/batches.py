"""Batches for fine-tuning. Photos are decoded once and augmented anew every epoch; a batch depends only on (seed, epoch, position)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import keras
import numpy as np
import numpy.typing as npt

from converter.data.photos import Photo, read_mask, read_pixels
from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels, to_float, to_input
from training.fit.augment import Augmentation, add_card_mask, add_mask, make_augmenter
from training.fit.draws import Draws
from training.fit.mixup import Batch, cutmix, mixup

BatchItem = tuple[Float32Array, dict[str, Float32Array], Float32Array]
"""inputs, targets by output name, sample weights"""
Predictor = Callable[[Float32Array], Float32Array]
"""(B, S, S, 3) inputs to B rows"""


@dataclass(frozen=True, eq=False)
class TrainingExamples:
    """Photos and what is to be learned of them.

    targets: N x columns float32; each output's columns sum to 1 in every row. widths: how many columns each output has, in order. weights: (N,) of
    each photo in the loss. extra: how many photos at the end teachers are not asked about. draws: which photos an epoch shows; None: each one once.
    """

    photos: Sequence[Photo]
    targets: Float32Array
    widths: dict[str, int]
    weights: Float32Array
    extra: int = 0
    draws: Draws | None = None

    @property
    def per_epoch(self) -> int:
        """How many views an epoch shows."""
        return len(self.photos) if self.draws is None else self.draws.count


@dataclass(frozen=True)
class BatchSpec:
    """How batches are made. size: input side in pixels; batch: photos in each; mixup, cutmix: alpha of the Beta distribution, 0 for none."""

    size: int
    batch: int
    mixup: float
    cutmix: float
    augmentation: Augmentation
    seed: int


class TrainingBatches(keras.utils.PyDataset):
    """Shuffled, augmented, mixed batches: inputs (B, S, S, 3) float32 -1..1, targets by output name, sample weights (B,).

    first_epoch: the epoch that the first pass draws. teach: probabilities of the teachers. They are further columns of `logits`, and one more column
    is 1 where teachers were asked: on views that mostly show a photo as it was taken, and not on extra photos. embed: target embeddings.
    worker: index of this worker and how many there are. Each worker makes every batch and keeps its share, weighted so that the mean of all workers'
    mean losses is the loss of the whole batch.
    """

    def __init__(
        self,
        examples: TrainingExamples,
        spec: BatchSpec,
        *,
        first_epoch: int = 0,
        teach: Predictor | None = None,
        embed: Predictor | None = None,
        worker: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(workers=1 if teach or embed else 2, max_queue_size=8)
        cv2.setNumThreads(1)  # the loaders are threads already; OpenCV's own threads would slow the network
        self._examples, self._spec = examples, spec
        self._photos = PhotoCache(examples.photos, round(spec.size * 8 / 7), masked=spec.augmentation.elsewhere_share > 0)
        self._with_teachers = np.arange(len(examples.targets)) < len(examples.targets) - examples.extra
        self._augment = make_augmenter(spec.augmentation, spec.size)
        self._teach, self._embed, self._worker = teach, embed, worker
        self._epoch = first_epoch
        self._order = self._shuffled()

    @property
    def views(self) -> int:
        """How many views an epoch shows, to all workers together."""
        return self._examples.per_epoch

    def __len__(self) -> int:
        return math.ceil(self._examples.per_epoch / self._spec.batch)

    def __getitem__(self, index: int) -> BatchItem:
        batch = self._drawn(index)
        *columns, asked_share = np.split(batch.targets, np.cumsum(list(self._examples.widths.values())), axis=1)
        targets = dict(zip(self._examples.widths, columns, strict=True))
        if self._teach is not None:
            asked = asked_share[:, 0] > 0.5
            answers = np.zeros_like(targets["logits"])
            if asked.any():
                answers[asked] = self._teach(batch.inputs[asked])
            targets["logits"] = np.column_stack([targets["logits"], answers, asked.astype(np.float32)])
        if self._embed is not None:
            targets["embedding"] = self._embed(batch.inputs)
        return batch.inputs, targets, batch.weights

    def on_epoch_end(self) -> None:
        """Shuffle anew; Keras calls this."""
        self._epoch += 1
        self._order = self._shuffled()

    def _drawn(self, index: int) -> Batch:
        """This worker's share of a batch, augmented and mixed. The last target column says how far teachers may be asked, 0..1."""
        size = self._spec.size
        chosen = self._order[index * self._spec.batch : (index + 1) * self._spec.batch]
        rng = np.random.default_rng([self._spec.seed, self._epoch, index])
        views = np.empty((len(chosen), size, size, 3), np.float32)
        asked = self._with_teachers[chosen].astype(np.float32)
        for place, photo in enumerate(chosen):
            pixels, aspect = self._photos[photo]
            view = self._augment(pixels, rng, aspect)
            views[place] = to_float(view.pixels)
            asked[place] *= view.as_taken
        targets = np.column_stack([self._examples.targets[chosen], asked])
        return worker_share(self._mixed(Batch(views, targets, self._examples.weights[chosen]), rng), *self._worker)

    def _mixed(self, batch: Batch, rng: np.random.Generator) -> Batch:
        spec = self._spec
        if spec.cutmix > 0 and (spec.mixup == 0 or rng.random() < 0.5):
            return cutmix(batch, spec.cutmix, rng)
        return mixup(batch, spec.mixup, rng) if spec.mixup > 0 else batch

    def _shuffled(self) -> npt.NDArray[np.intp]:
        rng, draws = np.random.default_rng([self._spec.seed, self._epoch]), self._examples.draws
        return rng.permutation(len(self._examples.targets)) if draws is None else draws.draw(rng)


def worker_share(batch: Batch, index: int, count: int) -> Batch:
    """Every count-th row of the batch from `index` on; where that is none, one row of weight 0."""
    if count == 1:
        return batch
    total = len(batch.weights)
    rows = np.arange(index, total, count)
    scale = np.float32(len(rows) * count / total)
    if not len(rows):
        rows = np.array([0])
    return Batch(batch.inputs[rows], batch.targets[rows], batch.weights[rows] * scale)


class PhotoCache:
    """Photos as side x side x 3 uint8 RGB, each with its width over height. Read when first asked for, stored while they fit into `budget_bytes`.

    masked: adds the item's mask as a fourth channel: the photo's own mask, else what stands out from light card. Photos of other places than the data
    set's, without a mask, get an empty one: their ground is no card.
    """

    def __init__(self, photos: Sequence[Photo], side: int, *, masked: bool = False, budget_bytes: int = 1 << 30) -> None:
        self._photos, self._side, self._masked = photos, side, masked
        self._room = budget_bytes // (side * side * 4)
        self._stored: dict[int, tuple[Pixels, float]] = {}

    def __getitem__(self, index: int) -> tuple[Pixels, float]:
        entry = self._stored.get(index)
        if entry is None:
            entry = self._read(self._photos[index])
            if len(self._stored) < self._room:
                self._stored[index] = entry
        return entry

    def _read(self, photo: Photo) -> tuple[Pixels, float]:
        pixels = read_pixels(photo.path)
        square = to_input(pixels, self._side)
        if self._masked:
            square = self._with_mask(square, photo)
        return square, pixels.shape[1] / pixels.shape[0]

    def _with_mask(self, square: Pixels, photo: Photo) -> Pixels:
        if photo.mask is not None:
            return add_mask(square, self._read_mask(photo.mask))
        return add_mask(square, np.zeros(square.shape[:2], np.uint8)) if photo.place else add_card_mask(square)

    def _read_mask(self, file: Path) -> Pixels:
        return np.asarray(cv2.resize(read_mask(file), (self._side, self._side), interpolation=cv2.INTER_AREA), np.uint8)
