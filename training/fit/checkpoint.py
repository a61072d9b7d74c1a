"""What a run keeps while it trains: how far it came, averaged weights, the best epoch. Every file is the old one or the new one, never half."""

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
    """A run folder that cannot be written to."""


@dataclass(frozen=True)
class TrainingProgress:
    """How far a run has come: `epoch` epochs of stage number `stage` (from 0) are done."""

    stage: int
    epoch: int

    @classmethod
    def read(cls, run: Path) -> "TrainingProgress | None":
        file = run / "progress.json"
        return cls(**json.loads(file.read_text())) if file.is_file() else None

    def write(self, run: Path) -> None:
        with replacing(run / "progress.json") as new:
            new.write_text(json.dumps({"stage": self.stage, "epoch": self.epoch}))


class WeightAverage(keras.callbacks.Callback):
    """Exponential moving average of all weights (Polyak & Juditsky 1992), by `momentum` a batch. Momentum 0: the weights as they are.

    It is brought up to date every EVERY batches and after the last of an epoch, by the momentum of all batches since: weights move little in
    between, and at every batch it took a twentieth of the time of training.
    """

    EVERY = 8

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self._momentum = momentum
        self._kept: list[tf.Variable] = []
        self._since = 0

    @property
    def weights(self) -> list[Float32Array]:
        """The average so far, in the order of the model's own weights."""
        return [kept.numpy() for kept in self._kept]

    def on_train_begin(self, logs: object = None) -> None:
        if not self._kept:
            self._kept = [tf.Variable(weight) for weight in self.model.get_weights()]
        pairs = list(zip(self._kept, (weight.value for weight in self.model.weights), strict=True))

        @tf.function(input_signature=[tf.TensorSpec((), tf.float32)])
        def catch_up(share: tf.Tensor) -> None:
            for kept, now in pairs:
                old = tf.cast(share, kept.dtype)
                kept.assign(old * kept + (1 - old) * now)

        self._catch_up = catch_up

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self._since += 1
        if self._momentum and self._since == self.EVERY:
            self._bring_up_to_date()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        if self._since:
            self._bring_up_to_date()

    def _bring_up_to_date(self) -> None:
        self._catch_up(self._momentum**self._since)
        self._since = 0

    def save(self, file: Path) -> None:
        write_arrays(file, self.weights)

    def load(self, file: Path) -> None:
        with np.load(file) as stored:
            self._kept = [tf.Variable(stored[name]) for name in stored.files]


def save_state(model: keras.Model, file: Path) -> None:
    """Keep all that training changes: weights, and what the optimizer remembers. Not as HDF5, whose library crashes at exit on a full disk."""
    write_arrays(file, [variable.numpy() for variable in _state(model)])


def load_state(model: keras.Model, file: Path) -> None:
    """Put back what `save_state` kept of the same model, its optimizer built."""
    with np.load(file) as stored:
        for variable, name in zip(_state(model), stored.files, strict=True):
            variable.assign(stored[name])


def _state(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]


class BestWeights:
    """The averaged weights of a stage's best epoch, kept in `file`."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def offer(self, score: Score, epoch: int, weights: Sequence[Float32Array]) -> None:
        """Keep these weights if nothing better was offered before."""
        if not self._file.is_file() or score.rank > tuple(self._read()[0][:2]):
            write_arrays(self._file, [np.array([*score.rank, epoch]), *weights])

    @property
    def epoch(self) -> int:
        """Which epoch it was, from 0."""
        return int(self._read()[0][2])

    def weights(self) -> list[Float32Array]:
        """The best weights offered so far."""
        return self._read()[1:]

    def _read(self) -> list[Float32Array]:
        with np.load(self._file) as stored:
            return [stored[name] for name in stored.files]


def write_arrays(file: Path, arrays: Sequence[npt.NDArray[np.generic]]) -> None:
    """Write an `.npz`. It is put together in memory, since NumPy's own writer breaks twice over on a full disk."""
    packed = io.BytesIO()
    np.savez(packed, *arrays)
    with replacing(file) as new:
        new.write_bytes(packed.getbuffer())


@contextlib.contextmanager
def storage_errors(run: Path) -> Iterator[None]:
    """Raises StorageError where the block finds no room to write, or may not. Whatever was kept before stays as it was."""
    try:
        yield
    except OSError as error:
        if isinstance(error, SortbinError) or error.errno not in NO_ROOM:
            raise
        raise RunStorageError(
            f"{run}: {os.strerror(error.errno)}; make room and give the same command again: it goes on at the last whole epoch"
        ) from error
