"""`training outline`: the network that draws the item's outline on the device."""

import argparse
from pathlib import Path
from typing import Any

from device.common.cli import int_range

SEEDS = 1_000_000
"""numbers between the first views of one seed and of the next"""


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `outline` to the command line."""
    parser = commands.add_parser(
        "outline",
        help="train the network with which a bin isolates items",
        description="Make views of bins with and without an item, from photos of items on plain card and pictures of places, and train the small "
        "network that tells the item from its shadow, its glints and the place. Exit status: 0 written, 2 bad usage or input.",
    )
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="photos of items on plain card, in folders or loose")
    parser.add_argument("--places", type=Path, metavar="DIR", help="pictures of places, with or without things in them")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="model to write, .tflite")
    parser.add_argument("--views", type=int_range(1), default=6000, metavar="N", help="views to make (default: %(default)s)")
    parser.add_argument("--steps", type=int_range(1), default=1500, metavar="N", help="batches of 32 to train (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the views and the training (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="the measurement as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train and write. Returns the exit status."""
    import msgspec

    from converter.common.progress import Progress
    from device.vision.inference.images import find_pictures
    from training.outline import fit
    from training.outline.views import Stock

    stock = Stock(tuple(find_pictures(arguments.photos)), tuple(find_pictures(arguments.places)) if arguments.places else ())
    views, progress = arguments.views + fit.CHECKED, Progress()
    try:
        lessons = fit.make_lessons(stock, views, arguments.seed * SEEDS, lambda number: progress.step(f"view {number}/{views}"))
        network, drawn = fit.fit_outline(
            lessons, arguments.steps, arguments.seed, lambda number, loss: progress.step(f"step {number}/{arguments.steps}, loss {loss:.3f}")
        )
        fit.write_outline(network, lessons, arguments.out)
    finally:
        progress.close()
    if arguments.json:
        print(msgspec.json.encode({"out": str(arguments.out), "n": drawn.n, "iou": round(drawn.iou, 4), "false": round(drawn.false, 5)}).decode())
    else:
        print(f"{arguments.out}: overlap {drawn.iou:.3f} on {drawn.n} views not trained on; {drawn.false:.2%} drawn where nothing lies")
    return 0
