"""`known.npz`: prototypes of the training photos, with which the device recognizes items of no label."""

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array, Float64Array
from device.vision.inference.novelty import NoveltyModel, fit_novelty, head_doubts, normalize, prototype_distances

PROTOTYPES = 16
"""per label; 8 or 32 recognize left-out labels equally well"""
FALSE_REJECTS = 0.02
"""share of photos in distribution that may be taken for unknown"""

_ROUNDS = 20


def fit_novelty_model(embeddings: Float32Array, targets: npt.NDArray[np.int64], unseen: Float32Array, probabilities: Float64Array) -> NoveltyModel:
    """Fit prototypes to the training photos, and the distribution of novelty scores to the validation photos.

    embeddings: training photos x features. targets: index of each training photo's label. unseen: validation photos x features. probabilities: of the
    validation photos, calibrated, photos x labels.
    """
    rows = normalize(embeddings)
    prototypes = np.concatenate([_fit_prototypes(rows[targets == label]) for label in np.unique(targets)])
    return fit_novelty(prototypes, prototype_distances(unseen, prototypes), head_doubts(probabilities))


def _fit_prototypes(rows: Float64Array) -> Float64Array:
    """At most PROTOTYPES centres of unit vectors by spherical k-means (Dhillon and Modha 2001). It starts with rows at equal steps, so that the same
    photos give the same file.
    """
    centres: Float64Array = rows[np.linspace(0, len(rows) - 1, min(PROTOTYPES, len(rows))).astype(int)]
    for _ in range(_ROUNDS):
        nearest = (rows @ centres.T).argmax(axis=1)
        centres = normalize(np.stack([rows[nearest == i].mean(axis=0) if (nearest == i).any() else centre for i, centre in enumerate(centres)]))
    return centres
