"""`training explain`: what a network looks at."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.common.cli import int_range

if TYPE_CHECKING:
    from training.explain.explanation import Explanation


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `explain` to the command line."""
    parser = commands.add_parser(
        "explain",
        help="show what a network looks at",
        description="Show on photos what speaks for the label a network gives (Grad-CAM), which pixels do (guided backpropagation), and what "
        "its first layer sees. For the pictures named, or without any for the worst of a split: of a mistake, also what speaks for the "
        "true label. Writes pictures and explanation.json. Exit status: 0 done, 1 some pictures could not be read, 2 bad usage or input.",
        epilog="examples: training explain runs/trashnet bottle.jpg --out why; "
        "training explain runs/trashnet --data photos/trashnet --worst 12 --out why",
    )
    option = parser.add_argument
    option("folder", type=Path, metavar="RUN", help="the folder that `training fit` wrote; a bundle and a .tflite hold no gradients")
    option("images", nargs="*", type=Path, metavar="IMAGE|DIR", help="pictures, or folders of them")
    option("--data", type=Path, metavar="DATASET", help="without pictures: where to look for the worst")
    option("--split", default="val", metavar="PART", help="which photos of it: train, val, test, all, or fold0, fold1, ... (default: %(default)s)")
    option("--worst", type=int_range(1), default=12, metavar="N", help="how many of the worst (default: %(default)s)")
    option("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    option("--json", action="store_true", help="print explanation.json instead of a line a photo")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Explain and say where the evidence is. Returns the exit status."""
    if not arguments.images and arguments.data is None:
        print("training explain: expected pictures to explain, or --data to take the worst from", file=sys.stderr)
        return 2
    from converter.common.progress import Progress
    from converter.common.silence import silenced
    from training.evaluate.models import network_model, read_network

    progress = Progress()
    try:
        progress.step("opening the network")
        network, labels = read_network(arguments.folder)
        with silenced():
            from training.explain import explanation, subjects
        if arguments.images:
            chosen, left_out = subjects.named(arguments.images)
        else:
            model = network_model(arguments.folder, network, labels)
            chosen, left_out = subjects.worst(model, arguments.data, arguments.split, arguments.worst, progress)
        found = explanation.explain(network, labels, chosen, arguments.out, progress)
    finally:
        progress.close()
    for problem in left_out:
        print(f"training explain: left out: {problem}", file=sys.stderr)
    if arguments.json:
        print(explanation.encoded(found).decode(), end="")
    else:
        for entry in found:
            print(_line(entry))
        print(f"wrote {arguments.out}")
    return 1 if left_out else 0


def _line(entry: "Explanation") -> str:
    truth = f", is {entry.label}" if entry.label not in (None, entry.named) else ""
    places = [
        f"{evidence.label} at {evidence.x:.0%}, {evidence.y:.0%}, half of it on {evidence.area:.0%} of the frame"
        if evidence.x is not None
        else f"nothing for {evidence.label}"
        for evidence in entry.evidence
    ]
    return f"{entry.photo}: {entry.named} {entry.p_named:.1%}{truth}; evidence: {'; '.join(places)}"
