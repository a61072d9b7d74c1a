"""No key of a file that people edit or programs exchange is a promise that nothing keeps: some code reads it.

By name, so a key that shares its name with another thing may slip through; it is looked for only in modules that import from one which defines its
table, or a table round it.
"""

import ast
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from msgspec import inspect

from device.policy import rules
from device.settings import Settings
from device.vision.inference.bundle import BundleInfo

ROOT = Path(__file__).parents[1]
PARTS = ("device", "converter", "training")


class Module(NamedTuple):
    """What a module imports from, which attributes it reads of anything but a module (checks in __post_init__ do not count), and which names stand
    in the annotations of its classes' fields.
    """

    name: str
    imports: frozenset[str]
    reads: frozenset[str]
    holds: frozenset[str]


def read_module(name: str, text: str) -> Module:
    tree = ast.parse(text)
    whole = {alias.asname or alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    sources = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    checks = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__post_init__" for inner in ast.walk(node)}
    reads = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in checks
        if not (isinstance(node.value, ast.Name) and node.value.id in whole)
    }
    fields = [field for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for field in node.body if isinstance(field, ast.AnnAssign)]
    holds = {inner.id for field in fields for inner in ast.walk(field.annotation) if isinstance(inner, ast.Name)}
    return Module(name, frozenset(sources), frozenset(reads), frozenset(holds))


@functools.cache
def modules() -> tuple[Module, ...]:
    files = [file for part in PARTS for file in sorted((ROOT / part).rglob("*.py"))]
    return tuple(read_module(".".join(file.relative_to(ROOT).with_suffix("").parts), file.read_text(encoding="utf-8")) for file in files)


def tables(kind: Any) -> dict[type, set[str]]:
    """Each table in a file that is read as `kind`, with the modules that define it and those round it, and their bases."""
    found: dict[type, set[str]] = {}

    def below(told: inspect.Type, around: set[str]) -> None:
        match told:
            case inspect.StructType(cls=cls, fields=fields):
                homes = around | {base.__module__ for base in cls.__mro__ if issubclass(base, msgspec.Struct) and base is not msgspec.Struct}
                if not homes <= found.get(cls, set()):
                    found[cls] = found.get(cls, set()) | homes
                    for field in fields:
                        below(field.type, homes)
            case inspect.Metadata(type=inner):
                below(inner, around)
            case inspect.UnionType(types=inners):
                for inner in inners:
                    below(inner, around)
            case inspect.VarTupleType(item_type=inner) | inspect.ListType(item_type=inner) | inspect.DictType(value_type=inner):
                below(inner, around)
            case _:
                pass

    below(inspect.type_info(kind), set())
    return found


def unread(kind: Any, among: tuple[Module, ...]) -> Iterator[str]:
    """The keys of a file that nothing reads where their table is known."""
    for table, homes in tables(kind).items():
        homes = homes | {module.name for module in among if table.__name__ in module.holds}
        known = [module for module in among if module.name in homes or homes & module.imports]
        for field in msgspec.structs.fields(table):
            if not any(field.name in module.reads for module in known):
                yield f"{table.__name__}.{field.encode_name}"


@pytest.mark.parametrize("kind", [Settings, rules._PackFile])
def test_every_key_of_the_settings_and_of_a_rule_pack_is_read(kind: Any) -> None:
    assert list(unread(kind, modules())) == []


def test_every_key_of_a_recipe_is_read() -> None:
    recipe = pytest.importorskip("training.fit.recipe")
    assert list(unread(recipe.TrainingRecipe, modules())) == []


def test_what_a_rule_pack_says_is_asked_for_by_those_who_sort() -> None:
    """A key that is only read to be checked would pass the test above."""
    outside = [module for module in modules() if module.name != rules.__name__ and rules.__name__ in module.imports]
    said = [field.name for field in dataclasses.fields(rules.RulePack) if not field.name.startswith("_")]
    said += [name for name in vars(rules.RulePack) if callable(getattr(rules.RulePack, name)) and not name.startswith("_")]
    said += [field.name for field in msgspec.structs.fields(rules.HazardRule)]
    assert [name for name in said if not any(name in module.reads for module in outside)] == []


def test_every_key_of_a_bundle_is_read() -> None:
    """Bundles are passed on inside of other things, so any module may be the one that reads."""
    everywhere = frozenset().union(*(module.reads for module in modules()))
    keys = [(table.__name__, field.name) for table in tables(BundleInfo) for field in msgspec.structs.fields(table)]
    assert [f"{table}.{key}" for table, key in keys if key not in everywhere] == []


class Lamp(msgspec.Struct):
    """A table with two keys."""

    colour: str = ""
    watts: float = 0.0


class House(msgspec.Struct):
    """A file with a table in it."""

    lamps: tuple[Lamp, ...] = ()


EVERY_KEY = ["House.lamps", "Lamp.colour", "Lamp.watts"]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("from {here} import House\ndef light(house): return [(lamp.colour, lamp.watts) for lamp in house.lamps]", []),
        ("from {here} import House\ndef light(house): return [lamp.colour for lamp in house.lamps]", ["Lamp.watts"]),
        ("import lamp\nfrom {here} import House\ndef light(house): return house.lamps, lamp.colour, lamp.watts", ["Lamp.colour", "Lamp.watts"]),
        ("def light(house): return [(lamp.colour, lamp.watts) for lamp in house.lamps]", EVERY_KEY),
        ("from {here} import House\nclass Tall:\n    def __post_init__(self): assert self.lamps and self.watts and self.colour", EVERY_KEY),
    ],
)
def test_a_key_that_nothing_reads_is_found(text: str, missing: list[str]) -> None:
    assert sorted(unread(House, (read_module("other", text.format(here=__name__)),))) == missing
