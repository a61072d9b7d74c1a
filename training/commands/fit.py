"""`training fit`: train a network on photos."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converter.common.silence import silenced
from converter.data.photos import Photo, Split, folder_remarks, read_extra_photos, read_fold, read_split, require_readable
from converter.data.training_run import read_run
from device.common.shipped_files import find, shipped
from device.policy.rules import find_rules, read_rules
from training.fit.draws import DATA_SET
from training.fit.recipe import RecipeError, TrainingRecipe, further_recipe_text, parse_recipe, recipe_text


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `fit` to the command line."""
    parser = commands.add_parser(
        "fit",
        help="train a network on photos",
        description="Fit heads on frozen features, then fine-tune the network in the recipe's stages. A stopped run goes on at its last whole "
        "epoch. --from trains a finished run further on its own photos, by default so that INT8 loses less accuracy. Several machines "
        "train one network when TF_CONFIG names them: start the same command on each. Exit status: 0 trained, 2 bad usage or input.",
    )
    option = parser.add_argument
    option("--data", type=Path, required=True, metavar="DIR", help="a folder of photos for each label, or what `training prepare` wrote")
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument(
        "--weights",
        metavar="PATH|imagenet|none",
        help="trunk weights: a .weights.h5 file, ImageNet by Keras, or random",
    )
    start.add_argument("--from", dest="start", type=Path, metavar="RUN", help="start from the whole network of this finished run")
    option("--out", type=Path, required=True, metavar="RUN", help="the run folder; a stopped run in it goes on")
    option("--recipe", metavar="RECIPE", help=f"how to train: {', '.join(shipped('recipes'))}, or a file (default: trashnet; with --from int8)")
    option(
        "--teacher",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        help="distill from this run too, on views that show photos of --data as they were taken; may be repeated",
    )
    option(
        "--remember",
        type=Path,
        metavar="RUN",
        help="keep embeddings near those of this run, by the recipe's remember_share (default: of the network that training starts from)",
    )
    option(
        "--also",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="train on these photos too, without choosing epochs by them: a folder for each of some labels, or rendered places; folders named "
        "extra-... are passed over; may be repeated",
    )
    option("--fold", type=int, metavar="K", help="validate on this fold of a prepared data set, and train on the others")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train. Returns the exit status."""
    out: Path = arguments.out
    start: Path | None = arguments.start
    if (out / "model.keras").exists():
        print(f"training fit: {out}: holds a finished run; name another folder, or remove this one to train again", file=sys.stderr)
        return 2
    if out.exists() and any(out.iterdir()) and not (out / "recipe.toml").is_file():
        print(f"training fit: {out}: holds something that is no run; name another folder", file=sys.stderr)
        return 2
    if start is not None and arguments.fold is not None:
        print("training fit: --fold: expected without --from: a run is trained further on its own photos", file=sys.stderr)
        return 2
    finished = None if start is None else read_run(start, arguments.data)
    file = find("recipes", arguments.recipe or ("trashnet" if start is None else "int8"), RecipeError)
    text = recipe_text(file) if start is None else further_recipe_text(file, start)
    recipe = parse_recipe(text, file)
    for remark in folder_remarks(arguments.data):
        print(f"training fit: {remark}", file=sys.stderr)
    if finished is not None:
        split = Split(finished.labels, finished.train, finished.val)
    else:
        split = read_split(arguments.data, seed=recipe.seed) if arguments.fold is None else read_fold(arguments.data, arguments.fold)
    extra = tuple(photo for folder in arguments.also for photo in read_extra_photos(folder, split.labels))
    _remark_on_places(recipe, extra)
    rules = read_rules(find_rules(recipe.rules), split.labels) if recipe.rules else None
    require_readable((*split.train, *split.val, *extra))

    with silenced():
        from training.fit.checkpoint import storage_errors
        from training.fit.distributed import join_cluster
        from training.fit.job import TrainingJob
        from training.fit.trainer import fit

        workers = join_cluster()
    job = TrainingJob(recipe, split, rules, tuple(arguments.teacher), start, extra, arguments.remember)
    with storage_errors(out):
        if not (out / "progress.json").exists():
            out.mkdir(parents=True, exist_ok=True)
            (out / "recipe.toml").write_text(text, encoding="utf-8")
        score = fit(job, out, None if arguments.weights == "none" else arguments.weights, lambda line: print(line, flush=True), workers=workers)
    print(f"wrote {out / 'model.keras'}: validation accuracy {score.accuracy:.4f} of {score.n} photos")
    return 0


def _remark_on_places(recipe: TrainingRecipe, extra: Sequence[Photo]) -> None:
    """Say which of the recipe's factors count for nothing."""
    for place in sorted(set(recipe.places) - {photo.place for photo in extra} - {DATA_SET}):
        print(f"training fit: places.{place}: no folder of this name among --also, so its factor counts for nothing", file=sys.stderr)
