"""What the bundle takes a new label for: cans are metal to one that knows no cans, and that tells them from bottles better than few photos do."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer[Any]]

SUPPOSED = 2.0
"""how many photos of each new label are supposed to have been seen, taken for every label of the bundle alike"""


def kinship(probabilities: Floats, targets: Ints, photos: Ints, labels: Ints, supposed: float = SUPPOSED) -> Floats:
    """The mean probability of each label of the bundle among a new label's photos: new labels x labels of the bundle, rows sum to 1.

    probabilities: views x labels of the bundle. targets, photos: which label and which photo each view is of. labels: the new ones, as in targets.
    """
    found = np.zeros((len(labels), probabilities.shape[1]))
    for place, label in enumerate(labels):
        found[place] = _kin(probabilities[targets == label], photos[targets == label], supposed)
    return found


def kinship_to_others(probabilities: Floats, targets: Ints, photos: Ints, labels: Ints, supposed: float = SUPPOSED) -> Floats:
    """As `kinship`, for each view without the photo that it is of: views x new labels x labels of the bundle."""
    found = np.repeat(kinship(probabilities, targets, photos, labels, supposed)[np.newaxis], len(targets), axis=0)
    for place, label in enumerate(labels):
        for photo in np.unique(photos[targets == label]):
            others = (targets == label) & (photos != photo)
            found[photos == photo, place] = _kin(probabilities[others], photos[others], supposed)
    return found


def likeness(probabilities: Floats, kin: Floats) -> Floats:
    """Which of the new labels a view is, if it is one of them, by what the bundle takes it for: views x new labels, each row sums to 1.

    probabilities: views x labels of the bundle. kin: new labels x labels of the bundle, or that for each view.
    """
    alike = (kin @ probabilities[:, :, np.newaxis])[..., 0]
    return np.asarray(alike / alike.sum(axis=1, keepdims=True), np.float64)


def _kin(probabilities: Floats, photos: Ints, supposed: float) -> Floats:
    """Photos count alike, however many views they have."""
    count, labels = len(np.unique(photos)), probabilities.shape[1]
    seen = probabilities.mean(axis=0) * count if count else np.zeros(labels)
    return np.asarray((seen + supposed / labels) / (count + supposed), np.float64)
