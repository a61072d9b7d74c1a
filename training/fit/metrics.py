"""Scores of a float network on photos, with the device's own preprocessing."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from converter.data.isolated_view import PhotoView, whole_view
from converter.data.photos import Photo
from device.common.arrays import Float32Array
from device.vision.inference.preprocess import to_float, to_input


@dataclass(frozen=True)
class Score:
    """accuracy: 0..1, of n photos. nll: mean negative log likelihood in nats. recall: 0..1 of each label in order, NaN where it has no photo."""

    accuracy: float
    n: int
    nll: float
    recall: tuple[float, ...]

    @property
    def rank(self) -> tuple[float, float]:
        """Sort key: accuracy, then likelihood. Higher is better."""
        return self.accuracy, -self.nll

    def averaged_with(self, other: "Score") -> "Score":
        """The mean of this score and another of the same photos shown in another way."""
        recall = tuple((own + its) / 2 for own, its in zip(self.recall, other.recall, strict=True))
        return Score((self.accuracy + other.accuracy) / 2, self.n, (self.nll + other.nll) / 2, recall)

    def summary(self, labels: Sequence[str]) -> str:
        """One line for the terminal."""
        recall = " ".join(f"{label} {share:.2f}" for label, share in zip(labels, self.recall, strict=True))
        return f"val {self.accuracy:.4f} of {self.n}  nll {self.nll:.3f}  recall {recall}"


def evaluate(network: keras.Model, photos: Sequence[Photo], labels: Sequence[str], view: PhotoView = whole_view) -> Score:
    """Score the network on photos. view: what of a photo the network gets."""
    logits = predict(network, photos, network.input_shape[1], view=view)["logits"].astype(np.float64)
    targets = np.array([labels.index(photo.label) for photo in photos])
    right = logits.argmax(axis=1) == targets
    with np.errstate(invalid="ignore"):  # the caller reports an nll that is no number
        log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    recall = tuple(float(right[targets == i].mean()) if (targets == i).any() else float("nan") for i in range(len(labels)))
    return Score(float(right.mean()), len(photos), float(-log_p[np.arange(len(targets)), targets].mean()), recall)


def predict(
    network: keras.Model, photos: Sequence[Photo], size: int, *, mirrored: bool = False, view: PhotoView = whole_view
) -> dict[str, Float32Array]:
    """Outputs of the network by name, one row a photo. mirrored: of the photos' mirror images."""
    parts: list[dict[str, Float32Array]] = []
    for start in range(0, len(photos), 64):
        inputs = np.stack([to_float(to_input(view(photo), size)) for photo in photos[start : start + 64]])
        parts.append(network.predict_on_batch(inputs[:, :, ::-1] if mirrored else inputs))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
