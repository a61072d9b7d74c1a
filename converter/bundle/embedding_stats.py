"""`reference.npz`: where the embeddings of each label lie, for unknown items, drift, and items taught on site."""

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array, Float64Array
from device.vision.inference.embedding_stats import EmbeddingStats

DIRECTIONS = 64
"""strongest directions of the covariance that are kept"""
LEAST_LENGTH = 1e-12
"""of what is brought to length 1: photos that are all alike have no direction"""


def fit_embedding_stats(embeddings: Float32Array, targets: npt.NDArray[np.int64], label_count: int) -> EmbeddingStats:
    """Means and shared covariance of embeddings (photos x features) whose labels are `targets`; each label occurs at least once."""
    rows = embeddings.astype(np.float64)
    means = np.stack([rows[targets == i].mean(axis=0) for i in range(label_count)])
    around = rows - means[targets]
    freedom = max(len(rows) - label_count, 1)
    variances, directions = _strongest(around / np.sqrt(freedom), min(DIRECTIONS, freedom, rows.shape[1]))
    # An eigenvector may point either way: let its largest entry be positive, so that the same photos give the same file.
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, np.newaxis], axis=1)
    directions = (directions * np.sign(largest)).astype(np.float16)
    explained = (directions.astype(np.float64) ** 2 * variances[:, np.newaxis]).sum(axis=0)
    return EmbeddingStats(
        means.astype(np.float32),
        np.bincount(targets, minlength=label_count).astype(np.int32),
        directions,
        variances.astype(np.float32),
        np.maximum((around**2).sum(axis=0) / freedom - explained, 0).astype(np.float32),
    )


def _strongest(rows: Float64Array, count: int) -> tuple[Float64Array, Float64Array]:
    """The greatest eigenvalues of rows.T @ rows, and their unit eigenvectors as rows, from whichever side of `rows` is shorter."""
    if len(rows) >= rows.shape[1]:
        values, vectors = np.linalg.eigh(rows.T @ rows)
        return np.maximum(values[::-1][:count], 0), vectors.T[::-1][:count]
    values, vectors = np.linalg.eigh(rows @ rows.T)
    found = vectors.T[::-1][:count] @ rows
    return np.maximum(values[::-1][:count], 0), found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), LEAST_LENGTH)
