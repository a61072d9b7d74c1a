"""`training fit`: photos to a trained network."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from converter.photos import empty_folders, read_fold, read_split
from converter.quiet import quiet
from device.rules import find_rules, read_rules
from training.recipe import read_recipe

DEFAULT_RECIPE = Path(__file__).resolve().parents[2] / "config" / "recipes" / "trashnet.toml"


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `fit` to the command line."""
    parser = commands.add_parser(
        "fit",
        help="train a network on photos",
        description="Fit heads on frozen features, then fine-tune the network in the recipe's stages. A run that was stopped goes on at the epoch "
        "it had finished. Several machines train one network when TF_CONFIG names them: start the same command on each. "
        "Exit status: 0 trained, 2 bad usage or input.",
    )
    option = parser.add_argument
    option("--data", type=Path, required=True, metavar="DIR", help="a folder of photos for each label, or what `training prepare` wrote")
    option(
        "--weights",
        required=True,
        metavar="PATH|imagenet|none",
        help="start of the trunk: a .weights.h5 file, ImageNet by Keras, or random",
    )
    option("--out", type=Path, required=True, metavar="RUN", help="the run folder; a run that was stopped there goes on")
    option("--recipe", type=Path, default=DEFAULT_RECIPE, metavar="FILE", help="how to train (default: %(default)s)")
    option("--teacher", type=Path, action="append", default=[], metavar="RUN", help="learn from this run as well; may be given again")
    option("--fold", type=int, metavar="K", help="choose by this fold of a prepared data set, and train on the others")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train. Returns the exit status."""
    recipe = read_recipe(arguments.recipe)
    split = read_split(arguments.data, seed=recipe.seed) if arguments.fold is None else read_fold(arguments.data, arguments.fold)
    for folder in empty_folders(arguments.data):
        print(f"training fit: {folder}: no photo in it, so it is no label", file=sys.stderr)
    out: Path = arguments.out
    if (out / "model.keras").exists():
        print(f"training fit: {out}: holds a finished run; name another folder, or remove this one to train again", file=sys.stderr)
        return 2
    rules = read_rules(find_rules(recipe.rules), split.labels) if recipe.rules else None

    with quiet():
        from training.fit import Lesson, fit
        from training.keeping import room_in
        from training.workers import join

        workers = join()
    lesson = Lesson(recipe, split, rules, tuple(arguments.teacher))
    with room_in(out):
        if not (out / "recipe.toml").exists():
            out.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(arguments.recipe, out / "recipe.toml")
        score = fit(lesson, out, None if arguments.weights == "none" else arguments.weights, lambda line: print(line, flush=True), workers=workers)
    print(f"wrote {out / 'model.keras'}: validation accuracy {score.accuracy:.4f} of {score.n} photos")
    return 0
