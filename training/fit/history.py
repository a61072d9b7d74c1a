"""What a run noted while it trained, read back: `first_phase.jsonl` and `metrics.jsonl`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.data.photos import Photo
from converter.quantization.calibration import thin_photos
from training.fit.recipe import RecipeError, read_run_recipe

if TYPE_CHECKING:
    from training.fit.metrics import Score

FIRST_PHASE, METRICS = "first_phase.jsonl", "metrics.jsonl"
TRAIN_SAMPLE = 256
"""training photos, about, whose accuracy is measured after each epoch, all where there are fewer: each costs as much as a validation photo"""


@dataclass(frozen=True)
class EpochMetrics:
    """One epoch. loss: as it was trained on, augmented, mixed and smoothed; the other losses are mean negative log likelihoods in nats of photos as
    they are. Accuracies 0..1. isolated: of validation photos with their items by themselves. None where it was not measured.
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
    """first: the network before any training, then the epochs of the first phase, if there was one. epochs: of the stages, one after the other.

    kept: index into epochs of the one whose weights are the result, None where that is not one of them. train_n, val_n: photos that were measured.
    """

    first: tuple[EpochMetrics, ...]
    epochs: tuple[EpochMetrics, ...]
    kept: int | None
    train_n: int | None
    val_n: int | None

    @property
    def starts(self) -> tuple[int, ...]:
        """Indices into epochs at which a stage after the first begins."""
        return tuple(index for index in range(1, len(self.epochs)) if self.epochs[index].stage != self.epochs[index - 1].stage)


def train_sample(photos: Sequence[Photo]) -> tuple[Photo, ...]:
    """The training photos that are measured after each epoch: about WATCHED, labels in their shares."""
    return thin_photos(photos, max(1, round(len(photos) / TRAIN_SAMPLE)))


def epoch_metrics(train: "Score", val: "Score", isolated: "Score | None" = None) -> dict[str, float]:
    """What is noted of an epoch, by the name that it has in the files."""
    of_items = {"val_isolated_accuracy": isolated.accuracy, "val_isolated_nll": isolated.nll} if isolated else {}
    known = {"train_accuracy": train.accuracy, "train_nll": train.nll, "train_n": train.n}
    return {**known, "val_accuracy": val.accuracy, "val_nll": val.nll, "val_n": val.n, **of_items}


def read_history(run: Path) -> History | None:
    """None where the folder holds no notes, as of runs that were averaged or grafted."""
    first, lines = _lines(run / FIRST_PHASE), _lines(run / METRICS)
    if not first and not lines:
        return None
    by_place = {(line["stage"], line["epoch"]): line for line in lines}  # a killed run may have noted an epoch twice
    epochs = tuple(map(_epoch, by_place.values()))
    last = [*first, *lines][-1]
    return History(tuple(map(_epoch, first)), epochs, _selected(run, epochs), last.get("train_n"), last.get("val_n"))


def append_line(file: Path, line: Mapping[str, object]) -> None:
    """Add a line to one of the files."""
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
    """The best epoch of the last stage, or its last one, as the recipe says; weights that were mixed with those before are none of them."""
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
