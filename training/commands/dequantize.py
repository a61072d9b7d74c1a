"""`training dequantize`: turn a bundle back into a run that can be trained further."""

import argparse
import sys
from pathlib import Path
from typing import Any

from converter.common.silence import silenced
from converter.data.photos import read_split
from device.vision.inference.bundle import find_bundle, read_bundle


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `dequantize` to the command line."""
    parser = commands.add_parser(
        "dequantize",
        help="turn a bundle back into a run that can be trained further",
        description="Make a run from a bundle's INT8 model: the same network in float, its weights rounded to eight bits. It can be trained further, "
        "averaged, evaluated, explained, and quantized again. Exit status: 0 done, 2 bad usage or input.",
        epilog="example: training dequantize trashnet --data TRASHNET --out runs/trashnet",
    )
    option = parser.add_argument
    option("bundle", type=find_bundle, metavar="BUNDLE", help="a bundle's folder, or the name of one that Sortbin comes with")
    option("--data", type=Path, required=True, metavar="DIR", help="photos of its labels, if possible those that it was made from")
    option("--seed", type=int, default=1, metavar="N", help="seed of their split where a folder has no lists, as in the first recipe (default: 1)")
    option("--out", type=Path, required=True, metavar="RUN", help="the run folder to write; it must not exist")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Dequantize. Returns the exit status."""
    bundle = read_bundle(arguments.bundle)
    read_split(arguments.data, seed=arguments.seed)  # reports mistakes before TensorFlow is loaded
    with silenced():
        from training.fit.dequantize import write_dequantized
    network, same_photos = write_dequantized(bundle, arguments.data, arguments.seed, arguments.out)
    if not same_photos:
        print(
            f"training dequantize: {arguments.data}: not the photos and split that {arguments.bundle} was made from; "
            "it may have been trained on some of the validation photos",
            file=sys.stderr,
        )
    print(f"wrote {arguments.out / 'model.keras'}: {len(bundle.info.labels)} labels, {network.count_params():,} weights")
    return 0
