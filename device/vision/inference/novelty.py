"""The novelty score: how unlike everything known a picture is.

It adds up the distance to the nearest prototype and the doubt of the head. Both are needed: the head alone is sure of many things that it never saw,
and the distance alone misses what lies between two labels. With labels left out for testing, this did as well as or better than Mahalanobis, relative
Mahalanobis, energy, the ViM residual and the nearest training photos. Where labels of the bundle were left out on site, a third part is added: an
item that the bundle surely takes for a left-out label is none of the others (docs/research/unknown.md).
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array, Float64Array
from device.vision.inference.bundle import Bundle, BundleError
from device.vision.inference.npz import read_arrays, write_arrays

FILE = "known.npz"
STEPS = 65
"""number of stored quantiles"""
LEAST_SPREAD = 0.01, 0.5
"""floors of the spread of distances and of log odds, so that very similar photos do not make the next one look strange"""
EXCLUDED_QUANTILE = 0.75
"""quantile of in-distribution excluded evidence below which no penalty applies: a bundle often takes taught items for left-out labels"""

_LEAST = 1e-6
_ARRAYS = "prototypes", "distance", "doubt", "quantiles", "photos"


@dataclass(frozen=True, eq=False)
class NoveltyModel:
    """Prototypes of what is known, and the distribution of strangeness over known photos that were not used for fitting.

    prototypes: n x features, about unit length, float32 rounded to float16. distance, doubt: median and interquartile range of the two parts of
    strangeness, float32. quantiles: of strangeness, at STEPS equal steps, float32. photos: number of photos, int64 scalar. usual: the
    EXCLUDED_QUANTILE quantile of `prior.excluded_evidence`, nats; infinite where no label was left out.
    """

    prototypes: Float32Array
    distance: Float32Array
    doubt: Float32Array
    quantiles: Float32Array
    photos: npt.NDArray[np.int64]
    usual: float = math.inf

    def score(self, embedding: npt.NDArray[np.floating[Any]], probabilities: Float64Array, excluded: float = 0.0) -> float:
        """The share of known photos that are less strange: 0 most familiar, 1 least. Beyond the strangest known photo it rises on towards 1.

        embedding: features. probabilities: calibrated, one for each label. excluded: see `prior.excluded_evidence`, nats.
        """
        parts = prototype_distances(embedding[np.newaxis], self.prototypes), head_doubts(probabilities[np.newaxis]), np.array([excluded])
        strange = self._strangeness(*parts)[0]
        most = float(self.quantiles[-1])
        beyond = 1 / (int(self.photos) + 1)
        if strange > most:
            return float(1 - beyond * np.exp(-(strange - most)))
        return float(np.interp(strange, self.quantiles, np.linspace(0, 1 - beyond, STEPS)))

    def write(self, file: Path) -> None:
        """Write the arrays under their names, for `numpy.load`. Equal numbers give equal bytes. Raises OSError."""
        write_arrays(file, {name: getattr(self, name) for name in _ARRAYS} | {"prototypes": self.prototypes.astype(np.float16)})

    def _strangeness(self, far: Float64Array, doubt: Float64Array, excluded: Float64Array) -> Float64Array:
        both = (far - self.distance[0]) / self.distance[1] + (doubt - self.doubt[0]) / self.doubt[1]
        return np.asarray(both + np.maximum(excluded - self.usual, 0), np.float64)


def fit_novelty(prototypes: Float64Array, far: Float64Array, doubt: Float64Array, excluded: Float64Array | None = None) -> NoveltyModel:
    """Fit a model to known photos that neither the prototypes nor the head was fitted to.

    far, doubt: their `prototype_distances` and `head_doubts`. excluded: their `prior.excluded_evidence`, where labels were left out.
    """
    nothing = np.zeros(STEPS, np.float32)
    middles = _median_and_spread(far, LEAST_SPREAD[0]), _median_and_spread(doubt, LEAST_SPREAD[1])
    plain = NoveltyModel(_round_to_float16(prototypes), *middles, nothing, np.array(len(far), np.int64), _usual_excluded(excluded))
    quantiles = np.quantile(plain._strangeness(far, doubt, np.zeros(len(far)) if excluded is None else excluded), np.linspace(0, 1, STEPS))
    return replace(plain, quantiles=quantiles.astype(np.float32))


def adapt_novelty(familiar: NoveltyModel, prototypes: Float64Array, apart: float | None, excluded: Float64Array | None) -> NoveltyModel:
    """A model with other prototypes and the strangeness of `familiar`, where too few photos are left to measure it.

    apart: expected distance of known photos to the nearest prototype, 1 - cosine; None: as in `familiar`. excluded: as for `fit_novelty`.
    """
    distance = familiar.distance if apart is None else np.array([apart, familiar.distance[1]], np.float32)
    return replace(familiar, prototypes=_round_to_float16(prototypes), distance=distance, usual=_usual_excluded(excluded))


def read_novelty_model(bundle: Bundle) -> NoveltyModel | None:
    """Read the novelty model of a bundle; None where it has none. Raises BundleError."""
    if FILE not in bundle.info.files:
        return None
    file = bundle.folder / FILE
    try:
        prototypes, distance, doubt, quantiles, photos = read_arrays(file, _ARRAYS)
    except (OSError, ValueError) as error:
        raise BundleError(f"{file}: {error}; expected what `converter quantize` writes") from error
    found = NoveltyModel(prototypes.astype(np.float32), distance, doubt, quantiles, photos)
    if found.prototypes.ndim != 2 or found.quantiles.shape != (STEPS,) or found.distance.shape != (2,) or found.doubt.shape != (2,):
        raise BundleError(f"{file}: expected prototypes and {STEPS} quantiles, as `converter quantize` writes them")
    return found


def prototype_distances(embeddings: npt.NDArray[np.floating[Any]], prototypes: npt.NDArray[np.floating[Any]]) -> Float64Array:
    """1 - cosine to the nearest prototype, for each row of `embeddings` (n x features)."""
    return np.asarray(1 - (normalize(embeddings).astype(np.float32) @ prototypes.astype(np.float32, copy=False).T).max(axis=1), np.float64)


def head_doubts(probabilities: Float64Array) -> Float64Array:
    """Log odds against the best label, for each row of `probabilities` (n x labels)."""
    best = np.clip(probabilities.max(axis=1), _LEAST, 1 - _LEAST)
    return np.asarray(np.log1p(-best) - np.log(best), np.float64)


def normalize(embeddings: npt.NDArray[np.floating[Any]]) -> Float64Array:
    """Scale rows to length 1, float64; a row of zeros stays zero."""
    rows = embeddings.astype(np.float64)
    return np.divide(rows, np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12))


def _round_to_float16(prototypes: Float64Array) -> Float32Array:
    return prototypes.astype(np.float16).astype(np.float32)


def _usual_excluded(excluded: Float64Array | None) -> float:
    return math.inf if excluded is None else float(np.quantile(excluded, EXCLUDED_QUANTILE))


def _median_and_spread(values: Float64Array, least_spread: float) -> Float32Array:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return np.array([median, max(high - low, least_spread)], np.float32)
