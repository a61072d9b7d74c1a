"""`training fewshot`: how well the embeddings of models tell apart labels that they were not trained on."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from device.common.cli import int_range


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `fewshot` to the command line."""
    parser = commands.add_parser(
        "fewshot",
        help="measure how well models learn from a few photos",
        description="Few-shot accuracy on labels that the models were not trained on: a classifier is fitted to the embeddings of a few photos of "
        "each label and classifies other photos of them. Prints the mean over many draws of labels and photos, the same for every "
        "model, with its standard error. It shows how well `sortbin teach` works with a model. Exit status: 0 measured, 2 bad usage "
        "or input.",
        epilog="example: training fewshot runs/trashnet runs/gentler --photos groceries",
    )
    option = parser.add_argument
    option("models", nargs="+", type=Path, metavar="RUN|BUNDLE", help="what `training fit` or `converter quantize` wrote")
    option("--photos", type=Path, required=True, metavar="DIR", help="a folder of photos for each label; no label that the models were trained on")
    option("--shots", type=int_range(1), nargs="+", default=[5, 10], metavar="N", help="photos of each label to learn from (default: 5 10)")
    option("--labels", type=int_range(2), default=6, metavar="N", help="labels in each draw (default: %(default)s)")
    option("--draws", type=int_range(1), default=40, metavar="N", help="how often labels and photos are drawn (default: %(default)s)")
    option("--seed", type=int_range(0), default=0, metavar="N", help="seed of the draws (default: %(default)s)")
    option("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure. Returns the exit status."""
    from converter.common.progress import Progress
    from converter.data.photos import read_photos, read_pixels
    from training.evaluate.fewshot import draw_episodes, few_shot_accuracy
    from training.evaluate.models import open_model

    photos = read_photos(arguments.photos)
    labels, targets = np.unique([photo.label for photo in photos], return_inverse=True)
    draws = {shots: list(draw_episodes(targets, arguments.labels, shots, arguments.draws, arguments.seed)) for shots in arguments.shots}
    progress, measured = Progress(), []
    try:
        for path in arguments.models:
            model = open_model(path)
            tracked = progress.track(photos, f"showing {model.name} the photos")
            embeddings = model.judge(read_pixels(photo.path) for photo in tracked).embeddings
            progress.step("")
            found = {shots: few_shot_accuracy(embeddings, targets, of_shots) for shots, of_shots in draws.items()}
            measured.append({"model": str(path), "kind": model.kind, "told": {shots: asdict(one) for shots, one in found.items()}})
            if not arguments.json:
                line = "  ".join(f"{shots} shown: {one.mean:.3f} +- {one.error:.3f}" for shots, one in found.items())
                print(f"{path} ({model.kind}): {line}", flush=True)
    finally:
        progress.close()
    if arguments.json:
        given = {"photos": len(photos), "of_labels": len(labels), "labels": arguments.labels, "draws": arguments.draws, "seed": arguments.seed}
        print(json.dumps(given | {"models": measured}, ensure_ascii=False))
    else:
        of = f"{arguments.draws} draws of {arguments.labels} of {len(labels)} labels, {len(photos)} photos"
        print(f"share of photos classified right, mean and standard error of {of}")
    return 0
