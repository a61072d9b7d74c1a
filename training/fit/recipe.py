"""A recipe: everything that decides how a network is trained, read from a TOML file under `config/recipes/`."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from device.common.errors import SortbinError, describe_error
from training.fit.augment import AUGMENTATIONS, Augmentation
from training.models.scratch_options import ScratchCnnOptions

Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
Size = Annotated[int, Meta(ge=32, le=1024)]


RECIPE_FILE = "recipe.toml"


class RecipeError(SortbinError, ValueError):
    """A recipe file that cannot be used; the message names the file, the key and what was expected."""


class HeadTraining(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the first phase trains a head with hidden layers, by AdamW on features that are computed once. Others are fitted, see `head_C`."""

    epochs: Annotated[int, Meta(ge=1)] = 60
    learning_rate: Positive = 1e-3
    weight_decay: Annotated[float, Meta(ge=0)] = 1e-3
    batch: Annotated[int, Meta(ge=1)] = 64


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run of epochs at one input size, with its own cosine from `learning_rate` down to a hundredth of it."""

    epochs: Annotated[int, Meta(ge=1)]
    learning_rate: Positive
    size: Size | None = None
    """input size; without it, the recipe's"""
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
    augment: Augmentation | Literal["none", "relevant", "heavy", "bin", "isolated"] | None = None
    """views for this stage; without it, the recipe's"""
    fake_quantize: bool = False
    """compute as the INT8 network will, so that it loses less when it is quantized; epochs are judged that way too"""


class TrainingRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to train: the first phase fits a head on frozen features, the second fine-tunes the network in stages. No stage: features only."""

    stage: tuple[Stage, ...] = ()
    backbone: str = "mobilenet_v2"
    width: Positive = 1.0
    size: Size = 224
    """input size of stages that name none, and of the finished network where there is no stage"""
    scratch: ScratchCnnOptions = ScratchCnnOptions()
    """for backbone scratch_cnn"""
    batch_norm: Literal["fold", "frozen", "train"] = "fold"
    """folded into the convolutions, kept in inference mode, or trained with batch statistics"""
    first_phase: bool = True
    """fit the head on frozen features before anything else; a network from scratch has no features worth it"""
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.2
    dense: tuple[Annotated[int, Meta(ge=1)], ...] = ()
    """units of hidden layers between features and labels"""
    dense_activation: Literal["relu", "relu6", "gelu", "silu", "mish", "tanh"] = "relu"
    """of the hidden layers"""
    dense_dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """dropout after each hidden layer; `dropout` is the one before them"""
    head_training: HeadTraining = HeadTraining()
    """the first phase of a head with hidden layers"""
    head_C: Positive = 0.3  # noqa: N815
    """C of the logistic regression that fits a head without hidden layers: the inverse of its L2 penalty"""
    start_share: Share = 0.0
    """share of the weights that a finished run had in those that training it further ends with (WiSE-FT; Wortsman et al. 2022)"""
    start_decay: Annotated[float, Meta(ge=0)] = 0.0
    """decay of the trunk's weights towards where training starts, in place of `weight_decay` (L2-SP; Li, Grandvalet & Davoine 2018)"""
    remember_share: Share = 0.0
    """share of the loss that keeps embeddings as another network has them, or the one that training starts from (after learning without
    forgetting; Li & Hoiem 2016)"""
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
    keep: Literal["best", "last"] = "best"
    """which epoch's weights are kept of the last stage: of the one that did best on validation, or of the last, which was not chosen by chance"""
    seed: Annotated[int, Meta(ge=0)] = 1
    augment: Augmentation | Literal["none", "relevant", "heavy", "bin", "isolated"] = "relevant"

    def __post_init__(self) -> None:
        if not any(stage.fake_quantize for stage in self.stage):
            return
        if self.batch_norm != "fold":
            raise RecipeError(f"batch_norm: expected fold where a stage has fake_quantize, got {self.batch_norm}: INT8 has it folded too")
        if self.start_decay or self.remember_share:
            key = "start_decay" if self.start_decay else "remember_share"
            raise RecipeError(f"{key}: expected 0 where a stage has fake_quantize: the network that it starts from rounds nothing")
        if self.precision != "float32":
            raise RecipeError(f"precision: expected float32 where a stage has fake_quantize, got {self.precision}: it is coarser than the INT8 steps")

    @property
    def final_size(self) -> int:
        """Input size of the finished network."""
        return self.size_at(self.stage[-1]) if self.stage else self.size

    def size_at(self, stage: Stage) -> int:
        """Input size of a stage."""
        return self.size if stage.size is None else stage.size

    def views(self, stage: Stage) -> Augmentation:
        """How far the views of a stage may stray."""
        chosen = self.augment if stage.augment is None else stage.augment
        return AUGMENTATIONS[chosen] if isinstance(chosen, str) else chosen


RENAMED_KEYS = {"head_decay": "head_C"}
RENAMED_STAGE_KEYS = {"rate": "learning_rate"}
"""keys of earlier versions and their names today"""


def read_recipe(file: Path) -> TrainingRecipe:
    """Read and check a recipe. Raises RecipeError."""
    return parse_recipe(recipe_text(file), file)


def read_run_recipe(run: Path) -> TrainingRecipe:
    """Read `recipe.toml` of a run folder, which an earlier version may have written with old keys. Raises RecipeError."""
    file = run / RECIPE_FILE
    return _checked(with_current_keys(_table(recipe_text(file), file)), file)


def with_current_keys(table: Mapping[str, Any]) -> dict[str, Any]:
    """The same recipe table with each old key replaced by its name today."""
    current = {RENAMED_KEYS.get(key, key): value for key, value in table.items()}
    if "stage" in current:
        current["stage"] = [{RENAMED_STAGE_KEYS.get(key, key): value for key, value in stage.items()} for stage in table["stage"]]
    return current


def renamed_key(table: Mapping[str, Any]) -> str:
    """One line that names the first old key in a recipe table and what to write instead; empty where there is none."""
    for old, new in RENAMED_KEYS.items():
        if old in table:
            return f"{old}: this key is called {new} now; write {new} = {table[old]}"
    stages = table.get("stage")
    for index, stage in enumerate(stages if isinstance(stages, list) else []):
        for old, new in RENAMED_STAGE_KEYS.items():
            if isinstance(stage, dict) and old in stage:
                return f"stage[{index}].{old}: this key is called {new} now; write {new} = {stage[old]}"
    return ""


def recipe_text(file: Path) -> str:
    """What a recipe file says. Raises RecipeError when it cannot be read."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RecipeError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{file}: expected UTF-8 text") from error


def parse_recipe(text: str, file: Path) -> TrainingRecipe:
    """Check a recipe that was read from `file`. Raises RecipeError."""
    table = _table(text, file)
    if renamed := renamed_key(table):
        raise RecipeError(f"{file}: {renamed}")
    return _checked(table, file)


def _table(text: str, file: Path) -> dict[str, Any]:
    try:
        table: dict[str, Any] = msgspec.toml.decode(text)
    except msgspec.MsgspecError as error:
        raise RecipeError(f"{file}: {describe_error(error)}") from error
    return table


def _checked(table: Mapping[str, Any], file: Path) -> TrainingRecipe:
    try:
        recipe = msgspec.convert(table, TrainingRecipe)
    except msgspec.MsgspecError as error:
        raise RecipeError(f"{file}: {describe_error(error)}") from error
    if not recipe.stage and not recipe.first_phase:
        raise RecipeError(f"{file}: expected a [[stage]], or first_phase = true: otherwise there is nothing to train")
    return recipe


NETWORK_KEYS = ("backbone", "width", "scratch", "dense", "dense_activation", "dense_dropout", "dropout", "rules")
"""what makes the network, and cannot change when a finished run is trained further"""


def further_recipe_text(file: Path, run: Path) -> str:
    """The recipe in `file`, as TOML, for training a finished run further: the size and what else it leaves open about the network are as they were.

    Raises RecipeError for either recipe, and when they do not fit together.
    """
    text, before = recipe_text(file), run / RECIPE_FILE
    recipe, first = parse_recipe(text, file), read_run_recipe(run)
    named, known = tomllib.loads(text), tomllib.loads(recipe_text(before))
    for key in NETWORK_KEYS:
        if key in named and getattr(recipe, key) != getattr(first, key):
            raise RecipeError(f"{file}: {key}: another one than in {before}; leave it out, since that network is trained further")
    if recipe.first_phase:
        raise RecipeError(f"{file}: first_phase: expected false, since the heads of {run} are fitted already")
    taken = {key: known[key] for key in NETWORK_KEYS if key in known} | {"size": first.final_size}
    lines = [f"{key} = {_toml(value)}\n" for key, value in taken.items() if key not in named]
    return "".join(["# As in the run that is trained further:\n", *lines, "\n", text])


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(entry)}" for key, entry in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
