"""How unlike everything known a picture is: far from all known embeddings, the head in doubt, and the bundle sure that it is something else.

The first two are needed both. The head alone is sure of many things it never saw; the distance alone does not see what lies between two labels.
On labels left out, the distance to the nearest of a few prototypes a label, beside the odds of the best label, did as well as or better than
Mahalanobis, relative Mahalanobis, energy, the ViM residual and the nearest training photos. The third counts where labels of the bundle do not
count any more: what it surely takes for one of them is none of those that do (docs/research/unknown.md).
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
"""quantiles that are kept of what known photos look like"""
LEAST_SPREAD = 0.01, 0.5
"""of distances and of log odds, so that photos which are all alike do not make the next one strange"""
USUALLY = 0.75
"""share of known photos that nothing is held against: a bundle may well take what is taught for something else"""

_LEAST = 1e-6
_ARRAYS = "prototypes", "distance", "doubt", "quantiles", "photos"


@dataclass(frozen=True, eq=False)
class NoveltyModel:
    """What known things look like: where they lie, and how strange known photos are that nothing was fitted to.

    prototypes: n x features, about unit length, float32 but no finer than float16, as which they are written. distance, doubt: median and
    spread (interquartile range) of the two parts of strangeness, float32. quantiles: of the strangeness of known photos, at STEPS equal steps
    from the least to the most, float32. photos: how many these were, an int64 scalar. usual: most that `prior.elsewhere` finds in three of four
    known photos, nats; infinite where no label was left out.
    """

    prototypes: Float32Array
    distance: Float32Array
    doubt: Float32Array
    quantiles: Float32Array
    photos: npt.NDArray[np.int64]
    usual: float = math.inf

    def score(self, embedding: npt.NDArray[np.floating[Any]], probabilities: Float64Array, elsewhere: float = 0.0) -> float:
        """0 for the most familiar, 1 for the least: the share of known photos that are less strange than this.

        Beyond the strangest known photo it goes on rising towards 1. embedding: features; probabilities: calibrated, one a label; elsewhere: see
        `prior.elsewhere`, nats.
        """
        parts = prototype_distances(embedding[np.newaxis], self.prototypes), head_doubts(probabilities[np.newaxis]), np.array([elsewhere])
        strange = self._strangeness(*parts)[0]
        most = float(self.quantiles[-1])
        beyond = 1 / (int(self.photos) + 1)
        if strange > most:
            return float(1 - beyond * np.exp(-(strange - most)))
        return float(np.interp(strange, self.quantiles, np.linspace(0, 1 - beyond, STEPS)))

    def write(self, file: Path) -> None:
        """Write the arrays under their names, so that `numpy.load` reads them. The same numbers give the same bytes: no time is stored."""
        write_arrays(file, {name: getattr(self, name) for name in _ARRAYS} | {"prototypes": self.prototypes.astype(np.float16)})

    def _strangeness(self, far: Float64Array, doubt: Float64Array, elsewhere: Float64Array) -> Float64Array:
        both = (far - self.distance[0]) / self.distance[1] + (doubt - self.doubt[0]) / self.doubt[1]
        return np.asarray(both + np.maximum(elsewhere - self.usual, 0), np.float64)


def fit_novelty(prototypes: Float64Array, far: Float64Array, doubt: Float64Array, elsewhere: Float64Array | None = None) -> NoveltyModel:
    """From known photos that neither the prototypes nor the head was fitted to: their `prototype_distances` and `head_doubts`, one a photo, and where
    labels were left out what `prior.elsewhere` says of them.
    """
    nothing = np.zeros(STEPS, np.float32)
    middles = _middle(far, LEAST_SPREAD[0]), _middle(doubt, LEAST_SPREAD[1])
    plain = NoveltyModel(_as_written(prototypes), *middles, nothing, np.array(len(far), np.int64), _usual(elsewhere))
    quantiles = np.quantile(plain._strangeness(far, doubt, np.zeros(len(far)) if elsewhere is None else elsewhere), np.linspace(0, 1, STEPS))
    return replace(plain, quantiles=quantiles.astype(np.float32))


def adapt_novelty(familiar: NoveltyModel, prototypes: Float64Array, apart: float | None, elsewhere: Float64Array | None) -> NoveltyModel:
    """What lies round these prototypes, where no photo tells how strange a known one may look there: as strange as those that `familiar` knows.

    apart: how far known things are expected from the nearest of them, 1 - cosine; None: as far as from those of `familiar`.
    """
    distance = familiar.distance if apart is None else np.array([apart, familiar.distance[1]], np.float32)
    return replace(familiar, prototypes=_as_written(prototypes), distance=distance, usual=_usual(elsewhere))


def read_novelty_model(bundle: Bundle) -> NoveltyModel | None:
    """What a bundle says of known things; None where it says nothing. Raises BundleError."""
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
    """1 - cosine to the nearest prototype: one a row of `embeddings` (n x features)."""
    return np.asarray(1 - (normalize(embeddings).astype(np.float32) @ prototypes.astype(np.float32, copy=False).T).max(axis=1), np.float64)


def head_doubts(probabilities: Float64Array) -> Float64Array:
    """Log odds against the best label, one a row of probabilities (n x labels)."""
    best = np.clip(probabilities.max(axis=1), _LEAST, 1 - _LEAST)
    return np.asarray(np.log1p(-best) - np.log(best), np.float64)


def normalize(embeddings: npt.NDArray[np.floating[Any]]) -> Float64Array:
    """Rows brought to length 1, float64; a row of zeros stays as it is."""
    rows = embeddings.astype(np.float64)
    return np.divide(rows, np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12))


def _as_written(prototypes: Float64Array) -> Float32Array:
    return prototypes.astype(np.float16).astype(np.float32)


def _usual(elsewhere: Float64Array | None) -> float:
    return math.inf if elsewhere is None else float(np.quantile(elsewhere, USUALLY))


def _middle(values: Float64Array, least_spread: float) -> Float32Array:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return np.array([median, max(high - low, least_spread)], np.float32)
