"""Draws docs/pictures/demo.jpg, the README's picture: items on the virtual tray, and where `sortbin classify` sends them.

python docs/pictures/demo.py

Needs Pillow, which `pip install ".[training]"` brings. The items are not chosen by result: they are the first of a fixed chance order.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from device.simulation.items import shipped_items, shuffled
from device.simulation.tray_renderer import Pose, TrayRenderer

OUT = Path(__file__).with_name("demo.jpg")
SORTBIN = Path(sys.executable).with_name("sortbin")
BIN_OF = {"cardboard": "paper"}
"""the bin of a label in the rule pack `trashnet`, where it is not of the label's own name"""
ITEM_MARGIN = 0.15
"""of the item's longer side, round it, in the first look"""
SEED, COLUMNS, ROWS, EMPTY_VIEWS = 11, 3, 3, 4
VIEW_WIDTH, VIEW_HEIGHT, GAP, MARGIN, BAND, HEADER, FOOTER = 320, 240, 24, 28, 56, 62, 66
CARD_WIDTH, CARD_HEIGHT = VIEW_WIDTH + VIEW_HEIGHT, VIEW_HEIGHT + BAND
INK, PAPER, FRAME = (34, 40, 49), (255, 255, 255), (236, 238, 240)
RIGHT, UNSURE, WRONG = (33, 122, 66), (181, 112, 0), (190, 40, 45)


@dataclass(frozen=True)
class Sorted:
    """One item: its frame, the square that the network sees first (left, top, right, bottom in pixels of the frame), and the decision."""

    frame: Image.Image
    square: tuple[int, int, int, int]
    label: str
    p: float
    bin: str
    decision: str
    right_bin: str

    @property
    def colour(self) -> tuple[int, int, int]:
        """Colour of the decision, as the key says."""
        if self.bin == self.right_bin:
            return RIGHT
        return WRONG if self.decision == "confident" else UNSURE


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        items = sorted_items(Path(folder))
    sheet(items).save(OUT, quality=84)
    print(f"{OUT}: {sum(item.colour == RIGHT for item in items)} of {len(items)} in the right bin")


def sorted_items(folder: Path) -> list[Sorted]:
    """Lay each item on the virtual tray, photograph it, and have `sortbin classify` judge the photos."""
    rng = np.random.default_rng(4)
    tray = TrayRenderer(rng)
    things = shuffled(shipped_items(), seed=SEED)[: COLUMNS * ROWS]
    empty, photos = [folder / f"empty{number}.png" for number in range(EMPTY_VIEWS)], []
    for view in empty:
        photograph(tray, None, view)
    for number, thing in enumerate(things):
        tray.lay(thing)
        photos.append(folder / f"{number:02}.png")
        photograph(tray, Pose(float(rng.uniform(0.4, 0.6)), float(rng.uniform(0.42, 0.58)), float(rng.uniform(-35, 35))), photos[-1])
    command = [str(SORTBIN), "classify", *map(str, photos), "--background", *map(str, empty), "--json"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    items = []
    for photo, line, thing in zip(photos, map(json.loads, lines), things, strict=True):
        assert thing.label is not None
        frame = Image.open(photo).convert("RGB")
        items.append(
            Sorted(
                frame=frame,
                square=square_around(line["isolated"]["box"], frame),
                label=line["label"],
                p=line["p"],
                bin=line["bin"],
                decision=line["decision"],
                right_bin=BIN_OF.get(thing.label, thing.label),
            )
        )
    return items


def square_around(box: Sequence[int], frame: Image.Image) -> tuple[int, int, int, int]:
    """The square that is cut out around an item's box, moved into the frame."""
    left, top, right, bottom = box
    side = min(round(max(right - left, bottom - top) * (1 + 2 * ITEM_MARGIN)), frame.width, frame.height)
    x = min(max((left + right - side) // 2, 0), frame.width - side)
    y = min(max((top + bottom - side) // 2, 0), frame.height - side)
    return x, y, x + side, y + side


def photograph(tray: TrayRenderer, pose: Pose | None, file: Path) -> None:
    """Write one frame of the virtual camera."""
    cv2.imwrite(str(file), cv2.cvtColor(tray.picture(pose, 0.0, 1.0), cv2.COLOR_RGB2BGR))


def sheet(items: list[Sorted]) -> Image.Image:
    """Cards in a grid, with a heading above and the key to the colours below."""
    width = 2 * MARGIN + COLUMNS * CARD_WIDTH + (COLUMNS - 1) * GAP
    height = HEADER + ROWS * (CARD_HEIGHT + GAP) + FOOTER
    page = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(page)
    text(draw, (MARGIN, HEADER // 2), "The virtual bin: what the camera sees, the item cut out, and the decision", 32)
    for number, item in enumerate(items):
        row, column = divmod(number, COLUMNS)
        page.paste(card(item), (MARGIN + column * (CARD_WIDTH + GAP), HEADER + row * (CARD_HEIGHT + GAP)))
    left, middle = MARGIN, height - FOOTER // 2 - 4
    for colour, meaning in ((RIGHT, "right bin"), (UNSURE, "not sure, or unknown: residual bin"), (WRONG, "wrong bin")):
        draw.rounded_rectangle((left, middle - 15, left + 46, middle + 15), 6, fill=colour)
        left = text(draw, (left + 60, middle), meaning, 28) + 46
    text(draw, (left, middle), "white square: what the model is shown", 28)
    return page


def card(item: Sorted) -> Image.Image:
    """Left the camera's view with the isolated square, right that square by itself, below the decision."""
    made = Image.new("RGB", (CARD_WIDTH, CARD_HEIGHT), FRAME)
    scale = VIEW_WIDTH / item.frame.width
    made.paste(item.frame.resize((VIEW_WIDTH, VIEW_HEIGHT), Image.Resampling.LANCZOS), (0, 0))
    made.paste(item.frame.crop(item.square).resize((VIEW_HEIGHT, VIEW_HEIGHT), Image.Resampling.LANCZOS), (VIEW_WIDTH, 0))
    draw = ImageDraw.Draw(made)
    draw.rectangle(tuple(scale * side for side in item.square), outline=PAPER, width=3)
    draw.line((VIEW_WIDTH, 0, VIEW_WIDTH, VIEW_HEIGHT), fill=PAPER, width=4)
    draw.rectangle((0, VIEW_HEIGHT, CARD_WIDTH, CARD_HEIGHT), fill=item.colour)
    middle = VIEW_HEIGHT + BAND // 2
    text(draw, (18, middle), f"{item.label} {item.p:.0%}", 31, PAPER)
    text(draw, (CARD_WIDTH - 18, middle), f"{item.bin} bin", 31, PAPER, "rm")
    return made


def text(draw: ImageDraw.ImageDraw, at: tuple[float, float], words: str, size: int, colour: tuple[int, int, int] = INK, anchor: str = "lm") -> float:
    """Write a line. Returns where it ends, in pixels from the left."""
    font = ImageFont.load_default(size)
    draw.text(at, words, colour, font, anchor=anchor)
    return at[0] + draw.textlength(words, font)


if __name__ == "__main__":
    main()
