"""`sortbin classify`: judge pictures from files as the bin judges its frames."""

import argparse
import itertools
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from device.adaptation.label_prior import LabelPrior, SiteSettings
from device.common.arrays import Float64Array
from device.common.cli import float_range
from device.common.text_width import padded, width
from device.policy.decision import Evidence, decide
from device.policy.rules import RulePack, default_pack, find_rules, read_rules
from device.vision.fewshot.head_format import read_fewshot_head
from device.vision.inference.bundle import default_bundle, find_bundle, read_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.ground import Ground
from device.vision.inference.images import PictureError, find_pictures, read_pixels, unread_kinds_notes
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.isolate import isolate, whole_frame
from device.vision.isolation.pieces import find_pieces, piece_crops
from device.vision.isolation.tta import ITEM_CROPS, take_looks
from device.vision.judge import ItemFusion, Judge, PieceFusion

HELD = "held"
"""printed in place of the bin for a hazard that goes nowhere"""


class IsolatedItem(msgspec.Struct, frozen=True):
    """Whether the item was isolated, and why not. box: left, top, right, bottom in pixels. area: the mask's share of the picture, 0..1."""

    found: bool
    why: str
    box: tuple[int, int, int, int]
    area: float


class ClassifiedImage(msgspec.Struct, frozen=True):
    """One line of `--json`.

    bin: empty for a hazard that is held. ms: time of isolation, network and decision, without reading the file. isolated: null without a background,
    where the whole picture is judged. unknown: novelty score, 0 familiar to 1 unlike everything known; null where the bundle has no novelty model.
    pieces: number of pieces of the item, apart or joined by a neck.
    """

    image: str
    label: str
    p: float
    bin: str
    decision: str
    probabilities: dict[str, float]
    ms: float
    isolated: IsolatedItem | None
    unknown: float | None
    pieces: int


class UnreadableImage(msgspec.Struct, frozen=True):
    """One line of `--json` for a picture that could not be read."""

    image: str
    error: str


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `classify` to the command line."""
    parser = commands.add_parser(
        "classify",
        help="name the items on pictures and their bins",
        description="Name the item on each picture, its probability and its bin. Folders are searched with all their subfolders. "
        "Exit status: 0 all pictures judged, 1 some could not be read, 2 no pictures, or a bundle or rule pack that cannot be used.",
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="IMAGE|DIR", help="a picture, or a folder of pictures")
    parser.add_argument(
        "--bundle", type=find_bundle, metavar="BUNDLE", help="the bundle's folder, or the name of a shipped one (default: the shipped one)"
    )
    parser.add_argument(
        "--rules",
        metavar="PACK",
        help="rule pack: its file, or the name of a shipped one (default: trashnet; a label without a bin there gets one of its own)",
    )
    parser.add_argument(
        "--background",
        action="append",
        nargs="+",
        default=[],
        type=Path,
        metavar="EMPTY",
        help="pictures of the empty tray, or a folder of them: items are then isolated; write the pictures to judge before it",
    )
    parser.add_argument("--teaching", type=Path, metavar="FILE", help="what `sortbin teach --out` wrote: judge with the labels of that site")
    parser.add_argument("--labels", type=labels, default=(), metavar="A,B,...", help="labels that occur at this site; all others are left out")
    parser.add_argument(
        "--others",
        type=float_range(ge=0, lt=1),
        default=0.0,
        metavar="SHARE",
        help="with --labels: share of items that have another label (default: 0; 0.02 is a good choice)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object a picture: image, label, p, bin, decision, probabilities, ms, isolated (null without --background), unknown, pieces",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judge the pictures and print a line for each. Returns the exit status."""
    paths, groups = _split_paths(arguments.paths, arguments.background)
    bundle = read_bundle(arguments.bundle or default_bundle())
    teaching = read_fewshot_head(arguments.teaching, bundle) if arguments.teaching else None
    judge = Judge(Classifier(bundle), teaching)
    label_prior = LabelPrior(judge.labels, judge.expected_shares, SiteSettings(labels=arguments.labels, others=arguments.others))
    rules = read_rules(find_rules(arguments.rules), judge.labels, bundle.info.labels) if arguments.rules else default_pack(judge.labels)
    pictures = list(itertools.chain.from_iterable(find_pictures(path) for path in paths))
    for remark in unread_kinds_notes(paths):
        print(f"sortbin classify: {remark}", file=sys.stderr)
    empty = BackgroundModel(itertools.chain.from_iterable(_empty_views(group, bundle.info.ground) for group in groups))
    judge.classifier.check_golden_output()

    write = _write_json if arguments.json else _Table(judge.labels, rules, isolates=empty.learned).write
    unread = 0
    for picture in pictures:
        try:
            line: ClassifiedImage | UnreadableImage = _judge(picture, judge, label_prior, rules, empty)
        except PictureError as error:
            unread += 1
            line = UnreadableImage(_shown(picture), _printable(str(error)))
            print(f"sortbin classify: {line.error}", file=sys.stderr)
        write(line)
    return 1 if unread else 0


def _split_paths(paths: list[Path], backgrounds: list[list[Path]]) -> tuple[list[Path], list[list[Path]]]:
    """Separate the pictures to judge from the backgrounds. Raises PictureError where there are none, or it is not clear which they are.

    `--background EMPTY IMAGE` without other pictures means that IMAGE is to be judged, and so is a folder after pictures. With more than two pictures
    it is not clear.
    """
    if not paths and backgrounds and len(backgrounds[-1]) > 1:
        *earlier, (*empty, last) = backgrounds
        if len(empty) > 1 and (not last.is_dir() or any(path.is_dir() for path in empty)):
            raise PictureError(
                f"--background {empty[0]} ...: which of these {len(empty) + 1} pictures are to be judged? Write those before --background"
            )
        backgrounds, paths = [*earlier, empty], [last]
    if not paths:
        raise PictureError("expected a picture, or a folder of pictures, to judge")
    return paths, backgrounds


def _empty_views(group: Sequence[Path], ground: Ground) -> Iterator[Pixels]:
    """Read the empty views after one --background. Warn on stderr about a later one that shows an item: it may have been meant to be judged."""
    first = BackgroundModel()
    for path in group:
        for file in find_pictures(path):
            view = read_pixels(file)
            if path != group[0] and isolate(view, first, ground).found:
                print(
                    f"sortbin classify: {file}: used as an empty view, but it shows something that {group[0]} does not; "
                    "if it is to be judged, write it before --background",
                    file=sys.stderr,
                )
            if path == group[0]:
                first.add(view)
            yield view


def labels(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list of labels. Raises ArgumentTypeError where it is empty."""
    named = tuple(unicodedata.normalize("NFC", label) for label in (part.strip() for part in text.split(",")) if label)
    if not named:
        raise argparse.ArgumentTypeError("expected labels separated by commas")
    return named


def _judge(picture: Path, judge: Judge, label_prior: LabelPrior, rules: RulePack, empty: BackgroundModel) -> ClassifiedImage:
    pixels = read_pixels(picture)
    began_s = time.perf_counter()
    ground = judge.classifier.bundle.info.ground
    isolated = isolate(pixels, empty, ground) if empty.learned else None
    item = isolated or whole_frame(pixels, "no empty view")
    looks = ItemFusion(judge)
    for look in take_looks(pixels, item, ground, judge.crops(item)):
        looks.add_look(look, item, in_domain=item.found)
    posterior, unknown = looks.posterior, looks.unknown
    probabilities = label_prior.apply_prior(posterior)
    pieces, by_piece = find_pieces(item), PieceFusion(judge)
    of_pieces: list[Float64Array] = []
    for number in range(len(ITEM_CROPS)):
        of_pieces = by_piece.add_frame(piece_crops(pixels, pieces, ground, number))
    gap = 0.0 if pieces is None else pieces.gap
    evidence = Evidence(probabilities, posterior, judge.is_unknown(unknown), tuple(label_prior.apply_prior(piece) for piece in of_pieces), gap)
    choice = decide(evidence, judge.labels, rules, reject_below=judge.reject_below)
    took_s = time.perf_counter() - began_s
    return ClassifiedImage(
        image=_shown(picture),
        label=choice.label,
        p=round(choice.p, 6),
        bin=choice.bin,
        decision=choice.reason,
        probabilities={label: round(p, 6) for label, p in zip(judge.labels, probabilities.tolist(), strict=True)},
        ms=round(took_s * 1000, 3),
        isolated=None if isolated is None else IsolatedItem(isolated.found, isolated.why, isolated.box, round(isolated.area, 6)),
        unknown=None if unknown is None else round(unknown, 6),
        pieces=max(1, len(of_pieces)),
    )


def _write_json(line: ClassifiedImage | UnreadableImage) -> None:
    print(msgspec.json.encode(line).decode(), flush=True)


class _Table:
    """Prints one line with aligned columns for each picture. With a background, one column says whether the item was isolated."""

    def __init__(self, labels: tuple[str, ...], rules: RulePack, *, isolates: bool) -> None:
        self._label_width = max(width(label) for label in labels)
        self._bin_width = max(width(name) for name in (*rules.bins, HELD))
        self._isolated_width = len("  whole: nothing differs") if isolates else 0
        self._columns = self._label_width + self._bin_width + len("  100.0%  ->   confident  1000.0 ms") + self._isolated_width

    def write(self, line: ClassifiedImage | UnreadableImage) -> None:
        match line:
            case UnreadableImage():
                print(f"{'cannot be read':<{self._columns}}  {line.image}", flush=True)
            case ClassifiedImage():
                what, where = padded(line.label, self._label_width), padded(line.bin or HELD, self._bin_width)
                isolation = f"{_isolation(line.isolated):<{self._isolated_width}}"
                print(f"{what}  {line.p:6.1%}  -> {where}  {line.decision:<9}  {line.ms:6.1f} ms{isolation}  {line.image}", flush=True)


def _isolation(isolated: IsolatedItem | None) -> str:
    if isolated is None:
        return ""
    return "  isolated" if isolated.found else f"  whole: {isolated.why}"


def _shown(path: Path) -> str:
    return _printable(str(path))


def _printable(text: str) -> str:
    """Replace what is not Unicode in a file name, so that it can be printed."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
