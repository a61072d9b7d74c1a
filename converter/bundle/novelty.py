"""`known.npz`: what known things look like to a network, so that the device can tell what is unlike all of them."""

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array, Float64Array
from device.vision.inference.novelty import NoveltyModel, fit_novelty, head_doubts, normalize, prototype_distances

PROTOTYPES = 16
"""a label; with 8 or 32 labels left out are told apart as well"""
FALSE_REJECTS = 0.02
"""share of known photos that may be taken for unknown"""

_ROUNDS = 20


def fit_novelty_model(embeddings: Float32Array, targets: npt.NDArray[np.int64], unseen: Float32Array, probabilities: Float64Array) -> NoveltyModel:
    """Prototypes of the training photos, and how strange photos are that were not trained on.

    embeddings: training photos x features, whose labels are `targets`. unseen: embeddings of validation photos; probabilities: calibrated, the same
    photos x labels.
    """
    rows = normalize(embeddings)
    prototypes = np.concatenate([_prototypes(rows[targets == label]) for label in np.unique(targets)])
    return fit_novelty(prototypes, prototype_distances(unseen, prototypes), head_doubts(probabilities))


def _prototypes(rows: Float64Array) -> Float64Array:
    """At most PROTOTYPES middles of unit vectors: spherical k-means (Dhillon and Modha 2001), begun with rows at equal steps, so that the same photos
    give the same file.
    """
    middles: Float64Array = rows[np.linspace(0, len(rows) - 1, min(PROTOTYPES, len(rows))).astype(int)]
    for _ in range(_ROUNDS):
        nearest = (rows @ middles.T).argmax(axis=1)
        middles = normalize(np.stack([rows[nearest == i].mean(axis=0) if (nearest == i).any() else middle for i, middle in enumerate(middles)]))
    return middles
