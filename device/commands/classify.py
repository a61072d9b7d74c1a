"""`sortbin classify`: what the bin would make of pictures."""

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
from device.vision.fewshot.head_file import read_fewshot_head
from device.vision.inference.bundle import default_bundle, find_bundle, read_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.fusion import fuse
from device.vision.inference.ground import Ground
from device.vision.inference.images import PictureError, find_pictures, read_pixels, unread_kinds_notes
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.isolate import isolate, whole_frame
from device.vision.isolation.pieces import find_pieces, piece_crops
from device.vision.isolation.tta import tta_crops
from device.vision.judge import Judge, PieceFusion, mean_unknown_score

HELD = "held"
"""what people read in place of a bin, where a hazard goes nowhere"""


class IsolatedItem(msgspec.Struct, frozen=True):
    """Whether the item was told apart from the empty view, or why not; box: left, top, right, bottom in pixels; area: the mask's share, 0..1."""

    found: bool
    why: str
    box: tuple[int, int, int, int]
    area: float


class ClassifiedImage(msgspec.Struct, frozen=True):
    """One line of `--json`. ms: isolation, resize, network and decision, without reading and decoding the file.

    bin: empty where a hazard is held. isolated: null where no background was given, for then the whole picture is judged. An isolated item is judged
    by all its looks, as by the frames of a burst. unknown: 0 familiar to 1 unlike everything known; null where the bundle does not say what it knows.
    pieces: in how many pieces it lay, apart or joined by a neck.
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
        help="say what is on pictures and which bin it belongs in",
        description="Say what is on each picture, how sure that is, and which bin it goes to. Folders are searched through and through. "
        "Exit status: 0 all pictures judged, 1 some could not be read, 2 nothing to judge or a bundle or rule pack that cannot be used.",
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="IMAGE|DIR", help="a picture, or a folder of pictures")
    parser.add_argument("--bundle", type=find_bundle, metavar="BUNDLE", help="folder of the bundle that judges (default: the one that comes along)")
    parser.add_argument(
        "--rules",
        metavar="PACK",
        help="rule pack: its file, or the name of one Sortbin comes with (default: trashnet, with a bin of its own for each label "
        "that it has none for)",
    )
    parser.add_argument(
        "--background",
        action="append",
        nargs="+",
        default=[],
        type=Path,
        metavar="EMPTY",
        help="pictures, or a folder of them, of what the camera sees without an item: the item is then isolated before it is judged; pictures to "
        "judge go before it",
    )
    parser.add_argument("--teaching", type=Path, metavar="FILE", help="what `sortbin teach --out` wrote: judge with the labels of that place")
    parser.add_argument("--labels", type=labels, default=(), metavar="A,B,...", help="labels that occur at this place: only these compete")
    parser.add_argument(
        "--others",
        type=float_range(ge=0, lt=1),
        default=0.0,
        metavar="SHARE",
        help="with --labels, the share of items that are something else (default: 0, 0.02 is wise)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object a line: image, label, p, bin, decision, probabilities, ms, isolated (null without --background), unknown, pieces",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judge the pictures and print a line for each. Returns the exit status."""
    paths, groups = _told_apart(arguments.paths, arguments.background)
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


def _told_apart(paths: list[Path], backgrounds: list[list[Path]]) -> tuple[list[Path], list[list[Path]]]:
    """What to judge and what is empty: after `--background EMPTY IMAGE`, with nothing else to judge, the image is no background, nor is a folder
    after pictures. Of more than two pictures it cannot be told which are.
    """
    if not paths and backgrounds and len(backgrounds[-1]) > 1:
        *earlier, (*empty, last) = backgrounds
        if len(empty) > 1 and (not last.is_dir() or any(path.is_dir() for path in empty)):
            raise PictureError(f"--background {empty[0]} ...: which of these {len(empty) + 1} are to be judged? Write those before --background")
        backgrounds, paths = [*earlier, empty], [last]
    if not paths:
        raise PictureError("expected a picture, or a folder of pictures, to judge")
    return paths, backgrounds


def _empty_views(group: Sequence[Path], ground: Ground) -> Iterator[Pixels]:
    """The empty views after one --background. A later one in which something lies may have been written to be judged: that is said on stderr."""
    first = BackgroundModel()
    for path in group:
        for file in find_pictures(path):
            view = read_pixels(file)
            if path != group[0] and isolate(view, first, ground).found:
                print(
                    f"sortbin classify: {file}: taken for an empty view, but it shows something that {group[0]} does not; "
                    "is it to be judged? Then write it before --background",
                    file=sys.stderr,
                )
            if path == group[0]:
                first.add(view)
            yield view


def labels(text: str) -> tuple[str, ...]:
    """Parse labels with commas between them."""
    named = tuple(unicodedata.normalize("NFC", label) for label in (part.strip() for part in text.split(",")) if label)
    if not named:
        raise argparse.ArgumentTypeError("expected labels with commas between them")
    return named


def _judge(picture: Path, judge: Judge, label_prior: LabelPrior, rules: RulePack, empty: BackgroundModel) -> ClassifiedImage:
    pixels = read_pixels(picture)
    began_s = time.perf_counter()
    ground = judge.classifier.bundle.info.ground
    isolated = isolate(pixels, empty, ground) if empty.learned else None
    item = isolated or whole_frame(pixels, "no empty view")
    opinions = [judge.predict(picture, in_domain=item.found) for picture in tta_crops(pixels, item, ground)]
    weights = [judge.crop_weight(item, number) for number in range(len(opinions))]
    unknown = mean_unknown_score(opinions)
    seen = fuse([opinion.probabilities for opinion in opinions], weights=weights)
    probabilities = label_prior.apply_prior(seen)
    apart, by_piece = find_pieces(item), PieceFusion(judge)
    found: list[Float64Array] = []
    for number in range(len(opinions)):
        found = by_piece.add_frame(piece_crops(pixels, apart, ground, number))
    gap = 0.0 if apart is None else apart.gap
    evidence = Evidence(probabilities, seen, judge.is_unknown(unknown), tuple(label_prior.apply_prior(piece) for piece in found), gap)
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
        pieces=max(1, len(found)),
    )


def _write_json(line: ClassifiedImage | UnreadableImage) -> None:
    print(msgspec.json.encode(line).decode(), flush=True)


class _Table:
    """Lines with aligned columns for people, the picture's name last; before it, with an empty view, whether an item was told apart from that."""

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
                apart = f"{_apart(line.isolated):<{self._isolated_width}}"
                print(f"{what}  {line.p:6.1%}  -> {where}  {line.decision:<9}  {line.ms:6.1f} ms{apart}  {line.image}", flush=True)


def _apart(isolated: IsolatedItem | None) -> str:
    if isolated is None:
        return ""
    return "  told apart" if isolated.found else f"  whole: {isolated.why}"


def _shown(path: Path) -> str:
    return _printable(str(path))


def _printable(text: str) -> str:
    """Names of files need not be Unicode; what is printed must be."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
