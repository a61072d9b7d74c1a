"""`training evaluate`: measure a model on labelled photos, float and INT8 alike."""

import argparse
import sys
from pathlib import Path
from typing import Any

from device.common.cli import float_range, int_range
from device.common.errors import UsageError


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `evaluate` to the command line."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a run, a bundle or a .tflite on labelled photos",
        description="Measure a model on one split of a data set, with the same pixels as on a bin: accuracy and top-k, "
        "precision, recall, F1 and entropy of each label, confusion, calibration before and after temperature, risk against coverage, conformal "
        "sets, and with a rule pack the choice of bins and the cost of mistakes. Writes report.html, report.json, photos.csv and the pictures. "
        "Every share has its n and 95 % interval. Exit status: 0 measured, 2 bad usage or input.",
        epilog="example: training evaluate runs/trashnet --data photos/trashnet --rules trashnet",
    )
    option = parser.add_argument
    option("model", type=Path, metavar="RUN|BUNDLE|MODEL.tflite", help="what `training fit` or `converter quantize` wrote, or a bare .tflite")
    option("--data", type=Path, required=True, metavar="DATASET", help="a prepared data set, or a folder of photos for each label")
    option("--split", default="val", metavar="PART", help="which photos: train, val, test, all, or fold0, fold1, ... (default: %(default)s)")
    option("--rules", metavar="PACK", help="rule pack: its file, or the name of one Sortbin comes with; adds the bins and their costs")
    option(
        "--error",
        type=float_range(gt=0, lt=1),
        default=0.02,
        metavar="SHARE",
        help="wanted share of errors among the accepted photos (default: %(default)s)",
    )
    option("--corruptions", action="store_true", help="also measure with bad light, blur, noise, moved items and other backgrounds; slow")
    option("--isolated", action="store_true", help="show isolated items in place of whole photos, as a bin does with an empty reference")
    option("--labels", type=Path, metavar="FILE", help="labels of a bare .tflite, one a line (default: labels.txt beside it)")
    option(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the report (default: evaluation/NAME-SPLIT, with --isolated evaluation/NAME-SPLIT-isolated)",
    )
    option("--seed", type=int_range(0), default=0, metavar="N", help="seed of the sample grid and the corruptions (default: %(default)s)")
    option("--json", action="store_true", help="print report.json instead of a summary")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, write the report and print the main figures. Returns the exit status."""
    from converter.common.progress import Progress
    from device.policy.rules import find_rules, read_rules
    from training.evaluate import report
    from training.evaluate.evaluation import EvaluationOptions, evaluate
    from training.evaluate.isolated_items import IsolatedItems
    from training.evaluate.models import open_model
    from training.evaluate.photo_selection import select_photos

    if arguments.isolated and arguments.corruptions:
        raise UsageError("--corruptions: expected without --isolated: it changes whole photos")
    progress = Progress()
    try:
        progress.step("opening the model")
        model = open_model(arguments.model, arguments.labels)
        pack = read_rules(find_rules(arguments.rules), model.labels) if arguments.rules else None
        chosen = select_photos(arguments.data, arguments.split, model)
        items = IsolatedItems(model.ground) if arguments.isolated else None
        options = EvaluationOptions(pack, arguments.error, arguments.corruptions, arguments.seed, items)
        evaluation = evaluate(model, chosen, options, progress)
        default = Path("evaluation", f"{model.name}-{chosen.split}{'-isolated' if arguments.isolated else ''}")
        page = report.write_report(evaluation, arguments.out or default, arguments.seed, progress)
    finally:
        progress.close()
    for problem in evaluation.report.data.left_out:
        print(f"training evaluate: left out: {problem}", file=sys.stderr)
    if arguments.json:
        print(report.encode_report(evaluation.report).decode(), end="")
    else:
        print(report.summary(evaluation.report))
        print(f"wrote {page}")
    return 0
