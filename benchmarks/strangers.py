"""How well a bin that was taught its place tells what nobody taught it.

    python -m benchmarks.strangers PLACES [--bundle DIR] [--shots 10] [--draws 2] [--labels A,B,...] [--as OLD=NEW,...] [--json]

PLACES is a folder that `training render bench` or `benchmarks.cut_outs` wrote. At each place a few photos of each label but one are taught with
`sortbin teach --only`; then come the other items of those labels, and all items of the one. AUROC says how often one of the latter is less
known than one of the former. --labels: only these are taught, and each of the others is a stranger. --as: taught under other names, which the bundle
does not know.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import msgspec
import numpy as np

from benchmarks.places import JudgedPicture, drawn, look_at, probabilities, renamed
from device.commands.classify import labels
from device.common.arrays import Float64Array
from device.common.errors import SortbinError
from device.vision.fewshot.examples import to_examples
from device.vision.fewshot.fewshot_head import FewshotHead
from device.vision.fewshot.teach import teach
from device.vision.inference.bundle import Bundle, default_bundle, find_bundle, read_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.embedding_stats import read_embedding_stats
from device.vision.inference.novelty import read_novelty_model


class Met(NamedTuple):
    """One place, one draw, one stranger. known, strangers: items x 2, their unknown score and one minus their highest probability; above: the
    score from which on an item counts as unknown.
    """

    stranger: str
    known: Float64Array
    strangers: Float64Array
    above: float


class BundleResult(msgspec.Struct, frozen=True):
    """One label as a stranger, or the mean of all; means over places and draws.

    auroc: of the score; by_probability: of one minus the highest probability. rejected, rejected_known: shares of strangers and of known items that
    count as unknown.
    """

    stranger: str
    auroc: float
    by_probability: float
    rejected: float
    rejected_known: float


def meetings(seen: Sequence[JudgedPicture], bundle: Bundle, shots: int, draws: int, taught: Sequence[str], named: Mapping[str, str]) -> Iterator[Met]:
    """Each stranger at each place, as often as `draws` says. taught: labels, none for all but the stranger."""
    reference, familiar = read_embedding_stats(bundle), read_novelty_model(bundle)
    everything = sorted({each.label for each in seen})
    for place in sorted({each.place for each in seen}):
        here = [each for each in seen if each.place == place]
        for stranger in (label for label in everything if label not in taught):
            wanted = taught or [label for label in everything if label != stranger]
            usual = [each for each in here if each.label in wanted]
            for draw in range(draws):
                shown = drawn(usual, shots, draw)
                photos = [usual[number].as_taught(named) for number in sorted(shown)]
                names = {usual[number].label for number in shown}
                known = [each for number, each in enumerate(usual) if number not in shown and each.label in names]
                strangers = [each for each in here if each.label == stranger]
                if len(names) < 2 or not strangers:
                    continue
                teaching = teach(to_examples(photos, bundle), bundle, reference, familiar, only=True)
                yield Met(stranger, _scores(known, teaching, bundle), _scores(strangers, teaching, bundle), teaching.unknown_above)


def _scores(seen: Sequence[JudgedPicture], teaching: FewshotHead, bundle: Bundle) -> Float64Array:
    judged = [[teaching.predict(probabilities(made, bundle), made.embedding, in_domain=each.found) for made in each.looks] for each in seen]
    return np.array([np.mean([(unknown, 1 - found.max()) for found, unknown in looks], axis=0) for looks in judged])


def auroc(strangers: Float64Array, known: Float64Array) -> float:
    """How often a stranger has the higher score of two, ties counted by half."""
    above = strangers[:, np.newaxis] - known
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def summed(stranger: str, met: Sequence[Met]) -> BundleResult:
    """The means over all meetings."""
    figures = [
        (
            *(auroc(each.strangers[:, kind], each.known[:, kind]) for kind in range(2)),
            *((scores[:, 0] > each.above).mean() for scores in (each.strangers, each.known)),
        )
        for each in met
    ]
    return BundleResult(stranger, *np.mean(figures, axis=0).tolist())


def main() -> int:
    """Print the figures. Exit status 2 when there is nothing to measure."""
    parser = argparse.ArgumentParser(prog="benchmarks.strangers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", type=Path, metavar="PLACES", help="folder of places with labelled pictures and empty views")
    parser.add_argument("--bundle", type=find_bundle, default=default_bundle(), metavar="DIR", help="bundle that judges (default: Sortbin's own)")
    parser.add_argument("--shots", type=int, default=10, metavar="N", help="photos of each label to teach (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=2, metavar="N", help="how often they are drawn at each place (default: %(default)s)")
    parser.add_argument("--labels", type=labels, default=(), metavar="A,B,...", help="labels that are taught (default: all but the stranger)")
    parser.add_argument("--as", dest="named", type=renamed, default={}, metavar="OLD=NEW,...", help="names that labels are taught under")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        bundle = read_bundle(arguments.bundle)
        seen = list(look_at(arguments.places, Classifier(bundle)))
    except SortbinError as error:
        print(f"benchmarks.strangers: {error}", file=sys.stderr)
        return 2
    met = list(meetings(seen, bundle, arguments.shots, arguments.draws, arguments.labels, arguments.named))
    if not met:
        print(f"benchmarks.strangers: {arguments.places}: no place has two labels to teach and a third to throw in", file=sys.stderr)
        return 2
    results = [summed(stranger, [each for each in met if each.stranger == stranger]) for stranger in sorted({each.stranger for each in met})]
    results.append(summed("mean of all", met))
    if arguments.json:
        for row in results:
            print(msgspec.json.encode(row).decode())
        return 0
    print("| stranger | AUROC | by probability alone | strangers rejected | known items rejected |\n|---|---|---|---|---|")
    for row in results:
        print(f"| {row.stranger} | {row.auroc:.3f} | {row.by_probability:.3f} | {row.rejected:.3f} | {row.rejected_known:.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
