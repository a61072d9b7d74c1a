"""`training compare`: recipes side by side."""

import argparse
import sys
from pathlib import Path
from typing import Any

from converter.common.silence import silenced
from converter.data.photos import folder_remarks, read_split, require_readable
from device.common.errors import UsageError
from device.common.shipped_files import find, shipped
from training.fit.recipe import RecipeError


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `compare` to the command line."""
    parser = commands.add_parser(
        "compare",
        help="train recipes and compare them",
        description="Train each recipe, unless OUT holds its finished run, and sort them by validation accuracy, with parameters, INT8 size and "
        "measured INT8 latency. Exit status: 0 done, 2 bad usage or input.",
        epilog="example: training compare a.toml b.toml --data photos --weights a=imagenet --weights b=none --out runs/compared",
    )
    option = parser.add_argument
    option("recipes", nargs="+", metavar="RECIPE", help=f"{', '.join(shipped('recipes'))}, or files; a file's name is its recipe's name")
    option("--data", type=Path, required=True, metavar="DIR", help="a folder of photos for each label, or what `training prepare` wrote")
    option(
        "--weights",
        action="append",
        required=True,
        metavar="[NAME=]PATH|imagenet|none",
        help="start weights of the trunks, or of the recipe NAME alone; may be repeated",
    )
    option("--out", type=Path, required=True, metavar="DIR", help="runs, compare.json, compare.png and compare.html are written there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare. Returns the exit status."""
    recipes = {file.stem: file for file in (find("recipes", named, RecipeError) for named in arguments.recipes)}
    if len(recipes) < len(arguments.recipes):
        raise UsageError("RECIPE: expected different names; rename one file")
    weights = weights_by_recipe(arguments.weights, list(recipes))
    for remark in folder_remarks(arguments.data):
        print(f"training compare: {remark}", file=sys.stderr)
    split = read_split(arguments.data)
    require_readable((*split.train, *split.val))
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)

    with silenced():
        from training.tune.compare import HEAD, compare, table, write

    found = compare(recipes, weights, split, arguments.data, out, lambda line: print(line, flush=True))
    write(found, out)
    lines = [HEAD, *table(found.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print(f"wrote {out / 'compare.html'}")
    return 0


def weights_by_recipe(given: list[str], names: list[str]) -> dict[str, str | None]:
    """The weights of each recipe: its own, or those given without a name. Raises UsageError for a recipe without weights."""
    own = {name: text.removeprefix(f"{name}=") for text in given for name in names if text.startswith(f"{name}=")}
    rest = [text for text in given if not any(text.startswith(f"{name}=") for name in names)]
    if len(rest) > 1:
        raise UsageError(f"--weights {rest[1]}: expected NAME= of one of {', '.join(names)} before it, since {rest[0]} is for all others")
    missing = [name for name in names if name not in own]
    if missing and not rest:
        raise UsageError(f"--weights: none for recipe {missing[0]}; add --weights {missing[0]}=PATH, imagenet or none")
    chosen = {name: own.get(name, rest[0] if rest else "none") for name in names}
    return {name: None if text == "none" else text for name, text in chosen.items()}
