"""A contact sheet of cut-outs, a row for each label, half of it on a grey tray and half on a dark one.

python -m training.render.cutout_sheet device/simulation/items docs/pictures/items.jpg
"""

import argparse
import sys
from pathlib import Path

from PIL import Image

GREY, DARK = (139, 139, 136), (58, 57, 55)
MARGIN_PX = 6


def contact_sheet(items: Path, cell_px: int) -> Image.Image:
    """Lay the pictures of `items/<label>/` out in rows; the right half of each row is dark."""
    rows = [sorted(folder.glob("*.webp")) for folder in sorted(items.iterdir()) if folder.is_dir()]
    sheet = Image.new("RGB", (cell_px * max(map(len, rows)), cell_px * len(rows)), GREY)
    for y, files in enumerate(rows):
        for x, file in enumerate(files):
            if x >= len(files) / 2:
                sheet.paste(DARK, (x * cell_px, y * cell_px, (x + 1) * cell_px, (y + 1) * cell_px))
            cutout = Image.open(file).convert("RGBA")
            cutout.thumbnail((cell_px - MARGIN_PX, cell_px - MARGIN_PX), Image.Resampling.LANCZOS)
            corner = (x * cell_px + (cell_px - cutout.width) // 2, y * cell_px + (cell_px - cutout.height) // 2)
            sheet.paste(cutout, corner, cutout)
    return sheet


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m training.render.cutout_sheet", description=__doc__.splitlines()[0])
    parser.add_argument("items", type=Path, help="a folder that `training.render.cutouts` wrote")
    parser.add_argument("sheet", type=Path, help="the JPEG to write")
    parser.add_argument("--cell", type=int, default=150, metavar="PX", help="side of a cell (150)")
    given = parser.parse_args(arguments)
    given.sheet.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(given.items, given.cell).save(given.sheet, quality=84, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
