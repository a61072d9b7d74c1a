"""What is done between the batches and epochs of training."""

import time
from collections.abc import Callable

import keras

from converter.common.progress import Progress as Terminal

SEEDS_APART = 1_000_003
"""between the seeds of one dropout layer and the next"""


class SeedDropoutByEpoch(keras.callbacks.Callback):
    """Draws dropout from (seed, epoch), so that a run that goes on drops what it would have dropped; Keras saves no generator's state."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        dropouts = [layer for layer in self.model.layers if isinstance(layer, keras.layers.Dropout) and layer.rate > 0]
        for number, dropout in enumerate(dropouts):
            dropout.seed_generator.state.assign([self._seed + number * SEEDS_APART, epoch])


class ShowProgress(keras.callbacks.Callback):
    """Shows on the terminal how far an epoch is."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self._terminal.step(f"epoch {self._epoch + 1}/{self.params['epochs']}: batch {batch + 1}/{self.params['steps']}")


class AfterEpoch(keras.callbacks.Callback):
    """Calls `then(epoch, logs, seconds)` after each epoch, counted from 0; what it adds to the logs is seen by later callbacks.

    seconds leave `then` out. Training ends when `then` returns True.
    """

    def __init__(self, then: Callable[[int, dict[str, float], float], bool]) -> None:
        super().__init__()
        self._then = then

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = {} if logs is None else logs
        for name, value in logs.items():
            logs[name] = float(value)
        self.model.stop_training = self._then(epoch, logs, time.monotonic() - self._began)
