"""Taught photos that show the same: one photo in several files, and frames of one item that lay still.

Each tells what the others do. Where one is left out of a fit its twin is still there, and what is found out so holds for the taught photos alone; so
they are left out together, and all of them count as one photo.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float64Array

Ints = npt.NDArray[np.int64]
Whole = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]

WHOLE, ISOLATED = 0.05, 0.12
"""how far photos of one label may be apart and yet be alike, in squares, to what two training photos of a label are on the mean: of whole views,
which have their surroundings in common, and of items told apart. Noise, other light and JPEG move a photo by less (docs/research/teaching.md)"""


def group_near_duplicates(embeddings: Float64Array, targets: Whole, photos: Whole, isolated: Flags, total: float) -> Ints:
    """For each view the group of its photo, which is the number of the group's first photo: photos of one label that are alike, or are both like a
    third.

    embeddings: views x features. targets, photos: the label of each view, and which photo it is of. isolated: whether it shows an item told apart;
    total: of the covariance of training photos of one label.
    """
    numbers, first, photo_of, views = np.unique(photos, return_index=True, return_inverse=True, return_counts=True)
    means = np.zeros((len(numbers), embeddings.shape[1]))
    np.add.at(means, photo_of, embeddings / views[photo_of, np.newaxis])
    same = (targets[first, np.newaxis] == targets[first]) & (isolated[first, np.newaxis] == isolated[first])
    near = same & (_apart(means) <= 2 * total * np.where(isolated[first], ISOLATED, WHOLE))
    return numbers[_joined(near)][photo_of].astype(np.int64)


def exact_copies(embeddings: npt.NDArray[np.floating[Any]], targets: Whole, photos: Whole) -> Flags:
    """Whether each view is of a photo that says nothing new: all its views are, number by number, those of an earlier photo of its label."""
    seen: set[tuple[int, bytes]] = set()
    again = np.zeros(len(photos), np.bool_)
    for photo in np.unique(photos):
        own = photos == photo
        shown = int(targets[own][0]), np.ascontiguousarray(embeddings[own]).tobytes()
        again[own] = shown in seen
        seen.add(shown)
    return again


def _apart(rows: Float64Array) -> Float64Array:
    """Squares of the distances between rows."""
    squares = np.square(rows).sum(axis=1)
    return np.asarray(squares[:, np.newaxis] + squares - 2 * rows @ rows.T, np.float64)


def _joined(near: Flags) -> Ints:
    """The least row that can be reached from each row by steps to near ones. near: n x n, symmetric, each row near itself."""
    group = np.arange(len(near))
    while True:
        least = np.where(near, group, len(near)).min(axis=1)
        if (least == group).all():
            return np.asarray(group, np.int64)
        group = least
