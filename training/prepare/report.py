"""The report of a prepared data set: a self-contained page, its pictures, and the figures as JSON."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import msgspec
import numpy as np

from converter.common.progress import Progress
from converter.data.photos import PhotosError, read_pixels
from device.common.files import replacing_durably
from device.vision.inference.preprocess import Pixels
from training.prepare.contact_sheet import MaskedPicture, chosen, strip
from training.prepare.duplicates import PicturePair
from training.prepare.manifest import channel_statistics, counts, write_json
from training.prepare.masks import NONE, Masks
from training.prepare.plots import draw_aspects, draw_labels, draw_sizes
from training.prepare.survey import Survey
from training.report.page import environment

REPORT_FILE = "report.html"
PICTURES = "report"

SHOWN = 30
"""pairs of a kind on the page; the JSON has all"""

OUTLINES, LABELS, WITHOUT = 6, 40, 24
"""outlines shown of a label, labels shown, and pictures shown that have none"""

PAIR_HEIGHT, PAIR_GAP, WIDEST = 150, 6, 300

ASPECTS = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, float("inf"))
"""edges of the histogram: longer side over shorter side"""


PLOTS = (("labels", "Pictures per label"), ("sizes", "Sizes"), ("aspects", "Aspect ratios"))

_TEMPLATE = environment("training", "prepare").get_template("report.html.j2")


class NamedPair(msgspec.Struct, frozen=True):
    """Two pictures by their paths. likeness: 1 for the same pixels, else the correlation of small copies or the cosine of embeddings."""

    one: str
    other: str
    one_label: str
    other_label: str
    likeness: float


class Figures(msgspec.Struct, frozen=True):
    """`report/report.json`. sizes: width, height, pictures of that size. aspects: lower edge of longer over shorter side, pictures.

    masks: pictures in a split by where their mask comes from, and without_mask those that have none; both left out where none were made.
    """

    pictures: int
    decodable: int
    counts: dict[str, dict[str, int]]
    left_out: dict[str, int]
    flags: dict[str, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    sizes: list[tuple[int, int, int]]
    aspects: list[tuple[float, int]]
    conflicts: list[NamedPair]
    same: list[NamedPair]
    near: list[NamedPair]
    remarks: list[str]
    masks: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    without_mask: list[str] | msgspec.UnsetType = msgspec.UNSET


class CaptionedPicture(NamedTuple):
    """A PNG file and its caption."""

    file: Path
    caption: str


class PairPicture(NamedTuple):
    """A PNG file of two pictures, their names, and their likeness."""

    file: Path
    names: str
    likeness: float


class Section(NamedTuple):
    """Pairs of one kind. what: said of them on the page. pictures: of the first SHOWN that still exist."""

    title: str
    what: str
    pairs: list[NamedPair]
    pictures: list[PairPicture]


def write_report(out: Path, source: Path, survey: Survey, lines: Sequence[str], progress: Progress) -> None:
    """Write `report.html`, and pictures and `report.json` into the folder `report`. source: where the pictures are. lines: the remarks."""
    folder = out / PICTURES
    folder.mkdir(exist_ok=True)
    for left in folder.glob("*.png"):
        left.unlink()
    figures = _figures(survey, lines)
    progress.step("drawing")
    draw_sizes(folder / "sizes.png", figures.sizes, survey.options.min_side, survey.options.max_aspect)
    draw_labels(folder / "labels.png", figures.counts, figures.left_out)
    draw_aspects(folder / "aspects.png", figures.aspects, survey.options.max_aspect)
    write_json(folder / "report.json", figures)
    page = _TEMPLATE.generate(
        source=survey.options.source,
        figures=figures,
        labels=list(next(iter(figures.counts.values()))),
        plots=[(title, folder / f"{name}.png") for name, title in PLOTS],
        masks=None if survey.masks is None else _draw_outlines(out, source, survey, survey.masks),
        sections=_draw_sections(folder, source, figures),
        shown=SHOWN,
    )
    with replacing_durably(out / REPORT_FILE) as new, new.open("w", encoding="utf-8", newline="") as written:
        written.writelines(page)


def _draw_sections(folder: Path, source: Path, figures: Figures) -> list[Section]:
    across = [pair for pair in figures.near if pair.one_label != pair.other_label]
    within = [pair for pair in figures.near if pair.one_label == pair.other_label]
    kept = "Kept in one group, so no split separates them."
    return [
        Section(title, what, pairs, list(_draw_pairs(folder, name, source, pairs[:SHOWN])))
        for name, title, what, pairs in (
            ("conflict", "The same picture under different labels", "One of the two labels is wrong.", figures.conflicts),
            ("across", "Nearly the same under different labels", "Look whether one of the labels is wrong.", across),
            ("near", "Nearly the same", kept, within),
            ("same", "The same picture twice", kept, figures.same),
        )
    ]


def _figures(survey: Survey, lines: Sequence[str]) -> Figures:
    catalogue, duplicates, assignment, masks = survey.catalogue, survey.duplicates, survey.assignment, survey.masks
    decodable = catalogue.decodable
    width, height = catalogue.width[decodable], catalogue.height[decodable]
    sizes, pictures = np.unique(np.column_stack([width, height]), axis=0, return_counts=True)
    ratios = np.maximum(width, height) / np.minimum(width, height)
    mean, std = channel_statistics(catalogue, assignment)
    left_out = Counter(catalogue.names[label] for label in catalogue.labels[assignment.split < 0].tolist())

    def named(pairs: list[PicturePair]) -> list[NamedPair]:
        return [
            NamedPair(survey.path(pair.one), survey.path(pair.other), survey.label(pair.one), survey.label(pair.other), round(pair.likeness, 4))
            for pair in pairs
        ]

    return Figures(
        pictures=len(catalogue),
        decodable=int(decodable.sum()),
        counts=counts(catalogue, assignment),
        left_out=dict(sorted(left_out.items())),
        flags={flag: assignment.count(flag) for flag in assignment.flags},
        mean=mean,
        std=std,
        sizes=[(int(w), int(h), int(n)) for (w, h), n in zip(sizes, pictures, strict=True)],
        aspects=list(zip(ASPECTS[:-1], np.histogram(ratios, ASPECTS)[0].tolist(), strict=True)),
        conflicts=named(duplicates.conflicts),
        same=named(duplicates.same),
        near=named(duplicates.near),
        remarks=list(lines),
        masks=masks.counts() if masks else msgspec.UNSET,
        without_mask=sorted(map(survey.records.path, _without(masks))) if masks else msgspec.UNSET,
    )


def _without(masks: Masks) -> list[int]:
    return [picture for picture, masked in masks.of.items() if masked.origin == NONE]


def _draw_outlines(out: Path, source: Path, survey: Survey, masks: Masks) -> list[CaptionedPicture]:
    """Draw some masks of each label, and pictures without one, into the folder `report`."""
    folder, records, catalogue = out / PICTURES, survey.records, survey.catalogue
    drawn: list[CaptionedPicture] = []

    def show(name: str, caption: str, pictures: Sequence[int]) -> None:
        paths = [records.path(picture) for picture in pictures]
        files = [out / file if (file := masks.file(picture, path)) else None for picture, path in zip(pictures, paths, strict=True)]
        row = strip([MaskedPicture(source / path, file) for path, file in zip(paths, files, strict=True)])
        if row is not None:
            (folder / name).write_bytes(row)
            drawn.append(CaptionedPicture(folder / name, caption))

    label_of = dict(zip(catalogue.ids.tolist(), catalogue.labels.tolist(), strict=True))
    for number, label in enumerate(catalogue.names[:LABELS]):
        own = [picture for picture, masked in masks.of.items() if label_of[picture] == number and masked.origin != NONE]
        some = [own[place] for place in chosen([masks.of[picture].area for picture in own], OUTLINES)]
        show(f"masks-{number:02}.png", f"{label}: {len(some)} of {len(own)} with a mask", some)
    without = sorted(_without(masks), key=records.path)
    some = [without[place] for place in chosen(range(len(without)), WITHOUT)]
    for start in range(0, len(some), OUTLINES):
        row = some[start : start + OUTLINES]
        show(f"unmasked-{start // OUTLINES:02}.png", f"no mask, of {len(without)} such pictures: {', '.join(map(records.path, row))}", row)
    return drawn


def _draw_pairs(folder: Path, name: str, source: Path, pairs: Sequence[NamedPair]) -> Iterator[PairPicture]:
    for number, pair in enumerate(pairs, start=1):
        file = folder / f"{name}-{number:02}.png"
        if _draw_pair(file, source / pair.one, source / pair.other):
            yield PairPicture(file, f"{pair.one} ({pair.one_label}) and {pair.other} ({pair.other_label})", pair.likeness)


def _draw_pair(file: Path, one: Path, other: Path) -> bool:
    """Both side by side, as a PNG. False when one of them has vanished since it was inspected."""
    try:
        left, right = _shown(one), _shown(other)
    except PhotosError:
        return False
    gap = np.full((PAIR_HEIGHT, PAIR_GAP, 3), 255, np.uint8)
    both = cv2.cvtColor(np.hstack([left, gap, right]), cv2.COLOR_RGB2BGR)
    file.write_bytes(cv2.imencode(".png", both)[1].tobytes())
    return True


def _shown(file: Path) -> Pixels:
    pixels = read_pixels(file)
    height, width = pixels.shape[:2]
    scale = min(PAIR_HEIGHT / height, WIDEST / width)
    small = cv2.resize(pixels, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)
    below = PAIR_HEIGHT - small.shape[0]
    return np.asarray(cv2.copyMakeBorder(small, below // 2, below - below // 2, 0, 0, cv2.BORDER_CONSTANT, value=(255,) * 3), np.uint8)
