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
DISTANCE_TO_TAUGHT, DISTANCE_TO_ANY, DISTANCE_SPREAD = 0.75, 0.55, 0.18
"""median distance expected at a taught site to the nearest taught photo; the same to the nearest prototype where those of the bundle count as well;
and the interquartile range of both; in mean distances of two training photos of one label. Chosen so at two sites; docs/research/accepting.md has the
results at others"""
EXPECTED_DOUBT = -4.0, 2.1
"""median and interquartile range of the log odds against the best label, chosen likewise"""
EXPECTED_STRANGENESS = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1), (-2.8, -1.9, -0.9, -0.15, 0.85, 2.35, 3.8)
EXPECTED_PHOTOS = 656
"""shares, and the strangeness that so many of the photos do not exceed; of the default bundle's own unseen photos, so many"""

_LEAST = 1e-6
_ARRAYS = "prototypes", "distance", "doubt", "quantiles", "photos"


@dataclass(frozen=True, eq=False)
class NoveltyModel:
    """Prototypes of what is known, and the distribution of strangeness over known photos that were not used for fitting.

    prototypes: n x features, about unit length, float32 rounded to float16. distance, doubt: median and interquartile range of the two parts of
    strangeness, float32. quantiles: of strangeness, at STEPS equal steps, float32. photos: number of photos, int64 scalar. usual: how much
    `prior.excluded_evidence` known items often have, in nats; only what goes beyond it is strange; infinite where no label was left out.
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
        return float(self.scores(*parts)[0])

    def scores(self, far: Float64Array, doubt: Float64Array, excluded: Float64Array) -> Float64Array:
        """The score of each item, from its `prototype_distances`, `head_doubts` and `prior.excluded_evidence`."""
        strange = self.strangeness(far, doubt, excluded)
        most, beyond = float(self.quantiles[-1]), 1 / (int(self.photos) + 1)
        within = np.interp(strange, self.quantiles, np.linspace(0, 1 - beyond, STEPS))
        return np.asarray(np.where(strange > most, 1 - beyond * np.exp(np.minimum(most - strange, 0)), within), np.float64)

    def strangeness(self, far: Float64Array, doubt: Float64Array, excluded: Float64Array) -> Float64Array:
        """How strange each item is, in spreads of known photos around their median. Arguments as for `scores`."""
        both = (far - self.distance[0]) / self.distance[1] + (doubt - self.doubt[0]) / self.doubt[1]
        return np.asarray(both + np.maximum(excluded - self.usual, 0), np.float64)

    def strangeness_at(self, score: float) -> float:
        """The strangeness that has this score, 0..1, at most that of the strangest known photo."""
        return float(np.interp(score, np.linspace(0, 1 - 1 / (int(self.photos) + 1), STEPS), self.quantiles))

    def tolerating(self, more: float) -> "NoveltyModel":
        """The same model with the scores of items that are stranger by `more`."""
        return replace(self, quantiles=(self.quantiles + more).astype(np.float32))

    def write(self, file: Path) -> None:
        """Write the arrays under their names, for `numpy.load`. Equal numbers give equal bytes. Raises OSError."""
        write_arrays(file, {name: getattr(self, name) for name in _ARRAYS} | {"prototypes": self.prototypes.astype(np.float16)})


def fit_novelty(prototypes: Float64Array, far: Float64Array, doubt: Float64Array) -> NoveltyModel:
    """Fit a model to known photos that neither the prototypes nor the head was fitted to. far, doubt: their `prototype_distances`, `head_doubts`."""
    nothing = np.zeros(STEPS, np.float32)
    middles = _median_and_spread(far, LEAST_SPREAD[0]), _median_and_spread(doubt, LEAST_SPREAD[1])
    plain = NoveltyModel(_round_to_float16(prototypes), *middles, nothing, np.array(len(far), np.int64))
    quantiles = np.quantile(plain.strangeness(far, doubt, np.zeros(len(far))), np.linspace(0, 1, STEPS))
    return replace(plain, quantiles=quantiles.astype(np.float32))


def expected_novelty(prototypes: Float64Array, middle: float, spread: float, usual: float) -> NoveltyModel:
    """The model of a taught site as other sites let expect it. middle, spread: median and interquartile range of the distance to the nearest
    prototype, 1 - cosine. usual: see `NoveltyModel`.
    """
    distance, doubt = np.array([middle, spread], np.float32), np.array(EXPECTED_DOUBT, np.float32)
    quantiles = np.interp(np.linspace(0, 1, STEPS), *EXPECTED_STRANGENESS).astype(np.float32)
    return NoveltyModel(_round_to_float16(prototypes), distance, doubt, quantiles, np.array(EXPECTED_PHOTOS, np.int64), usual)


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


def _median_and_spread(values: Float64Array, least_spread: float) -> Float32Array:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return np.array([median, max(high - low, least_spread)], np.float32)
