"""A contact sheet of rendered places: of each its empty view, then pictures of items with the outline of their masks. Needs no Blender.

python -m training.render.place_sheet bench docs/pictures/places.jpg
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from training.render.album import rows

Pixels = npt.NDArray[np.uint8]
OUTLINE_BGR = (80, 220, 60)


def contact_sheet(album: Path, each: int, across: int, cell_px: int) -> Pixels:
    """Lay out every place's empty view and `each` of its items, as unlike labels as there are: rows of `across` cells, uint8 BGR.

    Raises ValueError when the folder holds no pictures of items.
    """
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows(album).values():
        found.setdefault(row["place"], []).append(row)
    if not found:
        raise ValueError(f"{album}: expected pictures that `training render` wrote")
    cells = []
    for at, (place, pictures) in enumerate(found.items()):
        views = sorted((album / place / "empty").glob("*.jpg"))
        cells += [_cell(_read(view), cell_px) for view in views[:1]]
        labels = sorted({row["label"] for row in pictures})
        turned = labels[(at * each) % len(labels) :] + labels[: (at * each) % len(labels)]
        chosen = [next(row for row in pictures if row["label"] == label) for label in turned[:each]]
        for row in chosen:
            picture, mask = _read(album / row["image"]), cv2.imread(str(album / row["mask"]), cv2.IMREAD_GRAYSCALE)
            outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(picture, outlines, -1, OUTLINE_BGR, max(1, picture.shape[1] // 250))
            cells.append(_cell(picture, cell_px))
    blank = np.zeros_like(cells[0])
    cells += [blank] * (-len(cells) % across)
    return np.vstack([np.hstack(cells[start : start + across]) for start in range(0, len(cells), across)])


def _read(file: Path) -> Pixels:
    return np.asarray(cv2.imread(str(file)), np.uint8)


def _cell(picture: Pixels, width_px: int) -> Pixels:
    size = width_px, round(width_px * 3 / 4)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m training.render.place_sheet", description=__doc__.splitlines()[0])
    parser.add_argument("album", type=Path, help="a folder that `training render` wrote")
    parser.add_argument("sheet", type=Path, help="the JPEG to write")
    parser.add_argument("--items", type=int, default=2, metavar="N", help="of each place (2)")
    parser.add_argument("--across", type=int, default=6, metavar="N", help="cells in a row (6)")
    parser.add_argument("--cell", type=int, default=200, metavar="PX", help="width of a cell (200)")
    given = parser.parse_args(arguments)
    given.sheet.parent.mkdir(parents=True, exist_ok=True)
    _, coded = cv2.imencode(".jpg", contact_sheet(given.album, given.items, given.across, given.cell), (cv2.IMWRITE_JPEG_QUALITY, 82))
    given.sheet.write_bytes(coded.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
