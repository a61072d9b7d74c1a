"""The taught photos as the network sees them: embeddings and probabilities, stored so that later teaching adds to them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array
from device.vision.fewshot.near_duplicates import exact_copies
from device.vision.inference.bundle import Bundle
from device.vision.inference.classifier import Classifier, Outputs, softmax
from device.vision.inference.preprocess import Pixels


class TaughtPhoto(NamedTuple):
    """A photo with its label. crops: H x W x 3 uint8 RGB, as `teaching_crops` makes them; isolated: whether they show an isolated item."""

    label: str
    crops: Sequence[Pixels]
    isolated: bool


class EmbeddedPhoto(NamedTuple):
    """A taught photo after the network: its outputs, one for each crop."""

    label: str
    outputs: Sequence[Outputs]
    isolated: bool


@dataclass(frozen=True, eq=False)
class Examples:
    """Network outputs of all taught photos, one row for each crop.

    labels: the taught labels.
    targets: int32, index into `labels` for each row. photos: int32, number of the photo that each row is a crop of.
    embeddings: rows x features, float16. probabilities: rows x labels of the bundle, calibrated, float32.
    isolated: bool for each row, whether it shows an isolated item.
    """

    labels: tuple[str, ...]
    targets: npt.NDArray[np.int32]
    photos: npt.NDArray[np.int32]
    embeddings: npt.NDArray[np.float16]
    probabilities: Float32Array
    isolated: npt.NDArray[np.bool_]

    @property
    def count(self) -> int:
        """The number of photos."""
        return len(np.unique(self.photos))

    def counts(self) -> dict[str, int]:
        """The number of photos for each label."""
        return photo_counts(self.labels, self.targets, self.photos)

    def isolated_counts(self) -> dict[str, int]:
        """The number of photos with an isolated item for each label."""
        return photo_counts(self.labels, self.targets[self.isolated], self.photos[self.isolated])

    @cached_property
    def mostly_isolated(self) -> bool:
        """Whether more than half of the rows show isolated items."""
        return bool(self.isolated.mean() > 0.5)

    def followed_by(self, other: "Examples") -> "Examples":
        """These examples and `other`, as if taught together."""
        labels = tuple(dict.fromkeys(self.labels + other.labels))
        own, theirs = (np.array([labels.index(label) for label in each.labels], np.int32) for each in (self, other))
        return Examples(
            labels,
            np.concatenate([own[self.targets], theirs[other.targets]]),
            np.concatenate([self.photos, other.photos + self.photos.max() + 1]),
            np.concatenate([self.embeddings, other.embeddings]),
            np.concatenate([self.probabilities, other.probabilities]),
            np.concatenate([self.isolated, other.isolated]),
        )

    def without_copies(self) -> "Examples":
        """These examples without photos that are exact copies of an earlier photo of the same label."""
        kept = ~exact_copies(self.embeddings, self.targets, self.photos)
        return Examples(self.labels, self.targets[kept], self.photos[kept], self.embeddings[kept], self.probabilities[kept], self.isolated[kept])


def embed_photos(photos: Iterable[TaughtPhoto], classifier: Classifier) -> Examples:
    """Run the network on all crops; only one photo at a time is in memory. Raises RuntimeFault."""
    embedded = [EmbeddedPhoto(label, [classifier.outputs(crop) for crop in crops], isolated) for label, crops, isolated in photos]
    return to_examples(embedded, classifier.bundle)


def to_examples(embedded: Sequence[EmbeddedPhoto], bundle: Bundle) -> Examples:
    """Collect the outputs of photos into arrays."""
    labels = tuple(dict.fromkeys(photo.label for photo in embedded))
    rows = [(number, photo, outputs) for number, photo in enumerate(embedded) for outputs in photo.outputs]
    return Examples(
        labels,
        np.array([labels.index(photo.label) for _, photo, _ in rows], np.int32),
        np.array([number for number, _, _ in rows], np.int32),
        np.stack([outputs.embedding for _, _, outputs in rows]).astype(np.float16),
        np.stack([softmax(outputs.logits, bundle.info.temperature) for _, _, outputs in rows]).astype(np.float32),
        np.array([photo.isolated for _, photo, _ in rows], np.bool_),
    )


def photo_counts(labels: Sequence[str], targets: npt.NDArray[np.integer[Any]], photos: npt.NDArray[np.integer[Any]]) -> dict[str, int]:
    """The number of different photos for each label. targets: index into `labels`, photos: number of the photo; one of each for a row."""
    return {label: len(np.unique(photos[targets == i])) for i, label in enumerate(labels)}
