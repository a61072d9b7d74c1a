"""Batches for fine-tuning: decoded once, augmented afresh every epoch, repeatable from (seed, epoch, position)."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import keras
import numpy as np
import numpy.typing as npt

from converter.data.photos import Photo, read_mask, read_pixels
from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels, to_float, to_input
from training.fit.augment import Augmentation, add_card_mask, add_mask, make_augmenter
from training.fit.mixup import Batch, cutmix, mixup

BatchItem = tuple[Float32Array, dict[str, Float32Array], Float32Array]


class TrainingBatches(keras.utils.PyDataset):
    """Shuffled, augmented, mixed batches: inputs (B, S, S, 3) float32 -1..1, targets by the name of the output, sample weights (B,).

    targets: one row a photo that sums to 1 for each output, in columns; `widths` says how many columns each output has, in order.
    teach: adds the teachers' probabilities for the inputs as further columns of `logits`, and one that is 1 where they were asked: about views that
    mostly show a photo as it was taken, and not one of the last `untaught`. remember: gives the wanted embeddings of the inputs.
    worker: which of how many workers this is; each makes every batch and keeps its share of it, weighted so that the mean of all workers' mean
    losses is the whole batch's.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        targets: Float32Array,
        widths: dict[str, int],
        weights: Float32Array,
        *,
        size: int,
        batch: int,
        mixup: float,
        cutmix: float,
        augmentation: Augmentation,
        seed: int,
        first_epoch: int = 0,
        teach: Callable[[Float32Array], Float32Array] | None = None,
        untaught: int = 0,
        remember: Callable[[Float32Array], Float32Array] | None = None,
        worker: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(workers=1 if teach or remember else 2, max_queue_size=8)
        cv2.setNumThreads(1)  # the workers are threads already; more of OpenCV's own would stall the network's
        self._stored = PhotoCache(photos, round(size * 8 / 7), masked=augmentation.elsewhere_share > 0)
        self._taught = np.arange(len(targets)) < len(targets) - untaught
        self._targets, self._widths, self._weights = targets, widths, weights
        self._augment = make_augmenter(augmentation, size)
        self._size, self._batch, self._mixup, self._cutmix = size, batch, mixup, cutmix
        self._seed, self._epoch, self._teach = seed, first_epoch, teach
        self._remember = remember
        self._worker = worker
        self._order = self._shuffled()

    def __len__(self) -> int:
        return math.ceil(len(self._targets) / self._batch)

    def __getitem__(self, index: int) -> BatchItem:
        chosen = self._order[index * self._batch : (index + 1) * self._batch]
        rng = np.random.default_rng([self._seed, self._epoch, index])
        views = np.empty((len(chosen), self._size, self._size, 3), np.float32)
        taught = self._taught[chosen].astype(np.float32)
        for place, photo in enumerate(chosen):
            pixels, aspect = self._stored[photo]
            view = self._augment(pixels, rng, aspect)
            views[place] = to_float(view.pixels)
            taught[place] *= view.as_taken
        targets_and_taught = np.column_stack([self._targets[chosen], taught])
        mixed = worker_share(self._mixed(Batch(views, targets_and_taught, self._weights[chosen]), rng), *self._worker)
        *columns, taught = np.split(mixed.targets, np.cumsum(list(self._widths.values())), axis=1)
        targets = dict(zip(self._widths, columns, strict=True))
        if self._teach is not None:
            asked = taught[:, 0] > 0.5
            answers = np.zeros_like(targets["logits"])
            if asked.any():
                answers[asked] = self._teach(mixed.inputs[asked])
            targets["logits"] = np.column_stack([targets["logits"], answers, asked.astype(np.float32)])
        if self._remember is not None:
            targets["embedding"] = self._remember(mixed.inputs)
        return mixed.inputs, targets, mixed.weights

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._order = self._shuffled()

    def _mixed(self, batch: Batch, rng: np.random.Generator) -> Batch:
        if self._cutmix > 0 and (self._mixup == 0 or rng.random() < 0.5):
            return cutmix(batch, self._cutmix, rng)
        return mixup(batch, self._mixup, rng) if self._mixup > 0 else batch

    def _shuffled(self) -> npt.NDArray[np.intp]:
        return np.random.default_rng([self._seed, self._epoch]).permutation(len(self._targets))


def worker_share(batch: Batch, index: int, count: int) -> Batch:
    """Every count-th of the batch from `index` on. Where that is nothing, one that weighs nothing."""
    if count == 1:
        return batch
    of_all = len(batch.weights)
    kept = np.arange(index, of_all, count)
    scale = np.float32(len(kept) * count / of_all)
    if not len(kept):
        kept = np.array([0])
    return Batch(batch.inputs[kept], batch.targets[kept], batch.weights[kept] * scale)


class PhotoCache:
    """Photos shrunk to side x side x 3 uint8 RGB when first asked for, and kept while they fit into `budget_bytes`, with their width over height.

    masked: with the item's mask as a fourth channel, its own where the photo has one, else what stands out from light card.
    """

    def __init__(self, photos: Sequence[Photo], side: int, *, masked: bool = False, budget_bytes: int = 1 << 30) -> None:
        self._photos, self._side, self._masked = photos, side, masked
        self._room = budget_bytes // (side * side * 4)
        self._kept: dict[int, tuple[Pixels, float]] = {}

    def __getitem__(self, index: int) -> tuple[Pixels, float]:
        kept = self._kept.get(index)
        if kept is None:
            kept = self._read(self._photos[index])
            if len(self._kept) < self._room:
                self._kept[index] = kept
        return kept

    def _read(self, photo: Photo) -> tuple[Pixels, float]:
        pixels = read_pixels(photo.path)
        square = to_input(pixels, self._side)
        if self._masked:
            square = add_mask(square, self._mask(photo.mask)) if photo.mask else add_card_mask(square)
        return square, pixels.shape[1] / pixels.shape[0]

    def _mask(self, file: Path) -> Pixels:
        return cv2.resize(read_mask(file), (self._side, self._side), interpolation=cv2.INTER_AREA)
