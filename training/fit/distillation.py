"""Learning from teachers: the student sees the same views, and is drawn towards the teachers' mean (Beyer et al. 2022)."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from device.common.arrays import Float32Array
from device.common.errors import SortbinError
from training.models.network import read_labels, resized


class TeacherError(SortbinError, ValueError):
    """A teacher run that is unfinished or knows other labels."""


class Teachers:
    """Earlier runs whose mean probabilities are the soft targets, at inputs of size x size. Raises TeacherError."""

    def __init__(self, runs: Sequence[Path], labels: Sequence[str], size: int, temperature: float) -> None:
        views, softened = keras.Input((size, size, 3)), []
        for number, run in enumerate(runs):
            network = _read(run, labels, size)
            network.name = f"teacher{number}"  # Keras wants names to differ
            softened.append(keras.ops.softmax(network(views, training=False)["logits"] / temperature))
        self._together = keras.Model(views, keras.ops.mean(keras.ops.stack(softened), axis=0))

    def targets(self, inputs: Float32Array) -> Float32Array:
        """Probabilities of the softened, averaged teachers for (B, S, S, 3) inputs: (B, labels)."""
        return np.asarray(self._together.predict_on_batch(inputs), np.float32)


def distillation_loss(label_smoothing: float, share: float, temperature: float) -> keras.losses.Loss:
    """Cross entropy with the labels and, by `share`, with the teachers at their temperature.

    Targets are labels, then teachers, then 1 where these were asked: (B, 2 x labels + 1). Where they were not, the label alone counts.
    """
    hard = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing, reduction=None)
    soft = keras.losses.CategoricalCrossentropy(from_logits=True, reduction=None)

    def loss(targets: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
        count = keras.ops.shape(logits)[-1]
        with_labels = hard(targets[:, :count], logits)
        with_teachers = soft(targets[:, count:-1], logits / temperature) * temperature**2
        say = share * targets[:, -1]
        return (1 - say) * with_labels + say * with_teachers

    return loss


def _read(run: Path, labels: Sequence[str], size: int) -> keras.Model:
    if not (run / "model.keras").is_file():
        raise TeacherError(f"{run}: expected a finished run to learn from: model.keras is missing")
    known = read_labels(run)
    if known != tuple(labels):
        raise TeacherError(f"{run}: knows {', '.join(known)}; expected {', '.join(labels)}")
    return resized(keras.models.load_model(run / "model.keras", compile=False), size)
