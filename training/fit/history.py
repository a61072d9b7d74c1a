"""The measures of each epoch of a run: written to and read from `first_phase.jsonl` and `metrics.jsonl`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.data.photos import Photo
from converter.quantization.calibration_photos import thin_photos
from training.fit.recipe import RecipeError, read_run_recipe

if TYPE_CHECKING:
    from training.fit.metrics import Score

FIRST_PHASE, METRICS = "first_phase.jsonl", "metrics.jsonl"
TRAIN_SAMPLE = 256
"""about how many training photos are measured after each epoch; each takes as long as a validation photo"""


@dataclass(frozen=True)
class EpochMetrics:
    """One epoch. loss: the training loss, of augmented, mixed views and smoothed labels; the other losses are mean negative log likelihoods in nats,
    of photos without augmentation. Accuracies 0..1. isolated: of isolated items of the validation photos. None where it was not measured.
    """

    stage: int
    epoch: int
    loss: float | None
    train_loss: float | None
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    isolated_loss: float | None
    isolated_accuracy: float | None
    learning_rate: float | None = None
    images_per_s: float | None = None


@dataclass(frozen=True)
class History:
    """first_phase: the network before training, then the epochs of the first phase, if any. epochs: of all stages, in order.

    selected: index into epochs of the one whose weights are the result, None where it is no single epoch. train_n, val_n: photos that were measured.
    """

    first_phase: tuple[EpochMetrics, ...]
    epochs: tuple[EpochMetrics, ...]
    selected: int | None
    train_n: int | None
    val_n: int | None

    @property
    def stage_starts(self) -> tuple[int, ...]:
        """Indices into epochs at which the second and later stages begin."""
        return tuple(index for index in range(1, len(self.epochs)) if self.epochs[index].stage != self.epochs[index - 1].stage)


def train_sample(photos: Sequence[Photo]) -> tuple[Photo, ...]:
    """The training photos that are measured after each epoch: about TRAIN_SAMPLE, each label in proportion."""
    return thin_photos(photos, max(1, round(len(photos) / TRAIN_SAMPLE)))


def epoch_metrics(train: "Score", val: "Score", isolated: "Score | None" = None) -> dict[str, float]:
    """The measures of an epoch under their names in the files."""
    of_isolated = {"val_isolated_accuracy": isolated.accuracy, "val_isolated_nll": isolated.nll} if isolated else {}
    of_train = {"train_accuracy": train.accuracy, "train_nll": train.nll, "train_n": train.n}
    return {**of_train, "val_accuracy": val.accuracy, "val_nll": val.nll, "val_n": val.n, **of_isolated}


def read_history(run: Path) -> History | None:
    """Read the epochs of a run. None where it recorded none, as averaged and grafted runs do."""
    first, lines = _lines(run / FIRST_PHASE), _lines(run / METRICS)
    if not first and not lines:
        return None
    by_place = {(line["stage"], line["epoch"]): line for line in lines}  # a killed run may have recorded an epoch twice
    epochs = tuple(map(_epoch, by_place.values()))
    last = [*first, *lines][-1]
    return History(tuple(map(_epoch, first)), epochs, _selected(run, epochs), last.get("train_n"), last.get("val_n"))


def append_line(file: Path, line: Mapping[str, object]) -> None:
    """Append one JSON line."""
    with file.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(line) + "\n")


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []


def _epoch(line: Mapping[str, Any]) -> EpochMetrics:
    return EpochMetrics(
        line.get("stage", 0),
        line["epoch"],
        line.get("loss"),
        line.get("train_nll"),
        line.get("train_accuracy"),
        line.get("val_nll"),
        line.get("val_accuracy"),
        line.get("val_isolated_nll"),
        line.get("val_isolated_accuracy"),
        line.get("rate"),
        line.get("images_per_s"),
    )


def _selected(run: Path, epochs: Sequence[EpochMetrics]) -> int | None:
    """Index of the best or the last epoch of the last stage, as the recipe says; None for weights that were mixed with those of the start."""
    try:
        recipe = read_run_recipe(run)
    except RecipeError:
        return None
    last = [index for index, epoch in enumerate(epochs) if epoch.stage == len(recipe.stage)]
    if not last or recipe.start_share:
        return None
    if recipe.keep == "last" and recipe.stage[-1].patience is None:
        return last[-1]
    return max(last, key=lambda index: _rank(epochs[index]))


def _rank(epoch: EpochMetrics) -> tuple[float, float]:
    accuracies = [found for found in (epoch.val_accuracy, epoch.isolated_accuracy) if found is not None]
    losses = [found for found in (epoch.val_loss, epoch.isolated_loss) if found is not None]
    return sum(accuracies) / len(accuracies), -sum(losses) / len(losses)
