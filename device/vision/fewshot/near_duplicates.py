"""Find taught photos that show the same: one photo in several files, or frames of one still item.

If only one of two such photos were left out in cross-validation, the other would give the answer away. So they are left out together and count as
one photo.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float64Array

Ints = npt.NDArray[np.int64]
Whole = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]

FRAME_DISTANCE, ITEM_DISTANCE = 0.05, 0.12
"""most squared distance of near duplicates, relative to the mean squared distance of two training photos of one label: for whole frames, which share
their surroundings, and for isolated items. Noise, other light and JPEG move a photo by less (docs/research/teaching.md)"""


SEQUENCE_DISTANCE = 0.2
"""the same for photos of one sequence: frames of one item that is turned or moved on, or of one spot"""


def group_near_duplicates(embeddings: Float64Array, targets: Whole, photos: Whole, isolated: Flags, trace: float) -> Ints:
    """The group of near duplicates of each row, as the number of the group's first photo. Grouping is transitive and stays within a label.

    embeddings: rows x features. targets, photos: the label and the photo of each row. isolated: whether it shows an isolated item. trace: of the
    covariance of training photos within labels.
    """
    return _grouped(embeddings, targets, photos, isolated, 2 * trace * np.where(isolated, ITEM_DISTANCE, FRAME_DISTANCE))


def group_sequences(embeddings: Float64Array, targets: Whole, photos: Whole, isolated: Flags, trace: float) -> Ints:
    """The sequence of each row: as `group_near_duplicates`, for photos up to SEQUENCE_DISTANCE apart."""
    return _grouped(embeddings, targets, photos, isolated, np.full(len(photos), 2 * trace * SEQUENCE_DISTANCE))


def _grouped(embeddings: Float64Array, targets: Whole, photos: Whole, isolated: Flags, most: Float64Array) -> Ints:
    """most: squared distance up to which two photos belong together, of each row."""
    numbers, first, photo_of, crops = np.unique(photos, return_index=True, return_inverse=True, return_counts=True)
    means = np.zeros((len(numbers), embeddings.shape[1]))
    np.add.at(means, photo_of, embeddings / crops[photo_of, np.newaxis])
    same = (targets[first, np.newaxis] == targets[first]) & (isolated[first, np.newaxis] == isolated[first])
    near = same & (_squared_distances(means) <= most[first])
    return numbers[_components(near)][photo_of].astype(np.int64)


def exact_copies(embeddings: npt.NDArray[np.floating[Any]], targets: Whole, photos: Whole) -> Flags:
    """Whether each row is of a photo whose embeddings all equal those of an earlier photo of the same label."""
    seen: set[tuple[int, bytes]] = set()
    again = np.zeros(len(photos), np.bool_)
    for photo in np.unique(photos):
        own = photos == photo
        shown = int(targets[own][0]), np.ascontiguousarray(embeddings[own]).tobytes()
        again[own] = shown in seen
        seen.add(shown)
    return again


def _squared_distances(rows: Float64Array) -> Float64Array:
    """Squared distances between all rows."""
    squares = np.square(rows).sum(axis=1)
    return np.asarray(squares[:, np.newaxis] + squares - 2 * rows @ rows.T, np.float64)


def _components(near: Flags) -> Ints:
    """The connected component of each row, as its least row number. near: n x n, symmetric, true on the diagonal."""
    group = np.arange(len(near))
    while True:
        least = np.where(near, group, len(near)).min(axis=1)
        if (least == group).all():
            return np.asarray(group, np.int64)
        group = least
