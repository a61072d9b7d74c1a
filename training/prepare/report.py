"""The report of a prepared data set: a self-contained page, its pictures, and the figures as JSON."""

import base64
import html
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import msgspec
import numpy as np

from converter.common.progress import Progress
from converter.data.manifest import SPLITS
from converter.data.photos import PhotosError, read_pixels
from device.common.files import replacing_durably
from device.vision.inference.preprocess import Pixels
from training.prepare.contact_sheet import MaskedPicture, chosen, strip
from training.prepare.duplicates import PicturePair
from training.prepare.manifest import channel_statistics, counts, write_json
from training.prepare.masks import NONE, Masks
from training.prepare.options import PrepareOptions
from training.prepare.plots import draw_aspects, draw_labels, draw_sizes
from training.prepare.survey import Survey

REPORT_FILE = "report.html"
PICTURES = "report"

SHOWN = 30
"""pairs of a kind on the page; the JSON has all"""

OUTLINES, LABELS, WITHOUT = 6, 40, 24
"""outlines shown of a label, labels shown, and pictures shown that have none"""

PAIR_HEIGHT, PAIR_GAP, WIDEST = 150, 6, 300

ASPECTS = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, float("inf"))
"""edges of the histogram: longer side over shorter side"""


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


class Section(NamedTuple):
    """Pairs to look at. what: said of them on the page."""

    name: str
    title: str
    what: str
    pairs: list[NamedPair]


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
    across = [pair for pair in figures.near if pair.one_label != pair.other_label]
    within = [pair for pair in figures.near if pair.one_label == pair.other_label]
    sections = (
        Section("conflict", "The same picture under different labels", "One of the two labels is wrong.", figures.conflicts),
        Section("across", "Nearly the same under different labels", "Look whether one of the labels is wrong.", across),
        Section("near", "Nearly the same", "Kept in one group, so no split separates them.", within),
        Section("same", "The same picture twice", "Kept in one group, so no split separates them.", figures.same),
    )
    with replacing_durably(out / REPORT_FILE) as new, new.open("w", encoding="utf-8", newline="") as page:
        page.write(_HEAD + _summary(survey.options, figures, lines))
        for name, title in (("labels", "Pictures per label"), ("sizes", "Sizes"), ("aspects", "Aspect ratios")):
            page.write(f"<h2>{title}</h2>\n{_image(folder / f'{name}.png', title)}\n")
        if survey.masks is not None:
            page.write(_outlines(out, source, survey, survey.masks))
        for section in sections:
            page.write(f"<h2>{section.title}: {len(section.pairs)}</h2>\n<p>{section.what if section.pairs else 'None found.'}</p>\n")
            for number, pair in enumerate(section.pairs[:SHOWN], start=1):
                file = folder / f"{section.name}-{number:02}.png"
                if _draw_pair(file, source / pair.one, source / pair.other):
                    page.write(_pair(file, pair))
            if len(section.pairs) > SHOWN:
                page.write(f"<p>and {len(section.pairs) - SHOWN} more in report/report.json.</p>\n")
        page.write("</main>\n</html>\n")


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


def _outlines(out: Path, source: Path, survey: Survey, masks: Masks) -> str:
    """The part of the page about masks. Its pictures are written into the folder `report`."""
    folder, records, catalogue = out / PICTURES, survey.records, survey.catalogue
    rows = "".join(f"<tr><td>{origin}</td><td>{count}</td></tr>\n" for origin, count in masks.counts().items())
    what = (
        "Where the masks of the pictures in a split come from, and some of them, from the smallest to the largest of each label. "
        "Where an outline is wrong, draw the mask yourself, as masks/LABEL/NAME.png in the source."
    )
    said = [f"<h2>Masks</h2>\n<p>{what}</p>\n<table><tr><th>from</th><th>pictures</th></tr>\n{rows}</table>\n"]

    def show(name: str, caption: str, pictures: Sequence[int]) -> None:
        paths = [records.path(picture) for picture in pictures]
        files = [out / file if (file := masks.file(picture, path)) else None for picture, path in zip(pictures, paths, strict=True)]
        row = strip([MaskedPicture(source / path, file) for path, file in zip(paths, files, strict=True)])
        if row is not None:
            (folder / name).write_bytes(row)
            told = html.escape(caption)
            said.append(f"<figure>{_image(folder / name, told)}<figcaption>{told}</figcaption></figure>\n")

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
    return "".join(said)


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


def _summary(options: PrepareOptions, figures: Figures, lines: Sequence[str]) -> str:
    splits = [split for split in SPLITS if split in figures.counts]
    rows = "".join(
        f"<tr><td>{html.escape(label)}</td>"
        + "".join(f"<td>{figures.counts[split][label]}</td>" for split in splits)
        + f"<td>{figures.left_out.get(label, 0)}</td></tr>\n"
        for label in next(iter(figures.counts.values()))
    )
    total = "".join(f"<td>{sum(figures.counts[split].values())}</td>" for split in splits)
    flags = "".join(f"<tr><td>{flag}</td><td>{count}</td></tr>\n" for flag, count in figures.flags.items())
    trained_on = sum(figures.counts.get("train", {}).values())
    statistics = "".join(
        f"<tr><td>{name}</td><td>{mean:.4f}</td><td>{std:.4f}</td></tr>\n"
        for name, mean, std in zip(("red", "green", "blue"), figures.mean, figures.std, strict=True)
    )
    told = "".join(f"<li>{html.escape(line)}</li>\n" for line in lines) or "<li>Nothing to remark.</li>\n"
    return f"""<h1>{html.escape(options.source)}</h1>
<p>{figures.pictures} pictures, {figures.decodable} of them can be decoded.</p>
<div class="wide"><table><tr><th>label</th>{"".join(f"<th>{split}</th>" for split in splits)}<th>left out</th></tr>
{rows}<tr><th>all</th>{total}<td>{sum(figures.left_out.values())}</td></tr></table></div>
<h2>Remarks</h2>
<ul>
{told}</ul>
<h2>Flags</h2>
<table><tr><th>flag</th><th>pictures</th></tr>
{flags}</table>
<h2>Channels</h2>
<p>Of the {trained_on} training pictures, 0 to 1, each weighing the same.</p>
<table><tr><th>channel</th><th>mean</th><th>deviation</th></tr>
{statistics}</table>
"""


def _pair(file: Path, pair: NamedPair) -> str:
    names = f"{html.escape(pair.one)} ({html.escape(pair.one_label)}) and {html.escape(pair.other)} ({html.escape(pair.other_label)})"
    return f"<figure>{_image(file, names)}<figcaption>{names}, likeness {pair.likeness:.3f}</figcaption></figure>\n"


def _image(file: Path, alternative: str) -> str:
    return f'<img alt="{alternative}" src="data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}">'


_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Prepared data set</title>
<style>
body { font: 16px/1.45 system-ui, sans-serif; color: #222; background: #fff; margin: 0; }
main { max-width: 52rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
li, figcaption { overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; }
figure { margin: 1rem 0; }
figcaption { font-size: .85rem; color: #555; }
.wide { overflow-x: auto; }
</style>
<main>
"""
