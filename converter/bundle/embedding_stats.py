"""`reference.npz`: mean and covariance of the training embeddings, for unknown items, drift, and items taught on site."""

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array, Float64Array
from device.vision.inference.embedding_stats import EmbeddingStats

DIRECTIONS = 64
"""number of principal directions of the covariance in the file"""
LEAST_LENGTH = 1e-12
"""smallest length of a vector that is normalized: identical photos have no direction"""


def fit_embedding_stats(embeddings: Float32Array, targets: npt.NDArray[np.int64], label_count: int) -> EmbeddingStats:
    """Mean of each label and shared covariance of embeddings, photos x features. targets: index of each photo's label; every label occurs."""
    rows = embeddings.astype(np.float64)
    means = np.stack([rows[targets == i].mean(axis=0) for i in range(label_count)])
    centred = rows - means[targets]
    freedom = max(len(rows) - label_count, 1)
    variances, directions = _principal_directions(centred / np.sqrt(freedom), min(DIRECTIONS, freedom, rows.shape[1]))
    # The sign of an eigenvector is arbitrary. Its largest entry is made positive, so that the same photos give the same file.
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, np.newaxis], axis=1)
    directions = (directions * np.sign(largest)).astype(np.float16)
    explained = (directions.astype(np.float64) ** 2 * variances[:, np.newaxis]).sum(axis=0)
    return EmbeddingStats(
        means.astype(np.float32),
        np.bincount(targets, minlength=label_count).astype(np.int32),
        directions,
        variances.astype(np.float32),
        np.maximum((centred**2).sum(axis=0) / freedom - explained, 0).astype(np.float32),
    )


def _principal_directions(rows: Float64Array, count: int) -> tuple[Float64Array, Float64Array]:
    """The largest eigenvalues of rows.T @ rows and their unit eigenvectors, as rows. The smaller of rows.T @ rows and rows @ rows.T is solved."""
    if len(rows) >= rows.shape[1]:
        values, vectors = np.linalg.eigh(rows.T @ rows)
        return np.maximum(values[::-1][:count], 0), vectors.T[::-1][:count]
    values, vectors = np.linalg.eigh(rows @ rows.T)
    found = vectors.T[::-1][:count] @ rows
    return np.maximum(values[::-1][:count], 0), found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), LEAST_LENGTH)
