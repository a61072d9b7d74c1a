"""The rules of the house (CONTRIBUTING.md) that no linter knows."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = ("device", "converter", "training", "benchmarks")
LONGEST_FUNCTION = 70
LONGEST_MODULE = 450
LONGEST_TEST_NAME = 14
"""words, `test` among them"""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield file.relative_to(ROOT), ast.parse(file.read_text(encoding="utf-8"))


def functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def lines(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_function_of_the_product_is_long() -> None:
    assert [f"{file}:{node.lineno}" for file, tree in modules(*PRODUCT) for node in functions(tree) if lines(node) > LONGEST_FUNCTION] == []


def test_no_module_of_the_product_is_long() -> None:
    assert [str(file) for file, _ in modules(*PRODUCT) if len((ROOT / file).read_text(encoding="utf-8").splitlines()) > LONGEST_MODULE] == []


def test_no_two_classes_of_the_product_share_a_name() -> None:
    places = defaultdict(list)
    for file, tree in modules(*PRODUCT):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(file))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_test_names_are_short() -> None:
    names = [node.name for _, tree in modules("tests") for node in functions(tree) if node.name.startswith("test_")]
    assert [name for name in names if len(name.split("_")) > LONGEST_TEST_NAME] == []
