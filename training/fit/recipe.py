"""A recipe: all settings of a training run, from a TOML file under `config/recipes/`."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tomlkit
import tomlkit.items
from msgspec import Meta

from device.common.errors import SortbinError, describe_error
from training.fit.augment import AUGMENTATIONS, Augmentation
from training.models.scratch_options import ScratchCnnOptions

Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
Size = Annotated[int, Meta(ge=32, le=1024)]


RECIPE_FILE = "recipe.toml"


class RecipeError(SortbinError, ValueError):
    """A recipe that cannot be used. The message names the file, the key and what was expected."""


class HeadTraining(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the first phase trains a head with hidden layers, by AdamW on frozen features. Other heads are fitted by regression, see `head_C`."""

    epochs: Annotated[int, Meta(ge=1)] = 60
    learning_rate: Positive = 1e-3
    weight_decay: Annotated[float, Meta(ge=0)] = 1e-3
    batch: Annotated[int, Meta(ge=1)] = 64


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Some epochs at one input size, with their own cosine from `learning_rate` down to a hundredth of it."""

    epochs: Annotated[int, Meta(ge=1)]
    learning_rate: Positive
    size: Size | None = None
    """input size; without it, the recipe's"""
    warmup_steps: Annotated[int, Meta(ge=0)] = 50
    unfreeze: Annotated[int, Meta(ge=0)] | None = None
    """how many layers of the trunk are trained, from the top; without it, all"""
    mixup: Annotated[float, Meta(ge=0)] = 0.2
    """alpha of the Beta distribution of the mixing share; 0 mixes nothing"""
    cutmix: Annotated[float, Meta(ge=0)] = 0.0
    """the same for pasted rectangles; where both are set, each batch uses one of them"""
    batch: Annotated[int, Meta(ge=1)] = 32
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.98
    """momentum of the weight average that is evaluated and saved; 0 saves the weights themselves"""
    patience: Annotated[int, Meta(ge=1)] | None = None
    """end the stage after so many epochs without a better one; without it, run all epochs"""
    augment: Augmentation | Literal["none", "relevant", "heavy", "bin", "isolated"] | None = None
    """augmentation of this stage; without it, the recipe's"""
    fake_quantize: bool = False
    """compute as the INT8 network does, so that quantization loses less accuracy; epochs are judged that way too"""


class TrainingRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to train: the first phase fits heads on frozen features, the second fine-tunes the network in stages. No stage: no second phase."""

    stage: tuple[Stage, ...] = ()
    backbone: str = "mobilenet_v2"
    width: Positive = 1.0
    size: Size = 224
    """input size of stages without one, and of the finished network where there is no stage"""
    scratch: ScratchCnnOptions = ScratchCnnOptions()
    """for backbone scratch_cnn"""
    batch_norm: Literal["fold", "frozen", "train"] = "fold"
    """fold: into the convolutions; frozen: inference mode; train: with batch statistics"""
    first_phase: bool = True
    """fit the heads on frozen features first; useless for a network from scratch"""
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.2
    dense: tuple[Annotated[int, Meta(ge=1)], ...] = ()
    """units of hidden layers between features and labels"""
    dense_activation: Literal["relu", "relu6", "gelu", "silu", "mish", "tanh"] = "relu"
    """of the hidden layers"""
    dense_dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """dropout behind each hidden layer; `dropout` is in front of them"""
    head_training: HeadTraining = HeadTraining()
    """the first phase of a head with hidden layers"""
    head_C: Positive = 0.3  # noqa: N815
    """C of the logistic regression that fits a head without hidden layers: the inverse of its L2 penalty"""
    start_share: Share = 0.0
    """share of the start weights in the final average, when a finished run is trained further (WiSE-FT; Wortsman et al. 2022)"""
    start_decay: Annotated[float, Meta(ge=0)] = 0.0
    """decay of the trunk's weights towards the start weights, in place of `weight_decay` (L2-SP; Li, Grandvalet & Davoine 2018)"""
    remember_share: Share = 0.0
    """share of the loss that keeps embeddings near those of another network, or of the start (feature distillation, after learning without
    forgetting; Li & Hoiem 2016)"""
    head_factor: Positive = 1.0
    """learning rate of the heads as a multiple of the trunk's"""
    rules: str = ""
    """a rule pack; adds a second head that names the bin"""
    bin_share: Share = 0.3
    """share of the second head in the loss"""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: Annotated[float, Meta(ge=0)] = 1e-4
    label_smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    class_weight_alpha: Share = 0.0
    """0 ignores class sizes, 1 balances them fully: weight = 1 + alpha * (balanced - 1)"""
    teacher_share: Share = 0.7
    """share of the teachers in the loss of the labels, where there are any"""
    teacher_temperature: Positive = 2.0
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    draws: Annotated[int, Meta(ge=1)] | None = None
    """views that an epoch shows; without it, as many as there are photos"""
    balance: Share = 0.0
    """0 shows each photo equally often, 1 each label, and each place of a label; between them, sizes count by their power 1 - balance"""
    places: dict[str, Annotated[float, Meta(ge=0)]] = {}
    """how often a folder of `--also` is shown against the others, by its name; 1 where none is given. `data` is the data set itself"""
    keep: Literal["best", "last"] = "best"
    """which epoch of the last stage is the result: the best on validation photos, or the last, which no luck has chosen"""
    seed: Annotated[int, Meta(ge=0)] = 1
    augment: Augmentation | Literal["none", "relevant", "heavy", "bin", "isolated"] = "relevant"

    def __post_init__(self) -> None:
        if not any(stage.fake_quantize for stage in self.stage):
            return
        if self.batch_norm != "fold":
            raise RecipeError(f"batch_norm: expected fold where a stage has fake_quantize, found {self.batch_norm}: INT8 has it folded too")
        if self.start_decay or self.remember_share:
            key = "start_decay" if self.start_decay else "remember_share"
            raise RecipeError(f"{key}: expected 0 where a stage has fake_quantize: the start network is not rounded")
        if self.precision != "float32":
            raise RecipeError(f"precision: expected float32 where a stage has fake_quantize, found {self.precision}: coarser than the INT8 steps")

    @property
    def final_size(self) -> int:
        """Input size of the finished network."""
        return self.size_at(self.stage[-1]) if self.stage else self.size

    def size_at(self, stage: Stage) -> int:
        """Input size of a stage."""
        return self.size if stage.size is None else stage.size

    def views(self, stage: Stage) -> Augmentation:
        """The augmentation of a stage."""
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
    """The text of a recipe file. Raises RecipeError where it cannot be read."""
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
        raise RecipeError(f"{file}: expected a [[stage]], or first_phase = true: there is nothing to train")
    return recipe


NETWORK_KEYS = ("backbone", "width", "scratch", "dense", "dense_activation", "dense_dropout", "dropout", "rules")
"""keys that define the network; they cannot change when a finished run is trained further"""


def further_recipe_text(file: Path, run: Path) -> str:
    """The recipe in `file`, as TOML, for training a finished run further. Size and network keys that it leaves out are taken from the run.

    Raises RecipeError for either recipe, and where they do not fit together.
    """
    text, before = recipe_text(file), run / RECIPE_FILE
    recipe, first = parse_recipe(text, file), read_run_recipe(run)
    given, earlier = tomllib.loads(text), tomllib.loads(recipe_text(before))
    for key in NETWORK_KEYS:
        if key in given and getattr(recipe, key) != getattr(first, key):
            raise RecipeError(f"{file}: {key}: expected none, or the value in {before}, whose network is trained further; leave it out")
    if recipe.first_phase:
        raise RecipeError(f"{file}: first_phase: expected false: the heads of {run} are fitted already")
    taken = {key: earlier[key] for key in NETWORK_KEYS if key in earlier} | {"size": first.final_size}
    header = tomlkit.document()
    header.add(tomlkit.comment("As in the run that is trained further:"))
    for key, value in taken.items():
        if key not in given:
            header.add(key, _one_line(value))
    return f"{tomlkit.dumps(header)}\n{text}"


def _one_line(value: Any) -> tomlkit.items.Item:
    """The value on one line: a table of several lines would take in the keys behind it."""
    item: tomlkit.items.Item = tomlkit.inline_table() if isinstance(value, dict) else tomlkit.item(value)
    if isinstance(item, tomlkit.items.InlineTable):
        item.update(value)
    return item
