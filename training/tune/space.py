"""A search space: the recipe that all trials share, and the values that are sampled, from a TOML file under `config/spaces/`.

[recipe]                        a recipe, as in `config/recipes/`
[sample."stage.0.learning_rate"]         a place in the recipe: keys joined by dots, list entries by number from 0
low = 1e-4
high = 1e-2
log = true                      or `choices = [...]`
"""

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import tomlkit
from msgspec import Meta

from device.common.errors import SortbinError, describe_error
from training.fit.recipe import RENAMED_KEYS, RENAMED_STAGE_KEYS, TrainingRecipe, renamed_key

Value = str | int | float | bool
"""a hyperparameter's value as a study stores it; lists and tables as JSON"""


class SpaceError(SortbinError, ValueError):
    """A search space that cannot be used; the message names the file, the key and what was expected."""


class Choices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of several values."""

    choices: Annotated[tuple[Any, ...], Meta(min_length=2)]

    @property
    def stored(self) -> tuple[Value, ...]:
        """The choices as a study stores them."""
        return tuple(choice if isinstance(choice, Value) else json.dumps(choice) for choice in self.choices)

    def value(self, stored: Value) -> Any:
        """The value for the recipe."""
        return copy.deepcopy(self.choices[self.stored.index(stored)])

    def extremes(self) -> tuple[Any, ...]:
        """Values that have to make valid recipes."""
        return self.choices


class NumberRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers from `low` to `high`, both included; whole numbers where both are whole. log: sampled evenly by logarithm."""

    low: int | float
    high: int | float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether whole numbers are sampled."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def value(self, stored: Value) -> Any:
        """The value for the recipe."""
        return stored

    def extremes(self) -> tuple[Any, ...]:
        """Values that have to make valid recipes."""
        return self.low, self.high


class _File(msgspec.Struct, forbid_unknown_fields=True):
    sample: dict[str, dict[str, Any]]
    recipe: dict[str, Any] = {}


@dataclass(frozen=True)
class Space:
    """common: the recipe table that all trials share. sample: hyperparameters by their place in the recipe."""

    common: Mapping[str, Any]
    sample: Mapping[str, Choices | NumberRange]

    def table(self, sampled: Mapping[str, Value]) -> dict[str, Any]:
        """The recipe table of a trial, with its sampled values."""
        table = copy.deepcopy(dict(self.common))
        for place, stored in sampled.items():
            _put(table, place, self.sample[place].value(stored))
        return table

    def recipe(self, sampled: Mapping[str, Value]) -> TrainingRecipe:
        """The recipe of a trial."""
        return msgspec.convert(self.table(sampled), TrainingRecipe)

    @property
    def base(self) -> TrainingRecipe:
        """The recipe without sampled values."""
        return msgspec.convert(self.common, TrainingRecipe)

    def combinations(self) -> int | None:
        """Number of combinations of all choices; None where a number is sampled from a range."""
        counts = [len(entry.choices) for entry in self.sample.values() if isinstance(entry, Choices)]
        return math.prod(counts) if len(counts) == len(self.sample) else None

    def epochs(self) -> int:
        """The largest number of epochs of a trial."""
        total = 0
        for index, stage in enumerate(self.base.stage):
            sampled = self.sample.get(f"stage.{index}.epochs")
            total += max(sampled.extremes()) if sampled else stage.epochs
        return total


def read_space(file: Path) -> Space:
    """Read a space and check that each extreme value makes a valid recipe. Raises SpaceError."""
    try:
        found = msgspec.toml.decode(file.read_text(encoding="utf-8-sig"), type=_File)
        _require_current_keys(file, found)
        space = Space(found.recipe, {})
        if not space.base.stage:
            raise SpaceError(f"{file}: recipe: expected at least one [[recipe.stage]]: trials are compared by their epochs")
    except OSError as error:
        raise SpaceError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpaceError(f"{file}: expected UTF-8 text") from error
    except msgspec.MsgspecError as error:
        raise SpaceError(f"{file}: {describe_error(error)}") from error
    if not found.sample:
        raise SpaceError(f'{file}: expected at least one [sample."..."]')
    sample = {place: _hyperparameter(file, place, entry) for place, entry in found.sample.items()}
    for place, hyperparameter in sample.items():
        for value in hyperparameter.extremes():
            _require_recipe(file, found.recipe, place, value)
    return Space(found.recipe, sample)


def recipe_toml(table: Mapping[str, Any]) -> str:
    """A recipe table as TOML: plain values first, then tables, then arrays of tables."""
    text: str = tomlkit.dumps(dict(sorted(table.items(), key=lambda entry: _place_in_file(entry[1]))))
    return text


def _place_in_file(value: Any) -> int:
    if isinstance(value, Mapping):
        return 1
    return 2 if isinstance(value, list) and value and isinstance(value[0], Mapping) else 0


def _require_current_keys(file: Path, found: _File) -> None:
    if renamed := renamed_key(found.recipe):
        raise SpaceError(f"{file}: recipe.{renamed}")
    for place in found.sample:
        before, _, key = place.rpartition(".")
        if new := (RENAMED_STAGE_KEYS if before else RENAMED_KEYS).get(key):
            raise SpaceError(f'{file}: sample.{place}: this key is called {new} now; write [sample."{before + "." if before else ""}{new}"]')


def _hyperparameter(file: Path, place: str, entry: dict[str, Any]) -> Choices | NumberRange:
    try:
        if "choices" in entry:
            return msgspec.convert(entry, Choices)
        found = msgspec.convert(entry, NumberRange)
    except msgspec.MsgspecError as error:
        raise SpaceError(f"{file}: sample.{place}: {describe_error(error)}; expected choices, or low and high") from error
    if found.low >= found.high:
        raise SpaceError(f"{file}: sample.{place}: expected low below high, got {found.low} and {found.high}")
    if found.log and found.low <= 0:
        raise SpaceError(f"{file}: sample.{place}.low: expected more than 0 where log = true, got {found.low}")
    return found


def _require_recipe(file: Path, common: dict[str, Any], place: str, value: Any) -> None:
    table = copy.deepcopy(common)
    try:
        _put(table, place, value)
        msgspec.convert(table, TrainingRecipe)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        reason = describe_error(error) if isinstance(error, msgspec.MsgspecError) else "there is no such place in the recipe"
        raise SpaceError(f"{file}: sample.{place}: {value} cannot be used: {reason}") from error


def _put(table: dict[str, Any], place: str, value: Any) -> None:
    *way, last = place.split(".")
    at: Any = table
    for key in way:
        at = at[int(key)] if isinstance(at, list) else at.setdefault(key, {})
    at[int(last) if isinstance(at, list) else last] = value
