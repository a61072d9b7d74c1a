"""`training ungraft`: remove the grafted layers of a run, to train it further."""

import argparse
from pathlib import Path
from typing import Any

from converter.common.silence import silenced
from converter.data.training_run import require_finished


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `ungraft` to the command line."""
    parser = commands.add_parser(
        "ungraft",
        help="remove the layers that `training graft` added",
        description="Remove the layers that `training graft` added to a run's network. Further training would change the grafted layers: ungraft, "
        "train further, and graft again. Exit status: 0 done, 2 bad usage or input.",
        epilog="example: training ungraft runs/grafted --out runs/stock",
    )
    option = parser.add_argument
    option("grafted", type=Path, metavar="RUN", help="a grafted run, or a run that `training dequantize` made of a grafted bundle")
    option("--out", type=Path, required=True, metavar="RUN", help="the run folder to write; it must not exist")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ungraft. Returns the exit status."""
    require_finished(arguments.grafted)
    with silenced():
        from training.fit.grafting import write_ungrafted
    network = write_ungrafted(arguments.grafted, arguments.out)
    print(f"wrote {arguments.out / 'model.keras'}: embeddings of {network.output['embedding'].shape[-1]} values, {network.count_params():,} weights")
    return 0
