"""`reference.npz`: where the embeddings of each label lie, for unknown items, drift, and items taught on site."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FILE = "reference.npz"
DIRECTIONS = 64


@dataclass(frozen=True, eq=False)
class Reference:
    """Embeddings of the training photos, as the INT8 network gives them, in few numbers.

    means: labels x features, float32. counts: photos per label, int32. The covariance within labels, shared by all of them, is
    `directions.T @ diag(variances) @ directions + diag(rest)`: its DIRECTIONS strongest directions (k x features, float16, unit length,
    strongest first) with their variances (k, float32), and what is left of each feature's variance (features, float32).
    """

    means: npt.NDArray[np.float32]
    counts: npt.NDArray[np.int32]
    directions: npt.NDArray[np.float16]
    variances: npt.NDArray[np.float32]
    rest: npt.NDArray[np.float32]

    def write(self, file: Path) -> None:
        """Write the arrays under these names, so that `numpy.load` reads them. The same numbers give the same bytes: no time is stored."""
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, array in vars(self).items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)


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
