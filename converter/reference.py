"""`reference.npz`: where the embeddings of each label lie, for unknown items, drift, and items taught on site."""

import numpy as np
import numpy.typing as npt

from device.vision.reference import Reference

DIRECTIONS = 64
"""strongest directions of the covariance that are kept"""


def fit_reference(embeddings: npt.NDArray[np.float32], targets: npt.NDArray[np.int64], label_count: int) -> Reference:
    """Means and shared covariance of embeddings (photos x features) whose labels are `targets`; each label occurs at least once."""
    rows = embeddings.astype(np.float64)
    means = np.stack([rows[targets == i].mean(axis=0) for i in range(label_count)])
    around = rows - means[targets]
    freedom = max(len(rows) - label_count, 1)
    covariance = around.T @ around / freedom
    variances, vectors = np.linalg.eigh(covariance)
    kept = min(DIRECTIONS, freedom, len(variances))
    variances, directions = np.maximum(variances[::-1][:kept], 0), vectors.T[::-1][:kept]
    # An eigenvector may point either way: let its largest entry be positive, so that the same photos give the same file.
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, np.newaxis], axis=1)
    directions = (directions * np.sign(largest)).astype(np.float16)
    explained = (directions.astype(np.float64) ** 2 * variances[:, np.newaxis]).sum(axis=0)
    return Reference(
        means.astype(np.float32),
        np.bincount(targets, minlength=label_count).astype(np.int32),
        directions,
        variances.astype(np.float32),
        np.maximum(np.diag(covariance) - explained, 0).astype(np.float32),
    )
