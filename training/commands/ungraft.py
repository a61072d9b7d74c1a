"""`training ungraft`: a grafted run without what was grafted, to be trained further."""

import argparse
from pathlib import Path
from typing import Any

from converter.common.silence import silenced
from converter.data.run import require_finished


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `ungraft` to the command line."""
    parser = commands.add_parser(
        "ungraft",
        help="a grafted network without the layers that were grafted",
        description="Take what `training graft` added off a run's network again. Training changes grafted layers, which they are not there for: "
        "ungraft, train further, and graft anew. Exit status: 0 done, 2 bad usage or input.",
        epilog="example: training ungraft runs/grafted --out runs/stock",
    )
    option = parser.add_argument
    option("grafted", type=Path, metavar="RUN", help="a run that `training graft` made, or what `training dequantize` made of such a bundle")
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
