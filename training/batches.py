"""Batches for fine-tuning: decoded once, augmented afresh every epoch, repeatable from (seed, epoch, position)."""

import math
from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt

from converter.photos import Photo, read_pixels
from device.vision.preprocess import Pixels, to_float, to_input
from training.augment import Augmentation, make_augmenter

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]


class Batches(keras.utils.PyDataset):
    """Shuffled, augmented, mixed batches: inputs (B, S, S, 3) float32 -1..1, targets (B, labels), sample weights (B,)."""

    def __init__(
        self,
        photos: Sequence[Photo],
        labels: Sequence[str],
        *,
        size: int,
        batch: int,
        mixup: float,
        augmentation: Augmentation,
        label_weights: Sequence[float],
        seed: int,
        first_epoch: int = 0,
    ) -> None:
        super().__init__(workers=2, max_queue_size=8)
        self._stored = StoredPhotos(photos, round(size * 8 / 7))
        self._targets = np.eye(len(labels), dtype=np.float32)[[labels.index(photo.label) for photo in photos]]
        self._weights = self._targets @ np.asarray(label_weights, np.float32)
        self._augment = make_augmenter(augmentation, size)
        self._batch, self._mixup, self._seed, self._epoch = batch, mixup, seed, first_epoch
        self._order = self._shuffled()

    def __len__(self) -> int:
        return math.ceil(len(self._targets) / self._batch)

    def __getitem__(self, index: int) -> Batch:
        chosen = self._order[index * self._batch : (index + 1) * self._batch]
        rng = np.random.default_rng([self._seed, self._epoch, index])
        inputs = np.stack([to_float(self._augment(self._stored[i], rng)) for i in chosen])
        targets, weights = self._targets[chosen], self._weights[chosen]
        if self._mixup > 0:
            share = np.float32(rng.beta(self._mixup, self._mixup))
            inputs = share * inputs + (1 - share) * inputs[::-1]
            targets = share * targets + (1 - share) * targets[::-1]
            weights = share * weights + (1 - share) * weights[::-1]
        return inputs, targets, weights

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._order = self._shuffled()

    def _shuffled(self) -> npt.NDArray[np.intp]:
        return np.random.default_rng([self._seed, self._epoch]).permutation(len(self._targets))


class StoredPhotos:
    """Photos shrunk to side x side x 3 uint8 RGB when first asked for, and kept while they fit into `budget_bytes`."""

    def __init__(self, photos: Sequence[Photo], side: int, budget_bytes: int = 1 << 30) -> None:
        self._photos, self._side = photos, side
        self._room = budget_bytes // (side * side * 3)
        self._kept: dict[int, Pixels] = {}

    def __getitem__(self, index: int) -> Pixels:
        kept = self._kept.get(index)
        if kept is None:
            kept = to_input(read_pixels(self._photos[index].path), self._side)
            if len(self._kept) < self._room:
                self._kept[index] = kept
        return kept
