"""What a run saves while it trains: progress, averaged weights, the best epoch. Each file is replaced as a whole."""

import contextlib
import errno
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from device.common.arrays import Float32Array
from device.common.errors import SortbinError
from device.common.files import replacing
from training.fit.metrics import Score

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


class RunStorageError(SortbinError, OSError):
    """A run folder that is full or may not be written to."""


@dataclass(frozen=True)
class TrainingProgress:
    """How far a run has come: `epoch` epochs of stage number `stage` (from 0) are done."""

    stage: int
    epoch: int

    @classmethod
    def read(cls, run: Path) -> "TrainingProgress | None":
        """What `write` stored in the run folder; None where no epoch was finished."""
        file = run / "progress.json"
        return cls(**json.loads(file.read_text())) if file.is_file() else None

    def write(self, run: Path) -> None:
        """Store it in the run folder."""
        with replacing(run / "progress.json") as new:
            new.write_text(json.dumps({"stage": self.stage, "epoch": self.epoch}))


class WeightAverage(keras.callbacks.Callback):
    """Exponential moving average of all weights (Polyak & Juditsky 1992), by `momentum` a batch. Momentum 0: the weights themselves.

    It is updated every EVERY batches and at the end of an epoch, by the momentum of all batches since. Weights change little in between, and an
    update at every batch took 5 % of the training time.
    """

    EVERY = 8

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self._momentum = momentum
        self._averages: list[tf.Variable] = []
        self._since = 0

    @property
    def weights(self) -> list[Float32Array]:
        """The average so far, in the order of the model's own weights."""
        return [average.numpy() for average in self._averages]

    def on_train_begin(self, logs: object = None) -> None:
        """Start from the model's weights, or go on from those that were loaded; Keras calls this."""
        if not self._averages:
            self._averages = [tf.Variable(weight) for weight in self.model.get_weights()]
        pairs = list(zip(self._averages, (weight.value for weight in self.model.weights), strict=True))

        @tf.function(input_signature=[tf.TensorSpec((), tf.float32)])
        def update(momentum: tf.Tensor) -> None:
            for average, weight in pairs:
                share = tf.cast(momentum, average.dtype)
                average.assign(share * average + (1 - share) * weight)

        self._update_by = update

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Keras calls this."""
        self._since += 1
        if self._momentum and self._since == self.EVERY:
            self._update()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        """Keras calls this."""
        if self._since:
            self._update()

    def _update(self) -> None:
        self._update_by(self._momentum**self._since)
        self._since = 0

    def save(self, file: Path) -> None:
        """Write the average as `.npz`."""
        write_arrays(file, self.weights)

    def load(self, file: Path) -> None:
        """Go on from what `save` wrote."""
        with np.load(file) as stored:
            self._averages = [tf.Variable(stored[name]) for name in stored.files]


def save_state(model: keras.Model, file: Path) -> None:
    """Save weights and optimizer state as `.npz`; the HDF5 library crashes at exit on a full disk."""
    write_arrays(file, [variable.numpy() for variable in _state(model)])


def load_state(model: keras.Model, file: Path) -> None:
    """Load what `save_state` wrote of the same model. Its optimizer has to be built."""
    with np.load(file) as stored:
        for variable, name in zip(_state(model), stored.files, strict=True):
            variable.assign(stored[name])


def _state(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]


class BestWeights:
    """The averaged weights of a stage's best epoch, stored in `file`."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def offer(self, score: Score, epoch: int, weights: Sequence[Float32Array]) -> None:
        """Store these weights if their score is better than all before."""
        if not self._file.is_file() or score.rank > tuple(self._read()[0][:2]):
            write_arrays(self._file, [np.array([*score.rank, epoch]), *weights])

    @property
    def epoch(self) -> int:
        """Number of the best epoch, from 0."""
        return int(self._read()[0][2])

    def weights(self) -> list[Float32Array]:
        """The stored weights."""
        return self._read()[1:]

    def _read(self) -> list[Float32Array]:
        with np.load(self._file) as stored:
            return [stored[name] for name in stored.files]


def write_arrays(file: Path, arrays: Sequence[npt.NDArray[np.generic]]) -> None:
    """Write an `.npz` file. It is built in memory: NumPy's own writer fails twice on a full disk, with two errors."""
    packed = io.BytesIO()
    np.savez(packed, *arrays)
    with replacing(file) as new:
        new.write_bytes(packed.getbuffer())


@contextlib.contextmanager
def storage_errors(run: Path) -> Iterator[None]:
    """Raise RunStorageError where the block finds no room to write, or may not write. Files saved before stay as they are."""
    try:
        yield
    except OSError as error:
        if isinstance(error, SortbinError) or error.errno not in NO_ROOM:
            raise
        raise RunStorageError(
            f"{run}: {os.strerror(error.errno)}; make room and give the same command again: it goes on at the last whole epoch"
        ) from error
