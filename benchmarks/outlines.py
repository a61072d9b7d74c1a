"""How well items are isolated in rendered places, whose masks are exact: overlap, and the accuracy of the network on frames and on items.

    python -m benchmarks.outlines PLACES [--bundle DIR] [--sheet FILE] [--json]

PLACES is a folder that `training render bench` or `training render places` wrote. The overlap is intersection over union of the mask, cut at a
half, and the rendered one; 0 where the item was not found.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np

from converter.common.proportion import proportion
from device.common.errors import SortbinError
from device.vision.inference.bundle import default_bundle, find_bundle, read_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.images import PictureError, find_pictures, read_pixels
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.isolate import isolate, paint

TILE = (200, 150)
COLUMNS = 6
A_PLACE = 2
"""pictures of each place on the sheet"""


class IndexLine(msgspec.Struct, frozen=True):
    """One line of `index.jsonl`, as far as it is needed here."""

    image: str
    mask: str
    label: str
    place: str


class PlaceOverlap(msgspec.Struct, frozen=True):
    """One place, or all. overlap: its mean. right: how many of n were named right on the whole frame, isolated, and by the exact mask."""

    place: str
    n: int
    found: int
    overlap: float
    overlap_p10: float
    right_whole: int
    right_isolated: int
    right_exact: int


@dataclass(frozen=True, slots=True)
class JudgedFrame:
    """What became of one picture."""

    place: str
    found: bool
    overlap: float
    right: tuple[bool, bool, bool]
    tile: Pixels


def look(places: Path, classifier: Classifier) -> Iterator[JudgedFrame]:
    """Isolate and judge every picture of every place. Raises PictureError."""
    ground = classifier.bundle.info.ground
    for row, frame, empty in frames(places):
        exact = read_pixels(places / row.mask)[..., 0]
        isolated = isolate(frame, empty, ground)
        drawn, true = (isolated.mask > 127) & isolated.found, exact > 127
        pictures = frame, isolated.picture, paint(frame, exact, ground)
        right = tuple(classifier.labels[int(classifier.logits(picture).argmax())] == row.label for picture in pictures)
        overlap = float((drawn & true).sum() / max((drawn | true).sum(), 1))
        yield JudgedFrame(row.place, isolated.found, overlap, (right[0], right[1], right[2]), _tile(frame, drawn, isolated.picture))


def summed(place: str, seen: list[JudgedFrame]) -> PlaceOverlap:
    """The figures of one place."""
    overlaps = np.array([each.overlap for each in seen])
    right = np.array([each.right for each in seen]).sum(axis=0)
    return PlaceOverlap(
        place, len(seen), sum(each.found for each in seen), float(overlaps.mean()), float(np.percentile(overlaps, 10)), *right.tolist()
    )


def sheet(seen: list[JudgedFrame]) -> Pixels:
    """A_PLACE pictures of each place, spread over its pictures, side by side: each frame with its outline, and what the network is shown."""
    tiles = []
    for place in sorted({each.place for each in seen}):
        here = [each.tile for each in seen if each.place == place]
        tiles += [here[number] for number in np.linspace(0, len(here) - 1, A_PLACE + 2).astype(int)[1:-1]]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % (COLUMNS // 2))
    rows = [np.concatenate(tiles[first : first + COLUMNS // 2], axis=1) for first in range(0, len(tiles), COLUMNS // 2)]
    return np.concatenate(rows)


def frames(places: Path) -> Iterator[tuple[IndexLine, Pixels, BackgroundModel]]:
    """Every picture of every place, with the empty views of its place. Raises PictureError."""
    views: dict[str, BackgroundModel] = {}
    for row in _rows(places):
        if row.place not in views:
            views[row.place] = BackgroundModel(read_pixels(view) for view in find_pictures(places / row.place / "empty"))
        yield row, read_pixels(places / row.image), views[row.place]


def _rows(places: Path) -> list[IndexLine]:
    try:
        lines = (places / "index.jsonl").read_bytes().splitlines()
        return [msgspec.json.decode(line, type=IndexLine) for line in lines if b'"mask"' in line]
    except OSError as error:
        raise PictureError(f"{places / 'index.jsonl'}: {error.strerror}; expected what `training render bench` wrote") from error
    except msgspec.MsgspecError as error:
        raise PictureError(f"{places / 'index.jsonl'}: {error}") from error


def _tile(frame: Pixels, drawn: np.ndarray, picture: Pixels) -> Pixels:
    outlined = cv2.resize(frame, TILE, interpolation=cv2.INTER_AREA)
    contours, _ = cv2.findContours(cv2.resize(drawn.astype(np.uint8), TILE), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(outlined, contours, -1, (255, 40, 40), 1, cv2.LINE_AA)
    shown = cv2.resize(picture, (TILE[1], TILE[1]), interpolation=cv2.INTER_AREA)
    return np.pad(np.concatenate([outlined, shown], axis=1), ((2, 2), (2, 2), (0, 0)), constant_values=255)


def main() -> int:
    """Print the figures. Exit status 2 when there is nothing to measure."""
    parser = argparse.ArgumentParser(prog="benchmarks.outlines", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", type=Path, metavar="PLACES", help="folder of rendered places")
    parser.add_argument("--bundle", type=find_bundle, default=default_bundle(), metavar="DIR", help="bundle that judges (default: Sortbin's own)")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="write a picture of outlines here")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        seen = list(look(arguments.places, Classifier(read_bundle(arguments.bundle))))
    except SortbinError as error:
        print(f"benchmarks.outlines: {error}", file=sys.stderr)
        return 2
    if not seen:
        print(f"benchmarks.outlines: {arguments.places}: no picture with a mask", file=sys.stderr)
        return 2
    results = [summed(place, [each for each in seen if each.place == place]) for place in sorted({each.place for each in seen})]
    results.append(summed("all", seen))
    if arguments.json:
        for result in results:
            print(msgspec.json.encode(result).decode())
    else:
        print("| place | n | found | overlap, mean (p10) | named right: whole frame | isolated | by the exact mask |\n|---|---|---|---|---|---|---|")
        for result in results:
            shares = " | ".join(
                proportion(right, result.n).with_interval() for right in (result.right_whole, result.right_isolated, result.right_exact)
            )
            print(f"| {result.place} | {result.n} | {result.found} | {result.overlap:.2f} ({result.overlap_p10:.2f}) | {shares} |")
    if arguments.sheet:
        cv2.imwrite(str(arguments.sheet), cv2.cvtColor(sheet(seen), cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, 80))
    return 0


if __name__ == "__main__":
    sys.exit(main())
