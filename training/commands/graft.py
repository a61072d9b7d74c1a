"""`training graft`: add the last layers of one run's network to another."""

import argparse
from pathlib import Path
from typing import Any

from converter.common.silence import silenced
from converter.data.training_run import require_finished


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `graft` to the command line."""
    parser = commands.add_parser(
        "graft",
        help="add the last layers of another network to a network",
        description="Add the last layers of SCION's network to STOCK's, beside its own. The labels are predicted as by STOCK; the embedding holds "
        "the features of both. With the network that STOCK was fine-tuned from as SCION, `sortbin teach` works much better on other "
        "things. Exit status: 0 done, 2 bad usage or input.",
        epilog="example: training graft runs/trashnet runs/features --out runs/grafted",
    )
    option = parser.add_argument
    option("stock", type=Path, metavar="STOCK", help="the run whose labels, head and early layers stay")
    option("scion", type=Path, metavar="SCION", help="the run whose last layers are added; of the same backbone, its labels may differ")
    option("--after", default="block_14_add", metavar="LAYER", help="the last layer that both share (default: %(default)s)")
    option("--out", type=Path, required=True, metavar="RUN", help="the run folder to write; it must not exist")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Graft. Returns the exit status."""
    for run in (arguments.stock, arguments.scion):
        require_finished(run)
    with silenced():
        from training.fit.grafting import write_graft
    network = write_graft(arguments.stock, arguments.scion, arguments.after, arguments.out)
    print(f"wrote {arguments.out / 'model.keras'}: embeddings of {network.output['embedding'].shape[-1]} values, {network.count_params():,} weights")
    return 0
