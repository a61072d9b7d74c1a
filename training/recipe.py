"""A recipe: everything that decides how a network is trained, read from a TOML file under `config/recipes/`."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from device.errors import SortbinError, explained
from training.augment import AUGMENTATIONS, Augmentation

Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
Size = Annotated[int, Meta(ge=32, le=1024)]


class RecipeError(SortbinError, ValueError):
    """A recipe file that cannot be used; the message names the file, the key and what was expected."""


class ScratchCnn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The small CNN: `layers` times convolution, batch norm, activation, 2 x 2 pooling."""

    layers: Annotated[int, Meta(ge=1, le=7)] = 5
    features: Annotated[int, Meta(ge=4, le=512)] = 64
    """filters of the first layer"""
    strategy: Literal["same", "doubling", "halving"] = "same"
    """filters of each further layer against the one before, at least 8"""
    kernel: Literal[3, 5] = 5
    activation: Literal["relu", "gelu", "silu", "mish"] = "mish"
    batch_norm: bool = True


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run of epochs at one input size, with its own cosine from `rate` down to a hundredth of it."""

    size: Size
    epochs: Annotated[int, Meta(ge=1)]
    rate: Positive
    warmup_steps: Annotated[int, Meta(ge=0)] = 50
    unfreeze: Annotated[int, Meta(ge=0)] | None = None
    """how many layers of the trunk are trained, counted from the top; without it, all"""
    mixup: Annotated[float, Meta(ge=0)] = 0.2
    """alpha of the Beta distribution the mixing share is drawn from; 0 mixes nothing"""
    cutmix: Annotated[float, Meta(ge=0)] = 0.0
    """the same for pasted rectangles; where both are set, each batch draws one of them"""
    batch: Annotated[int, Meta(ge=1)] = 32
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.98
    """momentum of the weight average that is evaluated and kept; 0 keeps the weights themselves"""
    patience: Annotated[int, Meta(ge=1)] | None = None
    """end the stage after so many epochs without a better one; without it, never"""
    augment: Augmentation | Literal["none", "relevant", "heavy", "bin"] | None = None
    """views for this stage; without it, the recipe's"""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to train: the first phase fits a head on frozen features, the second fine-tunes the network in stages. No stage: features only."""

    stage: tuple[Stage, ...] = ()
    backbone: str = "mobilenet_v2"
    width: Positive = 1.0
    size: Size = 224
    """input size of the finished network where there is no stage"""
    scratch: ScratchCnn = ScratchCnn()
    """for backbone scratch_cnn"""
    batch_norm: Literal["fold", "frozen", "train"] = "fold"
    """folded into the convolutions, kept in inference mode, or trained with batch statistics"""
    first_phase: bool = True
    """fit the head on frozen features before anything else; a network from scratch has no features worth it"""
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.2
    dense: tuple[Annotated[int, Meta(ge=1)], ...] = ()
    """units of hidden layers between features and labels"""
    head_decay: Positive = 0.3
    """C of the logistic regression that fits a head without hidden layers: the inverse of its L2 penalty"""
    head_factor: Positive = 1.0
    """learning rate of the heads over that of the trunk"""
    rules: str = ""
    """a rule pack: trains a second head that names the bin"""
    bin_share: Share = 0.3
    """share of the bin's loss beside the label's"""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: Annotated[float, Meta(ge=0)] = 1e-4
    label_smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    class_weight_alpha: Share = 0.0
    """0 ignores class sizes, 1 balances them fully: weight = 1 + alpha * (balanced - 1)"""
    teacher_share: Share = 0.7
    """share of the teachers in the loss, where there are any"""
    teacher_temperature: Positive = 2.0
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    seed: Annotated[int, Meta(ge=0)] = 1
    augment: Augmentation | Literal["none", "relevant", "heavy", "bin"] = "relevant"

    @property
    def final_size(self) -> int:
        """Input size of the finished network."""
        return self.stage[-1].size if self.stage else self.size

    def views(self, stage: Stage) -> Augmentation:
        """How far the views of a stage may stray."""
        chosen = self.augment if stage.augment is None else stage.augment
        return AUGMENTATIONS[chosen] if isinstance(chosen, str) else chosen


def read_recipe(file: Path) -> Recipe:
    """Read and check a recipe. Raises RecipeError."""
    try:
        recipe = msgspec.toml.decode(file.read_bytes(), type=Recipe)
    except OSError as error:
        raise RecipeError(f"{file}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise RecipeError(f"{file}: {explained(error)}") from error
    if not recipe.stage and not recipe.first_phase:
        raise RecipeError(f"{file}: expected a [[stage]], or first_phase = true: otherwise there is nothing to train")
    return recipe
