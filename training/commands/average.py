"""`training average`: one network from the weights of several runs."""

import argparse
import math
from pathlib import Path
from typing import Any

from converter.common.silence import silenced
from device.common.errors import UsageError


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `average` to the command line."""
    parser = commands.add_parser(
        "average",
        help="average the weights of finished runs",
        description="Average the weights of finished runs, one of them trained from the other, and measure all on their validation photos. The "
        "average of a run before and after further training keeps much of what each has learned. Exit status: 0 done, 2 bad usage or "
        "input.",
        epilog="example: training average runs/first=0.3 runs/further=0.7 --data photos --out runs/between",
    )
    option = parser.add_argument
    option("runs", nargs="+", metavar="RUN=SHARE", help="run folders and the share of each; shares are scaled to sum to 1")
    option("--data", type=Path, required=True, metavar="DIR", help="the photos that the runs were trained on and chosen by")
    option("--out", type=Path, required=True, metavar="RUN", help="the run folder to write; it must not exist")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Average. Returns the exit status."""
    from converter.common.atomic_directory import atomic_directory
    from converter.data.photos import report_all_unreadable
    from converter.data.training_run import read_run

    shares = shares_by_run(arguments.runs)
    runs = {folder: read_run(folder, arguments.data) for folder in shares}
    with silenced():
        from training.fit.average_runs import average
    with atomic_directory(arguments.out) as folder, report_all_unreadable([photo for run in runs.values() for photo in run.val]):
        average(runs, shares, folder, lambda line: print(line, flush=True))
    print(f"wrote {arguments.out / 'model.keras'}")
    return 0


def shares_by_run(given: list[str]) -> dict[Path, float]:
    """Read RUN=SHARE, each share above 0. Raises UsageError."""
    shares: dict[Path, float] = {}
    for text in given:
        folder, _, share = text.rpartition("=")
        try:
            number = float(share)
        except ValueError:
            number = math.nan
        if not folder or not 0 < number < math.inf:
            raise UsageError(f"{text}: expected RUN=SHARE with a share above 0, for example runs/first=0.3")
        if Path(folder) in shares:
            raise UsageError(f"{folder}: given twice; expected each run once")
        shares[Path(folder)] = number
    if len(shares) < 2:
        raise UsageError(f"{given[0]}: expected at least two runs to average")
    return shares
