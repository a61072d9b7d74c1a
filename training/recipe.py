"""A recipe: everything that decides how a network is trained, read from a TOML file under `config/recipes/`."""

from pathlib import Path

import msgspec

from device.errors import SortbinError, explained
from training.augment import Augmentation


class RecipeError(SortbinError, ValueError):
    """A recipe file that cannot be used; the message names the file, the key and what was expected."""


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run of epochs at one input size, with its own cosine from `rate` down to a hundredth of it."""

    size: int
    epochs: int
    rate: float
    warmup_steps: int = 50
    mixup: float = 0.2
    """alpha of the Beta distribution the mixing share is drawn from; 0 mixes nothing"""
    batch: int = 32
    ema: float = 0.98
    """momentum of the weight average that is evaluated and kept"""
    augment: Augmentation | None = None
    """views for this stage; without it, the recipe's"""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to train: the first phase fits a head on frozen features, the second fine-tunes the whole network in stages."""

    stage: tuple[Stage, ...]
    width: float = 1.0
    dropout: float = 0.2
    head_decay: float = 0.3
    """C of the logistic regression that fits the head: the inverse of its L2 penalty"""
    weight_decay: float = 1e-4
    label_smoothing: float = 0.1
    class_weight_alpha: float = 0.0
    """0 ignores class sizes, 1 balances them fully: weight = 1 + alpha * (balanced - 1)"""
    seed: int = 1
    augment: Augmentation = Augmentation()

    @property
    def size(self) -> int:
        """Input size of the finished network."""
        return self.stage[-1].size


def read_recipe(file: Path) -> Recipe:
    """Read and check a recipe. Raises RecipeError."""
    try:
        recipe = msgspec.toml.decode(file.read_bytes(), type=Recipe)
    except OSError as error:
        raise RecipeError(f"{file}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise RecipeError(f"{file}: {explained(error)}") from error
    if not recipe.stage:
        raise RecipeError(f"{file}: stage: expected at least one [[stage]]")
    return recipe
