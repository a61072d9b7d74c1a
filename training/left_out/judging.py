"""What a model makes of photos, and all that turns it into decisions: calibration, statistics for teaching, novelty.

A bundle brings these along. For a run they are computed from its own photos, as `converter quantize` would, but on the float network.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.bundle.confidence import choose_reject_below, choose_temperature
from converter.bundle.embedding_stats import fit_embedding_stats
from converter.bundle.novelty import FALSE_REJECTS, fit_novelty_model
from converter.common.accuracy import Predictions
from converter.common.progress import Indexable
from converter.data.photos import Photo, read_pixels, report_all_unreadable
from device.common.arrays import Float32Array, Float64Array
from device.vision.inference.bundle import (
    Bundle,
    BundleInfo,
    CalibrationSet,
    GoldenOutput,
    InputSpec,
    MeasuredAccuracy,
    Metrics,
    read_bundle,
)
from device.vision.inference.classifier import Outputs, softmax
from device.vision.inference.embedding_stats import EmbeddingStats, read_embedding_stats
from device.vision.inference.novelty import NoveltyModel, read_novelty_model
from device.vision.isolation.tta import FRAME_CROPS, frame_crops
from training.evaluate.models import Model

Ints = npt.NDArray[np.integer[Any]]
LOOKS = len(FRAME_CROPS)
"""looks at a photo, as a bin without an empty view takes them"""


@dataclass(frozen=True, eq=False)
class SeenPhotos:
    """What a model makes of photos, by look. logits: photos x LOOKS x labels, float64; embeddings: photos x LOOKS x features, float32."""

    logits: Float64Array
    embeddings: Float32Array

    def looks_at(self, photo: int) -> list[Outputs]:
        """The outputs for one photo, as the device has them."""
        return [Outputs(logits.astype(np.float32), embedding) for logits, embedding in zip(self.logits[photo], self.embeddings[photo], strict=True)]


def see(model: Model, photos: Indexable[Photo]) -> SeenPhotos:
    """Show a model each photo in all looks; each photo is decoded once. Raises PhotosError, which names every file that cannot be read."""
    with report_all_unreadable(list(photos)):
        logits, embeddings, _ = model.judge(crop for photo in photos for crop in frame_crops(read_pixels(photo.path)))
    return SeenPhotos(logits.reshape(len(photos), LOOKS, -1), embeddings.reshape(len(photos), LOOKS, -1))


@dataclass(frozen=True, eq=False)
class Judging:
    """How outputs become decisions. bundle: labels, temperature and thresholds. stats: None where nothing can be taught. novelty: None without."""

    bundle: Bundle
    stats: EmbeddingStats | None
    novelty: NoveltyModel | None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the model."""
        return self.bundle.info.labels

    @property
    def usual_shares(self) -> Float64Array:
        """The share of each label that the probabilities assume; they sum to 1."""
        counts = np.ones(len(self.labels)) if self.stats is None else self.stats.counts
        return np.divide(counts, counts.sum(), dtype=np.float64)


def bundle_judging(folder: Path) -> Judging:
    """That of a bundle. Raises BundleError."""
    bundle = read_bundle(folder)
    return Judging(bundle, read_embedding_stats(bundle), read_novelty_model(bundle))


@dataclass(frozen=True, eq=False)
class OwnPhotos:
    """What a float network makes of its own photos, as they are. logits: photos x labels; embeddings: photos x features; targets: of each photo."""

    logits: Float64Array
    embeddings: Float32Array
    targets: npt.NDArray[np.int64]


def run_judging(model: Model, train: OwnPhotos, val: OwnPhotos) -> Judging:
    """That of a run, from its training and validation photos; each label has at least one training photo."""
    answers = Predictions(val.logits, val.targets)
    temperature = choose_temperature(answers)
    novelty = fit_novelty_model(train.embeddings, train.targets, val.embeddings, softmax(val.logits, temperature))
    bundle = _float_bundle(model, temperature, choose_reject_below(answers, temperature), 1 - FALSE_REJECTS)
    return Judging(bundle, fit_embedding_stats(train.embeddings, train.targets, len(model.labels)), novelty)


def bare_judging(model: Model) -> Judging:
    """That of a model of which nothing is known but its outputs: without calibration, threshold and teaching."""
    return Judging(_float_bundle(model, 1.0, 0.0, 1.0), None, None)


def _float_bundle(model: Model, temperature: float, reject_below: float, unknown_above: float) -> Bundle:
    """The part of a bundle that judging and teaching read; what describes an INT8 file is empty."""
    nothing = MeasuredAccuracy(0.0, 0, 0.0, {}, "")
    info = BundleInfo(
        name=model.name,
        version="",
        labels=model.labels,
        input=InputSpec(model.size_px),
        temperature=temperature,
        reject_below=reject_below,
        metrics=Metrics("", nothing, nothing, 0.0),
        known_answer=GoldenOutput(0, (), 0),
        calibration=CalibrationSet(0, 0, ""),
        data_fingerprint="",
        files={},
        unknown_above=unknown_above,
    )
    return Bundle(model.path, info)
