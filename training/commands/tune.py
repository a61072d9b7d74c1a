"""`training tune`: search for a better recipe."""

import argparse
import sys
from pathlib import Path
from typing import Any

from converter.common.silence import silenced
from converter.data.photos import folder_remarks, read_split, require_readable
from device.common.cli import int_range
from device.common.shipped_files import find, shipped
from training.tune.space import SpaceError, read_space


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `tune` to the command line."""
    parser = commands.add_parser(
        "tune",
        help="search for a better recipe",
        description="Sample recipes from a space, train each, end bad ones early, and report which settings mattered. A stopped search goes on "
        "where it was; several processes with the same storage and study share the trials. Exit status: 0 done, 2 bad usage or input.",
        epilog="example: training tune --space scratch-cnn --data photos --weights none --out runs/scratch --trials 50",
    )
    option = parser.add_argument
    option("--space", required=True, metavar="SPACE", help=f"what to sample: {', '.join(shipped('spaces'))}, or a file")
    option("--data", type=Path, required=True, metavar="DIR", help="a folder of photos for each label, or what `training prepare` wrote")
    option("--weights", required=True, metavar="PATH|imagenet|none", help="trunk weights: a .weights.h5 file, ImageNet by Keras, or random")
    option("--out", type=Path, required=True, metavar="DIR", help="runs, report.html, report.json, plots and best-recipe.toml are written there")
    option("--trials", type=int_range(1), default=50, metavar="N", help="number of trials, with pruned ones (default: %(default)s)")
    option("--storage", metavar="URL", help="where trials are stored (default: sqlite:///OUT/study.db); a database server for several machines")
    option("--study", default="sortbin", metavar="NAME", help="name of the study in the storage (default: %(default)s)")
    option(
        "--sampler",
        choices=("tpe", "random", "grid"),
        default="tpe",
        help="how values are proposed (default: tpe); grid: every combination once",
    )
    option("--seed", type=int_range(1), default=1, metavar="N", help="seed of the sampler (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Search. Returns the exit status."""
    space = read_space(find("spaces", arguments.space, SpaceError))
    for remark in folder_remarks(arguments.data):
        print(f"training tune: {remark}", file=sys.stderr)
    split = read_split(arguments.data, seed=space.base.seed)
    require_readable((*split.train, *split.val))
    trials: int = arguments.trials
    if arguments.sampler == "grid":
        combinations = space.combinations()
        if combinations is None:
            raise SpaceError(f"{arguments.space}: expected choices everywhere for --sampler grid, found a range from low to high")
        trials = min(trials, combinations)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)

    with silenced():
        from training.tune.report import write
        from training.tune.study import Search, open_study, search

    storage = arguments.storage or f"sqlite:///{(out / 'study.db').resolve()}"
    study = open_study(storage, arguments.study, space, arguments.sampler, arguments.seed)
    weights = None if arguments.weights == "none" else arguments.weights
    search(study, Search(space, split, weights, out), trials, lambda line: print(line, flush=True))
    summary = write(study, space, out)
    print(f"wrote {out / 'report.html'}: {summary}")
    return 0
