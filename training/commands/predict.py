"""`training predict`: predict the labels of pictures."""

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from device.common.cli import int_range

if TYPE_CHECKING:
    from device.common.arrays import Float64Array
    from device.policy.rules import RulePack
    from training.evaluate.models import Model

TOGETHER = 32
"""pictures that are judged at a time"""


class PicturePrediction(msgspec.Struct, frozen=True):
    """One line of `--json`. likeliest: labels and their probabilities, the most likely first. bin, decision: null without a rule pack."""

    image: str
    label: str
    p: float
    likeliest: dict[str, float]
    bin: str | None
    decision: str | None


class UnreadablePicture(msgspec.Struct, frozen=True):
    """One line of `--json` for a picture that could not be read."""

    image: str
    error: str


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `predict` to the command line."""
    parser = commands.add_parser(
        "predict",
        help="predict the labels of pictures",
        description="Print the most likely labels of each picture by a run, a bundle or a .tflite. A bundle's probabilities are calibrated, those "
        "of other models are not. Exit status: 0 all pictures judged, 1 some could not be read, 2 nothing to judge or a model that "
        "cannot be used.",
        epilog="example: training predict mouse.jpg --model runs/items --rules four-bins",
    )
    option = parser.add_argument
    option("images", nargs="+", type=Path, metavar="IMAGE|DIR", help="a picture, or a folder of pictures")
    option("--model", type=Path, metavar="RUN|BUNDLE|MODEL.tflite", help="the model (default: the bundle that Sortbin comes with)")
    option("--labels", type=Path, metavar="FILE", help="labels of a bare .tflite, one a line (default: labels.txt beside it)")
    option("--rules", metavar="PACK", help="rule pack: its file, or the name of one Sortbin comes with; adds the bin")
    option("--top", type=int_range(1), default=3, metavar="K", help="how many labels to print (default: %(default)s)")
    option("--json", action="store_true", help="one JSON object a line: image, label, p, likeliest, bin, decision")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Predict and print a line for each picture. Returns the exit status."""
    from device.policy.rules import find_rules, read_rules
    from device.vision.inference.bundle import default_bundle
    from device.vision.inference.images import find_pictures, unread_kinds_notes
    from training.evaluate.models import open_model

    files = list(itertools.chain.from_iterable(find_pictures(path) for path in arguments.images))
    for line in unread_kinds_notes(arguments.images):
        print(f"training predict: {line}", file=sys.stderr)
    model = open_model(arguments.model or default_bundle(), arguments.labels)
    pack = read_rules(find_rules(arguments.rules), model.labels) if arguments.rules else None
    unread = 0
    for found in _judged(files, model, pack, arguments.top):
        if isinstance(found, UnreadablePicture):
            unread += 1
            print(f"training predict: {found.error}", file=sys.stderr)
        if arguments.json:
            print(msgspec.json.encode(found).decode(), flush=True)
        elif isinstance(found, PicturePrediction):
            print(_line(found), flush=True)
    return 1 if unread else 0


def _judged(files: list[Path], model: "Model", pack: "RulePack | None", top: int) -> Iterator[PicturePrediction | UnreadablePicture]:
    from device.vision.inference.classifier import softmax
    from device.vision.inference.images import PictureError, read_pixels

    for start in range(0, len(files), TOGETHER):
        pictures, problems = {}, {}
        for file in files[start : start + TOGETHER]:
            try:
                pictures[file] = read_pixels(file)
            except PictureError as error:
                problems[file] = UnreadablePicture(str(file), str(error))
        rows = softmax(model.judge(pictures.values()).logits, model.temperature or 1.0) if pictures else ()
        found = dict(zip(pictures, rows, strict=True))
        for file in files[start : start + TOGETHER]:
            yield problems[file] if file in problems else _predicted(file, found[file], model, pack, top)


def _predicted(file: Path, probabilities: "Float64Array", model: "Model", pack: "RulePack | None", top: int) -> PicturePrediction:
    from device.policy.decision import Evidence, decide

    order = (-probabilities).argsort(kind="stable")[:top].tolist()
    likeliest = {model.labels[index]: round(float(probabilities[index]), 6) for index in order}
    choice = decide(Evidence(probabilities), model.labels, pack, reject_below=model.reject_below or 0.0) if pack is not None else None
    best = order[0]
    bin_, reason = (choice.bin, choice.reason) if choice is not None else (None, None)
    return PicturePrediction(str(file), model.labels[best], round(float(probabilities[best]), 6), likeliest, bin_, reason)


def _line(line: PicturePrediction) -> str:
    likeliest = ", ".join(f"{label} {p:.1%}" for label, p in line.likeliest.items())
    return f"{line.image}: {likeliest}" + (f" -> {line.bin or 'held'} ({line.decision})" if line.bin is not None else "")
