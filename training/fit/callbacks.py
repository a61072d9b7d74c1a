"""Keras callbacks of training: memory, dropout seeds, progress on the terminal, work after each epoch."""

import time
from collections.abc import Callable

import keras

from converter.common.progress import Progress as Terminal
from training.fit.memory import keep_freed_memory

SEEDS_APART = 1_000_003
"""difference between the seeds of two dropout layers"""


class KeepMemory(keras.callbacks.Callback):
    """Calls `keep_freed_memory` behind the first batch: TensorFlow sets its own limit before it."""

    def on_train_begin(self, logs: object = None) -> None:
        """Keras calls this."""
        self._told = False

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Keras calls this."""
        if not self._told:
            keep_freed_memory()
            self._told = True


class SeedDropoutByEpoch(keras.callbacks.Callback):
    """Seeds dropout by (seed, epoch), so that a resumed run drops the same units; Keras saves no generator state."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Keras calls this."""
        dropouts = [layer for layer in self.model.layers if isinstance(layer, keras.layers.Dropout) and layer.rate > 0]
        for number, dropout in enumerate(dropouts):
            dropout.seed_generator.state.assign([self._seed + number * SEEDS_APART, epoch])


class ShowProgress(keras.callbacks.Callback):
    """Shows the progress of an epoch on the terminal."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Keras calls this."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Keras calls this."""
        self._terminal.step(f"epoch {self._epoch + 1}/{self.params['epochs']}: batch {batch + 1}/{self.params['steps']}")


class AfterEpoch(keras.callbacks.Callback):
    """Calls `then(epoch, logs, seconds)` after each epoch, counted from 0. Later callbacks see what it adds to the logs.

    seconds: duration of the epoch, without `then`. Training ends when `then` returns True.
    """

    def __init__(self, then: Callable[[int, dict[str, float], float], bool]) -> None:
        super().__init__()
        self._then = then

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Keras calls this."""
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        logs = {} if logs is None else logs
        for name, value in logs.items():
            logs[name] = float(value)
        self.model.stop_training = self._then(epoch, logs, time.monotonic() - self._began)
