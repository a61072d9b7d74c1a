"""What a training run learns from: photos, labels, bins and earlier runs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from converter.data.photos import Photo, Split
from device.common.arrays import Float32Array
from device.policy.rules import RulePack
from training.fit.draws import Draws, draw_shares
from training.fit.history import train_sample
from training.fit.recipe import TrainingRecipe


@dataclass(frozen=True)
class TrainingJob:
    """A recipe, and the photos and runs to apply it to.

    rules: the rule pack that the recipe names, if any. teachers: runs whose predictions are soft targets, for views of the split's photos that show
    them as they were taken. start: the finished run whose network is trained further, if any. extra_photos: photos that are trained on beside those
    of the split; no epoch is chosen by them. feature_teacher: the run whose embeddings are targets where the recipe has a `remember_share`; None for
    those of the network that training starts from.
    """

    recipe: TrainingRecipe
    split: Split
    rules: RulePack | None = None
    teachers: tuple[Path, ...] = ()
    start: Path | None = None
    extra_photos: tuple[Photo, ...] = ()
    feature_teacher: Path | None = None

    @property
    def photos(self) -> tuple[Photo, ...]:
        """All photos that are trained on."""
        return self.split.train + self.extra_photos

    @property
    def bins(self) -> tuple[str, ...]:
        """Bins that the second head names, in its order; empty without a rule pack."""
        return tuple(self.rules.bins) if self.rules is not None else ()

    @property
    def output_widths(self) -> dict[str, int]:
        """Outputs that have targets, and how many columns each has."""
        return {"logits": len(self.split.labels)} | ({"bin_logits": len(self.bins)} if self.rules is not None else {})

    @property
    def loss_outputs(self) -> tuple[str, ...]:
        """Outputs that the loss takes."""
        return (*self.output_widths, *(("embedding",) if self.recipe.remember_share else ()))

    @property
    def needs_start_weights(self) -> bool:
        """Whether the weights that training starts with are needed until it ends."""
        return self.recipe.start_decay > 0 or (self.recipe.remember_share > 0 and self.feature_teacher is None)

    @property
    def train_sample(self) -> tuple[Photo, ...]:
        """Training photos whose accuracy is measured after each epoch."""
        return train_sample(self.split.train)

    def target_indices(self, photos: Sequence[Photo]) -> dict[str, npt.NDArray[np.intp]]:
        """The right column of each output, one entry a photo."""
        found = {"logits": np.array([self.split.labels.index(photo.label) for photo in photos])}
        if self.rules is not None:
            found["bin_logits"] = np.array([self.bins.index(self.rules.bin_of(photo.label)) for photo in photos])
        return found

    def photo_weights(self) -> Float32Array:
        """Weight of each training photo in the loss."""
        by_label = np.array(label_weights(self.photos, self.split.labels, self.recipe.class_weight_alpha), np.float32)
        return by_label[self.target_indices(self.photos)["logits"]]

    def first_phase_weights(self) -> Float32Array:
        """Weight of each training photo in the fit of the heads, 1 on the mean of those that the recipe draws equally often."""
        weights, draws = self.photo_weights(), self.draws()
        return weights if draws is None else weights * (draws.shares * len(draws.shares)).astype(np.float32)

    def draws(self) -> Draws | None:
        """Which photos an epoch shows; None for each one once."""
        recipe = self.recipe
        if recipe.draws is None and not recipe.balance and not recipe.places:
            return None
        return Draws(draw_shares(self.photos, recipe.balance, recipe.places), recipe.draws or len(self.photos))


def label_weights(photos: Sequence[Photo], labels: Sequence[str], alpha: float) -> list[float]:
    """Weight of each label in the loss: 1 + alpha * (balanced - 1); balanced weights make every label count the same."""
    counts = Counter(photo.label for photo in photos)
    balanced = [len(photos) / (len(labels) * counts[label]) for label in labels]
    return [1 + alpha * (weight - 1) for weight in balanced]
