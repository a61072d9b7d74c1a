"""Rounds of a recipe that only fits heads: each photo goes through the frozen network once, for all rounds."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from converter.common.progress import Progress
from converter.data.photos import Photo, read_pixels, report_all_unreadable
from device.common.arrays import Float32Array, Float64Array
from device.vision.inference.preprocess import to_float, to_input
from device.vision.isolation.tta import frame_crops
from training.evaluate.models import network_model
from training.fit.linear_head import fit_logistic_regression
from training.fit.recipe import TrainingRecipe
from training.left_out.judging import LOOKS, OwnPhotos, SeenPhotos, run_judging
from training.left_out.known_photos import count_known
from training.left_out.measure import PlaceReport, Protocol, measure
from training.left_out.rounds import LeftOutRound
from training.models.backbones import build_trunk
from training.models.batch_norm_folding import fold_batch_norm
from training.models.network import add_heads, set_head

BATCH = 16
"""photos that go through the network together, in all views"""


def only_fits_heads(recipe: TrainingRecipe) -> bool:
    """Whether a recipe leaves the features as they are, and its head is linear."""
    return not recipe.stage and not recipe.dense and not recipe.rules


@dataclass(frozen=True, eq=False)
class FrozenFeatures:
    """A network, and its embeddings of photos. rows: the row of each file. looks: photos x LOOKS x features, of which the first is the whole photo;
    mirrored: photos x features, of the mirrored whole photo. All float32.
    """

    network: keras.Model
    rows: dict[Path, int]
    looks: Float32Array
    mirrored: Float32Array

    def rows_of(self, photos: Sequence[Photo]) -> npt.NDArray[np.intp]:
        """The rows of photos."""
        return np.array([self.rows[photo.path] for photo in photos], np.intp)


def frozen_features(
    recipe: TrainingRecipe, labels: Sequence[str], weights: str | None, photos: Sequence[Photo], progress: Progress
) -> FrozenFeatures:
    """Build the network of a recipe and embed photos. weights: see `build_trunk`. Raises BackboneError, WeightsError and PhotosError."""
    keras.utils.set_random_seed(recipe.seed)
    trunk = build_trunk(recipe.backbone, recipe.final_size, width=recipe.width, scratch=recipe.scratch, weights=weights)
    if recipe.batch_norm == "fold":
        trunk = fold_batch_norm(trunk)
    network = add_heads(trunk, len(labels), dropout=recipe.dropout, seed=recipe.seed)
    tracked, found = progress.track(photos, "embedding photos"), []
    with report_all_unreadable(photos):
        for start in range(0, len(photos), BATCH):
            views = np.stack(
                [view for number in range(start, min(start + BATCH, len(photos))) for view in _views(tracked[number], recipe.final_size)]
            )
            found.append(network.predict_on_batch(views)["embedding"])
    embeddings = np.concatenate(found).reshape(len(photos), LOOKS + 1, -1)
    rows = {photo.path: row for row, photo in enumerate(photos)}
    return FrozenFeatures(network, rows, embeddings[:, :LOOKS], embeddings[:, LOOKS])


def _views(photo: Photo, size: int) -> Float32Array:
    """The looks at a photo and its mirror image, (LOOKS + 1) x size x size x 3 in -1..1."""
    pixels = read_pixels(photo.path)
    looks = [to_float(to_input(crop, size)) for crop in frame_crops(pixels)]
    return np.stack([*looks, looks[0][:, ::-1]])


def measure_frozen_round(features: FrozenFeatures, round_: LeftOutRound, run: Path, protocol: Protocol) -> PlaceReport:
    """Fit the head of a round, write it as a run folder, and measure it at the place that was left out."""
    job, labels = round_.job, round_.job.split.labels
    rows, targets = features.rows_of(job.photos), job.target_indices(job.photos)["logits"]
    weights = job.first_phase_weights()
    coefficients, intercepts = fit_logistic_regression(
        np.concatenate([features.looks[rows, 0], features.mirrored[rows]]),
        np.concatenate([targets, targets]),
        len(labels),
        np.concatenate([weights, weights]),
        job.recipe.head_C,
    )
    set_head(features.network, coefficients, intercepts)
    _write_run(features.network, round_, run)
    model = network_model(run, features.network, labels)

    def own(photos: Sequence[Photo]) -> OwnPhotos:
        embeddings = features.looks[features.rows_of(photos), 0]
        return OwnPhotos(_logits(embeddings, coefficients, intercepts), embeddings, job.target_indices(photos)["logits"].astype(np.int64))

    judging = run_judging(model, own(job.photos), own(job.split.val))
    looks = features.looks[features.rows_of(round_.place.photos)]
    seen = SeenPhotos(_logits(looks, coefficients, intercepts), looks)
    return measure(judging, round_.place, round_.others, seen, count_known(model, round_.place), protocol)


def _logits(embeddings: Float32Array, coefficients: Float64Array, intercepts: Float64Array) -> Float64Array:
    """Logits, ... x labels."""
    return np.asarray(embeddings.astype(np.float64) @ coefficients.T + intercepts, np.float64)


def _write_run(network: keras.Model, round_: LeftOutRound, run: Path) -> None:
    job = round_.job
    lists = {"labels": job.split.labels, "train": _names(job.split.train), "val": _names(job.split.val), "further": _names(job.extra_photos)}
    for name, lines in lists.items():
        (run / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=run) as folder:  # Keras saves only to names that end in .keras
        new = Path(folder, "model.keras")
        network.save(new)
        new.replace(run / "model.keras")


def _names(photos: Sequence[Photo]) -> list[str]:
    return [photo.name for photo in photos]
