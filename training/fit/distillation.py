"""Knowledge distillation: student and teachers get the same views, and the teachers' mean is a soft target (Beyer et al. 2022)."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from device.common.arrays import Float32Array
from device.common.errors import SortbinError
from training.models.network import read_labels, resized


class TeacherError(SortbinError, ValueError):
    """A teacher run that is unfinished or has other labels."""


class Teachers:
    """Earlier runs whose mean probabilities are soft targets, for inputs of size x size. Raises TeacherError."""

    def __init__(self, runs: Sequence[Path], labels: Sequence[str], size: int, temperature: float) -> None:
        views, softened = keras.Input((size, size, 3)), []
        for number, run in enumerate(runs):
            network = _read(run, labels, size)
            network.name = f"teacher{number}"  # Keras requires different names
            softened.append(keras.ops.softmax(network(views, training=False)["logits"] / temperature))
        self._mean = keras.Model(views, keras.ops.mean(keras.ops.stack(softened), axis=0))

    def targets(self, inputs: Float32Array) -> Float32Array:
        """Mean probabilities at the temperature: (B, S, S, 3) inputs to (B, labels)."""
        return np.asarray(self._mean.predict_on_batch(inputs), np.float32)


def distillation_loss(label_smoothing: float, share: float, temperature: float) -> keras.losses.Loss:
    """Cross entropy with the labels and, by `share`, with the teachers' probabilities at their temperature.

    Targets: (B, 2 x labels + 1): labels, then teachers, then 1 where teachers were asked. Where they were not, only the label counts.
    """
    hard = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing, reduction=None)
    soft = keras.losses.CategoricalCrossentropy(from_logits=True, reduction=None)

    def loss(targets: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
        count = keras.ops.shape(logits)[-1]
        with_labels = hard(targets[:, :count], logits)
        with_teachers = soft(targets[:, count:-1], logits / temperature) * temperature**2
        weight = share * targets[:, -1]
        return (1 - weight) * with_labels + weight * with_teachers

    return loss


def _read(run: Path, labels: Sequence[str], size: int) -> keras.Model:
    if not (run / "model.keras").is_file():
        raise TeacherError(f"{run}: expected a finished run to learn from: model.keras is missing")
    found = read_labels(run)
    if found != tuple(labels):
        raise TeacherError(f"{run}: expected the labels {', '.join(labels)}, found {', '.join(found)}")
    return resized(keras.models.load_model(run / "model.keras", compile=False), size)
