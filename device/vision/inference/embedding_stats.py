"""`reference.npz` of a bundle: where the embeddings of each label lie, for unknown items, drift, and items taught on site."""

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
    """Embeddings of the training photos, as the INT8 network gives them, in few numbers.

    means: labels x features, float32. counts: photos per label, int32. The covariance within labels, shared by all of them, is
    `directions.T @ diag(variances) @ directions + diag(rest)`: its strongest directions (k x features, float16, unit length,
    strongest first) with their variances (k, float32), and what is left of each feature's variance (features, float32).
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
        """How far two photos of one label lie apart on the mean, 1 - cosine of their embeddings, nearly."""
        total = self.covariance().trace
        return float(np.mean(total / (np.square(self.means.astype(np.float64)).sum(axis=1) + total)))

    def write(self, file: Path) -> None:
        """Write the arrays under these names, so that `numpy.load` reads them. The same numbers give the same bytes: no time is stored."""
        write_arrays(file, vars(self))


def read_embedding_stats(bundle: Bundle) -> EmbeddingStats:
    """The reference of a bundle. Raises BundleError where it has none, or one that is not for its labels."""
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
