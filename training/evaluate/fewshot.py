"""Few-shot accuracy: how well embeddings tell apart labels that a network was not trained on, after a few photos of each.

A network may get better on its own labels and lose the features that tell other things apart. Labels and photos are drawn many times (episodes;
Vinyals et al. 2016), and every network gets the same episodes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array, Float64Array
from device.common.errors import SortbinError

Ints = npt.NDArray[np.integer[Any]]

RIDGE = 0.3
"""L2 penalty of the ridge regression, for embeddings of length 1"""
QUERIES = 20
"""query photos of each label in an episode, at most"""


class FewShotError(SortbinError, ValueError):
    """Too few photos for an episode. The message says how many labels have enough photos."""


@dataclass(frozen=True, eq=False)
class Episode:
    """Indices of the support photos, shown with their labels, and of the query photos, none in both."""

    support: Ints
    queries: Ints


@dataclass(frozen=True)
class FewShotAccuracy:
    """Share of query photos classified right, 0..1: the mean over episodes, and its standard error."""

    mean: float
    error: float


def draw_episodes(targets: Ints, labels: int, shots: int, draws: int, seed: int) -> Iterator[Episode]:
    """Draw `draws` episodes of `labels` labels with `shots` support photos each. targets: the label of each photo. Raises FewShotError."""
    present, counts = np.unique(targets, return_counts=True)
    usable = present[counts > shots]
    if len(usable) < labels:
        raise FewShotError(f"expected at least {labels} labels with more than {shots} photos, found {len(usable)}")
    for number in range(draws):
        rng = np.random.default_rng([seed, number])
        support, queries = [], []
        for label in rng.choice(usable, labels, replace=False):
            own = rng.permutation(np.flatnonzero(targets == label))
            support.append(own[:shots])
            queries.append(own[shots : shots + QUERIES])
        yield Episode(np.concatenate(support), np.concatenate(queries))


def few_shot_accuracy(embeddings: Float32Array, targets: Ints, episodes: Sequence[Episode]) -> FewShotAccuracy:
    """Classify the queries of each episode by ridge regression on the support embeddings. embeddings: photos x features."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings.astype(np.float64) / np.maximum(lengths, 1e-9)
    accuracies = []
    for episode in episodes:
        labels, wanted = np.unique(targets[episode.support], return_inverse=True)
        found = labels[_scores(unit[episode.support], np.eye(len(labels))[wanted], unit[episode.queries]).argmax(axis=1)]
        accuracies.append(float((found == targets[episode.queries]).mean()))
    return FewShotAccuracy(float(np.mean(accuracies)), float(np.std(accuracies) / np.sqrt(len(accuracies))))


def _scores(support: Float64Array, targets: Float64Array, queries: Float64Array) -> Float64Array:
    """Queries x labels. In the dual form, as there are fewer photos than features."""
    middle = support.mean(axis=0)
    rows = support - middle
    dual = np.linalg.solve(rows @ rows.T + RIDGE * np.eye(len(rows)), targets - targets.mean(axis=0))
    return np.asarray((queries - middle) @ (rows.T @ dual), np.float64)
