"""Two things at once: how often they are told apart, and how often one thing is taken for several.

    python -m benchmarks.several [--data DIR] [--places DIR] [--each N] [--seed S] [--bundle DIR] [--json]

What is laid: the virtual bin's cut-outs, or with --data (photos on light card with their official lists) its validation photos, cut out. Where: trays
of the virtual bin, or with --places what `training render bench` wrote: the first empty view is laid into, the others are what the bin knows. Every
picture is isolated, looked at and decided on as `sortbin classify` does it, under Sortbin's own rule pack.

One thing as it is; under a strap of the place, in a stripe of shadow, under a hand. Two things apart, near, touching and overlapping. Places and
photos are halved: --seed 1 shows photos of even numbers in every other place, --seed 2 the other half.
"""

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks.cut_outs import NOISE, SHADOW, SHADOW_PX, cut_out
from converter.common.proportion import proportion
from device.common.arrays import Float32Array
from device.common.errors import SortbinError
from device.policy.decision import Choice, Evidence, decide
from device.policy.rules import RulePack, default_rules, read_rules
from device.simulation.items import shipped_items
from device.simulation.tray_renderer import TrayRenderer
from device.vision.inference.bundle import default_bundle, find_bundle, read_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.images import PictureError, find_pictures, read_pixels
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.isolate import isolate
from device.vision.isolation.pieces import find_pieces, piece_crops
from device.vision.isolation.tta import take_look
from device.vision.judge import ItemFusion, Judge, PieceFusion

KINDS = ("one", "strap", "shadow", "hand", "apart", "near", "touching", "overlapping")
PAIRS = KINDS[4:]
LOOKS = 3
"""frames that each picture is judged by: more than most items need, fewer than the most"""
SIDES = 0.28, 0.58
"""least and largest longer side of an item, as shares of the view's shorter side"""
GAPS = {"apart": (0.03, 1.0), "near": (0.004, 0.03), "touching": (0.0, 0.006), "overlapping": (0.0, 0.0)}
"""distance between two items, as shares of the view's width"""
OVERLAPS = {"apart": (0.0, 0.0), "near": (0.0, 0.0), "touching": (0.0, 0.1), "overlapping": (0.1, 0.35)}
"""what two items share, of the smaller one"""
ALIKE = 0.35
"""share of pairs that are of one label"""
SKINS = (226, 180, 150), (190, 140, 110), (120, 82, 62)
TRIES = 80
TRAYS = 12
LEAST_HEIGHT = 480


class CutOut(NamedTuple):
    """A cut-out photo: its label, H x W x 3 uint8 RGB and H x W uint8, 255 on the item."""

    label: str
    photo: Pixels
    mask: Pixels


@dataclass(frozen=True, slots=True)
class LitViews:
    """A place's views, the first to lay items into, and the items' light there: all of it, and by channel."""

    views: tuple[Pixels, ...]
    gain: float
    tint: Float32Array


@dataclass(frozen=True, slots=True)
class StagedPicture:
    """A picture to judge, what lies in it, and the empty views of the bin that sees it."""

    kind: str
    labels: tuple[str, ...]
    frame: Pixels
    empty: BackgroundModel


class KindResult(msgspec.Struct, frozen=True):
    """Pictures of one kind. mixed: whether things for different bins lie in them. right: those that went where all that lies in them belongs;
    confident: let into one bin as sure. Both by the whole alone, and with a look at the pieces. several: taken for things of several bins.
    """

    kind: str
    mixed: bool
    n: int
    right: tuple[int, int]
    confident: tuple[int, int]
    several: int


def trays() -> Iterator[tuple[Pixels, ...]]:
    """Empty views of virtual trays, each with a ground and a lamp of its own."""
    for number in range(TRAYS):
        tray = TrayRenderer(np.random.default_rng(number))
        yield tuple(tray.picture(None, 0.0, 1 + 0.02 * view) for view in range(5))


def views_of(places: Path) -> Iterator[tuple[Pixels, ...]]:
    """Empty views of each place, enlarged to LEAST_HEIGHT. Raises PictureError."""
    found = [folder for folder in sorted(places.iterdir()) if (folder / "empty").is_dir()] if places.is_dir() else []
    if not found:
        raise PictureError(f"{places}: expected folders of places with a folder `empty` each")
    for folder in found:
        views = [read_pixels(view) for view in find_pictures(folder / "empty")]
        if len(views) < 3:
            raise PictureError(f"{folder / 'empty'}: expected three views or more")
        scale = max(1.0, LEAST_HEIGHT / views[0].shape[0])
        yield tuple(np.asarray(cv2.resize(view, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8) for view in views)


def shown(things: Sequence[CutOut], places: Iterable[tuple[Pixels, ...]], rules: RulePack, each: int, seed: int) -> Iterator[StagedPicture]:
    """`each` pictures of each kind in every other place. Raises PictureError."""
    for number, views in list(enumerate(places))[seed % 2 :: 2]:
        for kind in KINDS:
            for count in range(each):
                rng = np.random.default_rng([seed, number, KINDS.index(kind), count])
                picture = _picture(kind, _drawn(things[seed % 2 :: 2], kind, rules, rng), views, rng)
                if picture is not None:
                    yield picture


def judged(picture: StagedPicture, judge: Judge, rules: RulePack) -> tuple[Choice, Choice]:
    """The choice by the whole alone, and the one that looks at its pieces, too."""
    ground = judge.classifier.bundle.info.ground
    item = isolate(picture.frame, picture.empty, ground)
    looks = ItemFusion(judge)
    for number in range(LOOKS):
        looks.add_look(take_look(picture.frame, item, ground, number, judge.crops(item)), item, in_domain=item.found)
    whole = Evidence(looks.posterior, unknown=judge.is_unknown(looks.unknown))
    apart, by_piece = find_pieces(item), PieceFusion(judge)
    told = [by_piece.add_frame(piece_crops(picture.frame, apart, ground, number)) for number in range(LOOKS)]
    both = whole, Evidence(whole.probabilities, unknown=whole.unknown, pieces=tuple(told[-1]), gap=apart.gap if apart else 0.0)
    before, after = (decide(evidence, judge.labels, rules, reject_below=judge.reject_below) for evidence in both)
    return before, after


def summed(results: Sequence[tuple[StagedPicture, Choice, Choice]], rules: RulePack) -> list[KindResult]:
    """A row for each kind of picture; pairs for one bin and for two apart."""
    rows = []
    for kind in KINDS:
        for mixed in (False, True):
            here = [result for result in results if result[0].kind == kind and (len(_bins(result[0], rules)) > 1) == mixed]
            if not here:
                continue
            right = [sum(_bins(choices[0], rules) == {choices[when].bin} for choices in here) for when in (1, 2)]
            sure = [sum(choices[when].reason == "confident" for choices in here) for when in (1, 2)]
            several = sum(after.reason == "several" for _, _, after in here)
            rows.append(KindResult(kind, mixed, len(here), (right[0], right[1]), (sure[0], sure[1]), several))
    return rows


def _bins(picture: StagedPicture, rules: RulePack) -> set[str]:
    return {rules.bin_of(label) for label in picture.labels}


def _drawn(things: Sequence[CutOut], kind: str, rules: RulePack, rng: np.random.Generator) -> list[CutOut]:
    first = things[int(rng.integers(len(things)))]
    if kind not in PAIRS:
        return [first]
    alike = rng.random() < ALIKE
    others = [thing for thing in things if (thing.label == first.label) == alike and thing is not first]
    return [first, others[int(rng.integers(len(others)))]]


def _picture(kind: str, things: Sequence[CutOut], views: tuple[Pixels, ...], rng: np.random.Generator) -> StagedPicture | None:
    """None where two things found no room."""
    ground = views[0].astype(np.float32)
    middle = np.median(ground.reshape(-1, 3), axis=0)
    gain = float(np.clip(np.percentile(ground.mean(axis=2), 70) / 170, 0.35, 1.05) * rng.uniform(0.85, 1.15))
    scene = LitViews(views, gain, np.clip(np.sqrt(middle / max(middle.mean(), 1)), 0.85, 1.15).astype(np.float32))
    laid = [_sized(thing, rng.uniform(*SIDES) * min(ground.shape[:2]), rng) for thing in things]
    masks = _spread(kind, [mask for _, mask in laid], ground.shape[:2], rng)
    if masks is None:
        return None
    frame = ground
    for (photo, mask), (top, left) in zip(laid, masks, strict=True):
        frame = _lay(frame, photo, mask, (top, left), scene)
    empty = list(views[1:])
    if kind in ("strap", "shadow", "hand"):
        (_, mask), (top, left) = laid[0], masks[0]
        frame, empty = _crossed(kind, frame, empty, _whole(mask, (top, left), ground.shape[:2]), scene, rng)
    noisy = frame * rng.uniform(0.93, 1.07) + rng.normal(0, NOISE, frame.shape)
    return StagedPicture(kind, tuple(thing.label for thing in things), np.clip(noisy, 0, 255).astype(np.uint8), BackgroundModel(empty))


def _sized(thing: CutOut, side: float, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Turned anyhow, cut out and brought to a size."""
    height, width = thing.mask.shape
    room = math.ceil(math.hypot(height, width))
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.uniform(0, 360)), side / max(height, width))
    turn[:, 2] += room / 2 - np.array([width / 2, height / 2])
    mask = np.asarray(cv2.warpAffine(thing.mask, turn, (room, room), flags=cv2.INTER_AREA), np.uint8)
    photo = np.asarray(cv2.warpAffine(thing.photo, turn, (room, room), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    left, top, across, down = cv2.boundingRect(np.where(mask > 127, 255, 0).astype(np.uint8))
    return photo[top : top + down, left : left + across], mask[top : top + down, left : left + across]


def _spread(kind: str, masks: Sequence[Pixels], room: tuple[int, ...], rng: np.random.Generator) -> list[tuple[int, int]] | None:
    """Where the items' upper left corners go, such that two lie to each other as their kind wants it."""
    for _ in range(TRIES):
        corners = [(int(rng.integers(2, room[0] - mask.shape[0] - 2)), int(rng.integers(2, room[1] - mask.shape[1] - 2))) for mask in masks]
        if len(masks) == 1:
            return corners
        one, other = (_whole(mask, corner, room) > 127 for mask, corner in zip(masks, corners, strict=True))
        shared = float((one & other).sum() / max(1, min(one.sum(), other.sum())))
        gap = float(cv2.distanceTransform(np.where(one, 0, 255).astype(np.uint8), cv2.DIST_L2, 3)[other].min()) / room[1]
        (nearest, farthest), (least, most) = GAPS[kind], OVERLAPS[kind]
        if nearest <= gap <= farthest and least <= shared <= most:
            return corners
    return None


def _whole(mask: Pixels, corner: tuple[int, int], room: tuple[int, ...]) -> Pixels:
    whole = np.zeros(room[:2], np.uint8)
    whole[corner[0] : corner[0] + mask.shape[0], corner[1] : corner[1] + mask.shape[1]] = mask
    return whole


def _lay(frame: Float32Array, photo: Pixels, mask: Pixels, corner: tuple[int, int], scene: LitViews) -> Float32Array:
    covers = cv2.GaussianBlur(_whole(mask, corner, frame.shape), (3, 3), 0).astype(np.float32)[..., np.newaxis] / 255
    shadow = cv2.GaussianBlur(np.roll(covers[..., 0], SHADOW_PX, axis=0), (0, 0), 8)
    lit = np.zeros_like(frame)
    lit[corner[0] : corner[0] + mask.shape[0], corner[1] : corner[1] + mask.shape[1]] = photo * np.float32(scene.gain) * scene.tint
    return np.asarray(frame * (1 - SHADOW * shadow)[..., np.newaxis] * (1 - covers) + lit * covers, np.float32)


def _crossed(
    kind: str, frame: Float32Array, empty: list[Pixels], item: Pixels, scene: LitViews, rng: np.random.Generator
) -> tuple[Float32Array, list[Pixels]]:
    """A strap, a stripe of shadow or a hand across the item; a strap belongs to the place, so its empty views have it, too."""
    points = np.argwhere(item > 127)
    axes = np.linalg.eigh(np.cov((points - points.mean(axis=0)).T))[1]
    along = axes[:, 0] if kind == "hand" else axes[:, 1]
    angle = math.atan2(along[0], along[1]) + rng.normal(0, 0.25 if kind == "strap" else 0.4) + (math.pi if rng.random() < 0.5 else 0)
    width = rng.uniform(*{"strap": (0.04, 0.1), "shadow": (0.05, 0.16), "hand": (0.08, 0.14)}[kind]) * frame.shape[1]
    row, column = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(np.float32) - points.mean(axis=0).astype(np.float32)[:, np.newaxis, np.newaxis]
    forward, aside = column * math.cos(angle) + row * math.sin(angle), row * math.cos(angle) - column * math.sin(angle)
    if kind == "hand":
        arm = np.clip((width / 2 - np.abs(aside)) / 1.2 + 0.5, 0, 1) * np.clip((forward + 0.9 * width) / 2 + 0.5, 0, 1)
        skin = np.array(SKINS[int(rng.integers(len(SKINS)))], np.float32) * scene.gain
        grain = 1 + 0.18 * cv2.GaussianBlur(rng.normal(0, 1, frame.shape[:2]).astype(np.float32), (0, 0), 3)
        return _mixed(frame, skin * grain[..., np.newaxis], arm), empty
    soft = 0.8 if kind == "strap" else rng.uniform(1, 10)
    stripe = np.clip((width / 2 - np.abs(forward)) / soft + 0.5, 0, 1)
    if kind == "shadow":
        return _mixed(frame, np.zeros_like(frame), stripe * rng.uniform(0.4, 0.75)), empty
    colour = np.float32(rng.uniform(20, 220) * scene.gain) * scene.tint
    return _mixed(frame, colour, stripe), [_mixed(view.astype(np.float32), colour, stripe).astype(np.uint8) for view in empty]


def _mixed(frame: Float32Array, over: Float32Array, share: npt.NDArray[np.floating]) -> Float32Array:
    return np.asarray(frame + (over - frame) * share[..., np.newaxis], np.float32)


def _table(rows: Sequence[KindResult]) -> str:
    lines = [
        "| picture | n | right bin: whole alone | with pieces | sure of one bin: whole alone | with pieces | several |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = row.kind if row.kind not in PAIRS else f"two, {row.kind}, {'two bins' if row.mixed else 'one bin'}"
        right = ["", ""] if row.mixed else [proportion(count, row.n).with_interval() for count in row.right]
        others = [proportion(count, row.n).with_interval() for count in (*row.confident, row.several)]
        lines.append(f"| {name} | {row.n} | " + " | ".join([*right, *others]) + " |")
    return "\n".join(lines)


def main() -> int:
    """Print the figures. Exit status 2 when there is nothing to measure."""
    parser = argparse.ArgumentParser(prog="benchmarks.several", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="photos on light card, with lists")
    parser.add_argument("--places", type=Path, metavar="DIR", help="folder of places with empty views")
    parser.add_argument("--each", type=int, default=8, metavar="N", help="pictures of each kind in each place (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="odd and even: the two halves of places and photos (default: %(default)s)")
    parser.add_argument("--bundle", type=find_bundle, default=default_bundle(), metavar="DIR", help="bundle that judges (default: Sortbin's own)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        judge = Judge(Classifier(read_bundle(arguments.bundle)))
        rules = read_rules(default_rules(), judge.labels)
        things = _own() if arguments.data is None else [CutOut(label, *_cut(pixels, mask)) for _, label, pixels, mask in cut_out(arguments.data)]
        places = trays() if arguments.places is None else views_of(arguments.places)
        pictures = shown(things, places, rules, arguments.each, arguments.seed)
        rows = summed([(picture, *judged(picture, judge, rules)) for picture in pictures], rules)
    except SortbinError as error:
        print(f"benchmarks.several: {error}", file=sys.stderr)
        return 2
    print("\n".join(msgspec.json.encode(row).decode() for row in rows) if arguments.json else _table(rows))
    return 0


def _own() -> list[CutOut]:
    found = []
    for thing in shipped_items():
        photo, alpha = thing.picture()
        found.append(CutOut(thing.label or "", photo, np.rint(alpha * 255).astype(np.uint8)))
    return found


def _cut(pixels: Pixels, mask: Pixels) -> tuple[Pixels, Pixels]:
    left, top, width, height = cv2.boundingRect(mask)
    return pixels[top : top + height, left : left + width].copy(), mask[top : top + height, left : left + width].copy()


if __name__ == "__main__":
    sys.exit(main())
