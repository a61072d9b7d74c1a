"""`reference.npz` of a bundle: class means and covariance of the training embeddings, for drift and for teaching on site."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array
from device.vision.inference.bundle import Bundle, BundleError
from device.vision.inference.covariance import LowRankCovariance
from device.vision.inference.npz import read_arrays, write_arrays

FILE = "reference.npz"


@dataclass(frozen=True, eq=False)
class EmbeddingStats:
    """Statistics of the training photos' embeddings, computed with the INT8 network.

    means: labels x features, float32. counts: photos of each label, int32. The covariance within labels, shared by all labels, is
    `directions.T @ diag(variances) @ directions + diag(rest)`. directions: the strongest ones, k x features, float16, unit length, strongest first.
    variances: k, float32. rest: the remaining variance of each feature, float32.
    """

    means: Float32Array
    counts: npt.NDArray[np.int32]
    directions: npt.NDArray[np.float16]
    variances: Float32Array
    rest: Float32Array

    def covariance(self) -> LowRankCovariance:
        """The covariance within labels."""
        strong = np.sqrt(self.variances.astype(np.float64))[:, np.newaxis] * self.directions
        return LowRankCovariance(strong, self.rest.astype(np.float64))

    @property
    def mean_pair_distance(self) -> float:
        """The approximate mean distance of two photos of one label, as 1 - cosine of their embeddings."""
        total = self.covariance().trace
        return float(np.mean(total / (np.square(self.means.astype(np.float64)).sum(axis=1) + total)))

    def write(self, file: Path) -> None:
        """Write the arrays under their names, for `numpy.load`. Equal numbers give equal bytes. Raises OSError."""
        write_arrays(file, vars(self))


def read_embedding_stats(bundle: Bundle) -> EmbeddingStats:
    """Read the statistics of a bundle. Raises BundleError where it has none, or its arrays do not match its labels."""
    file = bundle.folder / FILE
    try:
        reference = EmbeddingStats(*read_arrays(file, [field.name for field in fields(EmbeddingStats)]))
    except FileNotFoundError as error:
        raise BundleError(f"{file}: not in this bundle; quantize the run again to get one") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{file}: {error}; expected what `converter quantize` writes") from error
    labels, features = len(bundle.info.labels), reference.means.shape[-1]
    strongest = len(reference.variances)
    wanted = ((labels, features), (labels,), (strongest, features), (strongest,), (features,))
    found = tuple(array.shape for array in vars(reference).values())
    if found != wanted:
        raise BundleError(f"{file}: expected arrays of shapes {wanted} for {labels} labels, found {found}")
    return reference
