"""How well embeddings carry to things that a network was not trained on: tell labels apart after a few photos of each.

A network can name its own labels ever better and lose what tells other things apart. Labels and photos are drawn many times, as in tests of
few-shot learning (Vinyals et al. 2016), and every network gets the same draws.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array, Float64Array
from device.common.errors import SortbinError

Ints = npt.NDArray[np.integer]

RIDGE = 0.3
"""penalty on the length of the weights, for embeddings of length 1"""
QUERIES = 20
"""photos of each label that are asked about in a draw"""


class FewShotError(SortbinError, ValueError):
    """Photos that allow no draw. The message says how many labels have how many photos."""


@dataclass(frozen=True, eq=False)
class Episode:
    """Indices of photos that are shown with their labels, and of those that are asked about, none in both."""

    shown: Ints
    asked: Ints


@dataclass(frozen=True)
class FewShotAccuracy:
    """Share of asked photos told right, 0..1: the mean over draws, and its standard error."""

    mean: float
    error: float


def draw_episodes(targets: Ints, labels: int, shots: int, draws: int, seed: int) -> Iterator[Episode]:
    """Draw `labels` labels and `shots` photos of each to be shown. targets: the label of each photo. Raises CarryError."""
    known, counts = np.unique(targets, return_counts=True)
    usable = known[counts > shots]
    if len(usable) < labels:
        raise FewShotError(f"expected at least {labels} labels with more than {shots} photos, found {len(usable)}")
    for number in range(draws):
        rng = np.random.default_rng([seed, number])
        shown, asked = [], []
        for label in rng.choice(usable, labels, replace=False):
            own = rng.permutation(np.flatnonzero(targets == label))
            shown.append(own[:shots])
            asked.append(own[shots : shots + QUERIES])
        yield Episode(np.concatenate(shown), np.concatenate(asked))


def few_shot_accuracy(embeddings: Float32Array, targets: Ints, draws: Sequence[Episode]) -> FewShotAccuracy:
    """Tell the asked photos of each draw by a ridge regression from the embeddings of those shown to their labels. embeddings: photos x features."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings.astype(np.float64) / np.maximum(lengths, 1e-9)
    told = []
    for draw in draws:
        labels, wanted = np.unique(targets[draw.shown], return_inverse=True)
        found = labels[_scores(unit[draw.shown], np.eye(len(labels))[wanted], unit[draw.asked]).argmax(axis=1)]
        told.append(float((found == targets[draw.asked]).mean()))
    return FewShotAccuracy(float(np.mean(told)), float(np.std(told) / np.sqrt(len(told))))


def _scores(shown: Float64Array, wanted: Float64Array, asked: Float64Array) -> Float64Array:
    """Asked x labels. In its dual form, for there are fewer photos than features."""
    middle = shown.mean(axis=0)
    rows = shown - middle
    dual = np.linalg.solve(rows @ rows.T + RIDGE * np.eye(len(rows)), wanted - wanted.mean(axis=0))
    return np.asarray((asked - middle) @ (rows.T @ dual), np.float64)
