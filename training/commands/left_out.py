"""`training left-out`: train on all places but one, and test on that one."""

import argparse
import sys
from pathlib import Path
from typing import Any

from device.common.shipped_files import find, shipped
from training.commands.places import add_place_options, protocol_of, write_and_print


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `left-out` to the command line."""
    parser = commands.add_parser(
        "left-out",
        help="judge a recipe: train on all places but one, test on that one",
        description="Judge a way of training by places that it never sees. For each place a run is trained on the data set and all other places, by "
        "the recipe, and measured at that place as `training places` does. The data set is left out once as well, where the places have all of its "
        "labels. Each round is a run folder below --out; a stopped round goes on, a finished one is only measured. A recipe that only fits heads "
        "shows each photo to the network once for all rounds. Exit status: 0 measured, 2 bad usage or input.",
        epilog="example: training left-out --data dataset --places kitchen canteen --recipe features --weights imagenet --out runs/left-out",
    )
    option = parser.add_argument
    option("--data", type=Path, required=True, metavar="DIR", help="the data set: a folder of photos for each label, with or without lists")
    option("--recipe", default="features", metavar="RECIPE", help=f"how to train: {', '.join(shipped('recipes'))}, or a file (default: %(default)s)")
    option("--weights", required=True, metavar="PATH|imagenet|none", help="trunk weights: a .weights.h5 file, ImageNet by Keras, or random")
    option("--out", type=Path, required=True, metavar="DIR", help="folder of the runs, one a place")
    option("--leave", action="append", default=[], metavar="PLACE", help="leave out this place only; may be repeated (default: each in turn)")
    add_place_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train and measure. Returns the exit status."""
    from converter.common.progress import Progress
    from converter.common.silence import silenced
    from device.policy.rules import find_rules, read_rules
    from training.fit.recipe import RecipeError, parse_recipe, recipe_text
    from training.left_out.place import PhotoPlaceError, read_places
    from training.left_out.report import model_report
    from training.left_out.rounds import plan_rounds, require_same_start

    out: Path = arguments.out
    file = find("recipes", arguments.recipe, RecipeError)
    text = recipe_text(file)
    recipe = parse_recipe(text, file)
    progress, protocol = Progress(), protocol_of(arguments)
    try:
        data, *places = read_places([arguments.data, *arguments.places], arguments.group_by, progress, arguments.most)
        rules = read_rules(find_rules(recipe.rules), data.labels) if recipe.rules else None
        rounds = plan_rounds(data, places, recipe, rules)
        names = [round_.place.name for round_ in rounds]
        for name in arguments.leave:
            if name not in names:
                raise PhotoPlaceError(f"--leave {name}: expected one of {', '.join(names)}")
        if data.name not in names:
            print(f"training left-out: {data.name}: not left out: the places lack some of its labels", file=sys.stderr)
        require_same_start(out, _described(arguments.weights))
        chosen = [round_ for round_ in rounds if not arguments.leave or round_.place.name in arguments.leave]
        with silenced():
            from training.left_out.every_round import measure_rounds
        start = None if arguments.weights == "none" else arguments.weights
        measured = measure_rounds(chosen, out, text, start, protocol, progress)
    finally:
        progress.close()
    report = model_report(f"{arguments.recipe}, {Path(arguments.weights).name}", "float32", measured)
    write_and_print([report], out, as_json=arguments.json)
    return 0


def _described(weights: str) -> str:
    """The name of weights, with a hash of a file."""
    from device.vision.inference.bundle import hash_file

    return f"{Path(weights).name} {hash_file(Path(weights))}" if Path(weights).is_file() else weights
