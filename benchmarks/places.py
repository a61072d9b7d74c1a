"""What a bundle names right at places: whole frames, isolated items, and after a few photos of each label were taught.

    python -m benchmarks.places PLACES [--bundle DIR] [--shots 5 10 20] [--draws 4] [--labels metal,plastic [--only]]
                                       [--as metal=can,plastic=pet] [--photos DIR] [--json]

PLACES is a folder that `training render bench` or `benchmarks.cut_outs` wrote, or any with its layout. Frames are isolated, looked at and taught as
`sortbin classify` and `sortbin teach` do it: judged by all looks, taught and, once taught, judged by those at the item. At each place photos of each
label are drawn to be taught, and all others are asked about; a label with no more photos than are taught is left out there.

--labels: only these are taught and asked about, and compete untaught; with --only in the taught head, too, without it pictures of the other labels
are asked about as well. --as: taught under other names, which the bundle does not know. --photos: a data folder whose validation photos every
taught head judges whole: what teaching costs.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import msgspec
import numpy as np

from benchmarks.outlines import frames
from converter.data.photos import read_part, read_pixels
from device.commands.classify import labels
from device.common.arrays import Float64Array
from device.common.errors import SortbinError
from device.vision.fewshot.examples import EmbeddedPhoto, to_examples
from device.vision.fewshot.fewshot_head import FewshotHead
from device.vision.fewshot.teach import teach
from device.vision.inference.bundle import Bundle, default_bundle, find_bundle, read_bundle
from device.vision.inference.classifier import Classifier, Outputs, softmax
from device.vision.inference.embedding_stats import read_embedding_stats
from device.vision.inference.fusion import fuse
from device.vision.inference.novelty import read_novelty_model
from device.vision.isolation.isolate import isolate, whole_frame
from device.vision.isolation.tta import FRAME_CROPS, ITEM_CROPS, TEACHING_CROPS, look_weights, take_looks, view_share


@dataclass(frozen=True, slots=True)
class JudgedPicture:
    """What the network made of one picture: of the looks at the whole frame, and of those at its item, where one was found.

    share: how much the whole frame counts beside the item, see `tta.view_share`.
    """

    place: str
    label: str
    whole: tuple[Outputs, ...]
    looks: tuple[Outputs, ...]
    found: bool
    share: float

    def as_taught(self, named: Mapping[str, str]) -> EmbeddedPhoto:
        """A photo that is taught. named: label -> the name it is taught under."""
        return EmbeddedPhoto(named.get(self.label, self.label), self.looks[:TEACHING_CROPS], self.found)


class FewshotDraw(NamedTuple):
    """One place, one draw. right: of n pictures that were not taught. stayed, kept: share named right of the pictures of other labels there, and of
    the validation photos, None without any.
    """

    place: str
    shots: int
    right: int
    n: int
    stayed: float | None
    kept: float | None


class PlaceAccuracy(msgspec.Struct, frozen=True):
    """A line of the table, shares 0..1.

    whole, view: of the whole frame by one look and by all of them; isolated, looks: the same of the item. both: of the frame and the item, as
    `sortbin classify` does it. taught: by photos a label, the mean over draws (and places), and the standard deviation over both.
    """

    place: str
    n: int
    whole: float
    view: float
    isolated: float
    looks: float
    both: float
    taught: dict[int, tuple[float, float]]


class RetainedAccuracy(msgspec.Struct, frozen=True):
    """Share of what was not taught that is named right: before, and by photos a label the mean and the least over places and draws."""

    what: str
    n: int
    before: float
    taught: dict[int, tuple[float, float]]


def look_at(places: Path, classifier: Classifier) -> Iterator[JudgedPicture]:
    """Every picture of every place. Raises PictureError."""
    ground = classifier.bundle.info.ground
    for row, frame, empty in frames(places):
        item = isolate(frame, empty, ground)
        whole = tuple(classifier.outputs(look.picture) for look in take_looks(frame, whole_frame(frame, ""), ground, FRAME_CROPS))
        shown = tuple(classifier.outputs(look.picture) for look in take_looks(frame, item, ground, ITEM_CROPS)) if item.found else whole
        yield JudgedPicture(row.place, row.label, whole, shown, item.found, view_share(item))


def untaught(seen: Sequence[JudgedPicture], bundle: Bundle, competing: tuple[str, ...]) -> Float64Array:
    """Whether each picture is named right whole, by one look and by all, isolated, by one and by all, and by both: 5 x pictures."""
    of_frame, of_item = ([(kind, crop.weight) for crop in crops] for kind, crops in ((False, FRAME_CROPS), (True, ITEM_CROPS)))
    frame_weights = [weight for _, weight in of_frame]
    allowed = np.array([label in competing for label in bundle.info.labels])

    def names(outputs: Sequence[Outputs], label: str, weights: Sequence[float] | None = None) -> bool:
        fused = fuse([probabilities(made, bundle) for made in outputs], weights=weights)
        return bundle.info.labels[int(np.where(allowed, fused, 0).argmax())] == label

    def of(each: JudgedPicture) -> tuple[bool, ...]:
        judged_by_item = each.looks, None if each.found else frame_weights
        both = (*each.looks, *each.whole), look_weights([*of_item, *of_frame], each.share)
        kinds = (
            (each.whole[:1], None),
            (each.whole, frame_weights),
            (each.looks[:1], None),
            judged_by_item,
            both if each.found and each.share else judged_by_item,
        )
        return tuple(names(outputs, each.label, weights) for outputs, weights in kinds)

    return np.array([of(each) for each in seen], float).T


class OutsideLessons(NamedTuple):
    """What is asked about beside what is taught. others: pictures of other labels at the same places; photos: the validation photos."""

    others: Sequence[JudgedPicture]
    photos: Sequence[tuple[str, Outputs]]


@dataclass(frozen=True, slots=True)
class FewshotProtocol:
    """How each place is taught. draws: how often photos are drawn. named: label -> the name it is taught under. only: leave out all other labels."""

    draws: int
    named: Mapping[str, str]
    outside: OutsideLessons
    only: bool


def lessons(seen: Sequence[JudgedPicture], bundle: Bundle, shots: int, protocol: FewshotProtocol) -> Iterator[FewshotDraw]:
    """Teach at each place with `shots` photos a label, and ask about the others."""
    named, beside, only = protocol.named, protocol.outside, protocol.only
    reference, familiar = read_embedding_stats(bundle), read_novelty_model(bundle)
    for place in sorted({each.place for each in seen}):
        here = [each for each in seen if each.place == place]
        for draw in range(protocol.draws):
            shown = drawn(here, shots, draw)
            taught_labels = {here[number].label for number in shown}
            if len(taught_labels) < (2 if only else 1):
                continue
            photos = [here[number].as_taught(named) for number in shown]
            teaching = teach(to_examples(photos, bundle), bundle, reference, familiar, only=only)
            asked = [each for number, each in enumerate(here) if number not in shown and each.label in taught_labels]
            right = [_named(each.looks, teaching, bundle, here=each.found) == named.get(each.label, each.label) for each in asked]
            others = [each for each in beside.others if each.place == place]
            stayed = [_named(each.looks, teaching, bundle, here=each.found) == each.label for each in others]
            kept = [_named((outputs,), teaching, bundle, here=False) == label for label, outputs in beside.photos]
            yield FewshotDraw(place, shots, sum(right), len(right), *(float(np.mean(of)) if of else None for of in (stayed, kept)))


def drawn(here: Sequence[JudgedPicture], shots: int, draw: int) -> frozenset[int]:
    """Which of one place's pictures are taught: so many of each label, of which some are left."""
    rng = np.random.default_rng([shots, draw])
    shown: list[int] = []
    for label in sorted({each.label for each in here}):
        own = rng.permutation([number for number, each in enumerate(here) if each.label == label])
        if len(own) > shots:
            shown += own[:shots].tolist()
    return frozenset(shown)


def _named(outputs: Sequence[Outputs], teaching: FewshotHead, bundle: Bundle, *, here: bool) -> str:
    fused = fuse([teaching.predict(probabilities(made, bundle), made.embedding, in_domain=here)[0] for made in outputs])
    return teaching.labels[int(fused.argmax())]


def probabilities(outputs: Outputs, bundle: Bundle) -> Float64Array:
    """Calibrated, one a label of the bundle."""
    return softmax(outputs.logits, bundle.info.temperature)


def summed(place: str, right: Float64Array, told: Sequence[FewshotDraw]) -> PlaceAccuracy:
    """One place, or all. right: 5 x pictures, as `untaught` gives it."""
    taught = {}
    for shots in dict.fromkeys(lesson.shots for lesson in told):
        shares = [lesson.right / lesson.n for lesson in told if lesson.shots == shots and lesson.n]
        taught[shots] = (float(np.mean(shares)), float(np.std(shares)))
    return PlaceAccuracy(place, right.shape[1], *right.mean(axis=1).tolist(), taught)


def kept(beside: OutsideLessons, bundle: Bundle, told: Sequence[FewshotDraw]) -> list[RetainedAccuracy]:
    """What teaching costs of what was not taught."""
    others = untaught(beside.others, bundle, bundle.info.labels)[-1] if beside.others else ()
    photos = [bundle.info.labels[int(outputs.logits.argmax())] == label for label, outputs in beside.photos]
    kinds = ("other labels here", others, "stayed"), ("validation photos", photos, "kept")
    counts = sorted({each.shots for each in told})
    return [
        RetainedAccuracy(what, len(before), float(np.mean(before)), {shots: _mean_and_least(told, shots, after) for shots in counts})
        for what, before, after in kinds
        if len(before)
    ]


def _mean_and_least(told: Sequence[FewshotDraw], shots: int, share: str) -> tuple[float, float]:
    shares = [getattr(lesson, share) for lesson in told if lesson.shots == shots]
    return float(np.mean(shares)), min(shares)


def _table(results: Sequence[PlaceAccuracy], shots: Sequence[int]) -> str:
    lines = [
        "| place | n | whole frame, one look | three looks | isolated, one look | six looks | both | "
        + " | ".join(f"taught {count}" for count in shots)
        + " |"
    ]
    lines.append("|---" * (7 + len(shots)) + "|")
    for row in results:
        taught = (f"{row.taught[count][0]:.3f} ± {row.taught[count][1]:.2f}" if count in row.taught else "" for count in shots)
        shares = " | ".join(f"{share:.3f}" for share in (row.whole, row.view, row.isolated, row.looks, row.both))
        lines.append(f"| {row.place} | {row.n} | {shares} | {' | '.join(taught)} |")
    return "\n".join(lines)


def renamed(text: str) -> dict[str, str]:
    """Old name -> new name, as an argument says it. Raises ArgumentTypeError."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(old and new for old, _, new in pairs):
        raise argparse.ArgumentTypeError(f"expected LABEL=NAME with commas between them, got {text}")
    return {old: new for old, _, new in pairs}


def main() -> int:
    """Print the figures. Exit status 2 when there is nothing to measure."""
    parser = argparse.ArgumentParser(prog="benchmarks.places", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", type=Path, metavar="PLACES", help="folder of places with labelled pictures and empty views")
    parser.add_argument("--bundle", type=find_bundle, default=default_bundle(), metavar="DIR", help="bundle that judges (default: Sortbin's own)")
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 10, 20], metavar="N", help="photos of each label to teach (default: 5 10 20)")
    parser.add_argument("--draws", type=int, default=4, metavar="N", help="how often they are drawn at each place (default: %(default)s)")
    parser.add_argument("--labels", type=labels, default=(), metavar="A,B,...", help="labels that are taught and asked about (default: all)")
    parser.add_argument("--only", action="store_true", help="leave out what is not taught, as `sortbin teach --only`")
    parser.add_argument("--as", dest="named", type=renamed, default={}, metavar="OLD=NEW,...", help="names that labels are taught under")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="data folder whose validation photos tell what teaching costs")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        bundle = read_bundle(arguments.bundle)
        classifier = Classifier(bundle)
        competing = arguments.labels or bundle.info.labels
        everything = list(look_at(arguments.places, classifier))
        photos = read_part(arguments.photos, "val") if arguments.photos else ()
        known = [(photo.label, classifier.outputs(read_pixels(photo.path))) for photo in photos]
    except SortbinError as error:
        print(f"benchmarks.places: {error}", file=sys.stderr)
        return 2
    seen = [each for each in everything if each.label in competing]
    beside = OutsideLessons([] if arguments.only else [each for each in everything if each.label not in competing], known)
    if not seen:
        print(f"benchmarks.places: {arguments.places}: no picture of {', '.join(competing)}", file=sys.stderr)
        return 2
    protocol = FewshotProtocol(arguments.draws, arguments.named, beside, arguments.only)
    told = [lesson for shots in arguments.shots for lesson in lessons(seen, bundle, shots, protocol)]
    right = untaught(seen, bundle, competing)
    results = []
    for place in sorted({each.place for each in seen}):
        here = [each.place == place for each in seen]
        results.append(summed(place, right[:, here], [lesson for lesson in told if lesson.place == place]))
    results.append(summed("all", right, told))
    cost = kept(beside, bundle, told)
    if arguments.json:
        for row in (*results, *cost):
            print(msgspec.json.encode(row).decode())
        return 0
    print(_table(results, arguments.shots))
    for each in cost:
        after = ", ".join(f"{mean:.3f} (least {least:.3f}) after {shots}" for shots, (mean, least) in each.taught.items())
        print(f"\n{each.what}, n = {each.n}: {each.before:.3f} before, {after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
