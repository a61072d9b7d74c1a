"""The command `training`."""

import argparse
import shutil
import sys
from pathlib import Path

from converter.photos import PhotosError, read_split
from training.recipe import RecipeError, read_recipe

DEFAULT_RECIPE = Path(__file__).resolve().parent.parent / "config" / "recipes" / "trashnet.toml"


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 2 bad usage or input."""
    parser = argparse.ArgumentParser(prog="training", description="Train the network that a bin looks through.")
    commands = parser.add_subparsers(dest="command", required=True)
    fit = commands.add_parser("fit", help="train a network on a folder of photos per label", description=_fit.__doc__)
    option = fit.add_argument
    option(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="a folder of photos for each label; its splits/*train.txt and *val.txt are kept to",
    )
    option(
        "--weights",
        required=True,
        metavar="PATH|imagenet|none",
        help="start of the trunk: a .weights.h5 file, ImageNet by Keras, or random",
    )
    option("--out", type=Path, required=True, metavar="RUN", help="the run folder; a run that was stopped there goes on")
    option("--recipe", type=Path, default=DEFAULT_RECIPE, metavar="FILE", help="how to train (default: %(default)s)")
    fit.set_defaults(run=_fit)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (PhotosError, RecipeError) as error:
        print(f"training {arguments.command}: {error}", file=sys.stderr)
        return 2


def _fit(arguments: argparse.Namespace) -> int:
    """Fit a head on frozen features, then fine-tune the whole network in the recipe's stages."""
    recipe = read_recipe(arguments.recipe)
    split = read_split(arguments.data, seed=recipe.seed)
    run: Path = arguments.out
    if (run / "model.keras").exists():
        print(f"training fit: {run}: holds a finished run; name another folder, or remove this one to train again", file=sys.stderr)
        return 2

    from training.fit import fit
    from training.network import WeightsError

    run.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(arguments.recipe, run / "recipe.toml")
    try:
        score = fit(recipe, split, run, None if arguments.weights == "none" else arguments.weights, lambda line: print(line, flush=True))
    except WeightsError as error:
        print(f"training fit: {error}", file=sys.stderr)
        return 2
    print(f"wrote {run / 'model.keras'}: validation accuracy {score.accuracy:.4f} of {len(split.val)} photos")
    return 0
