"""Grids of photos with their predictions: framed green where right, red where wrong."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.figure import Figure

from device.vision.inference.preprocess import Pixels
from training.report.colours import INK, RIGHT, WRONG

TILE_PX, TEXT_PX, GAP_PX = 150, 34, 10
GROUND = 238


@dataclass(frozen=True, eq=False)
class Tile:
    """A photo (H x W x 3 uint8 RGB), whether its prediction is right, and up to two lines of text below it."""

    pixels: Pixels
    right: bool
    lines: tuple[str, ...]


def tile_grid(tiles: Sequence[Tile], columns: int) -> Figure:
    """The tiles in rows, framed green or red; a sign says the same for colour-blind readers."""
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    across, down = TILE_PX + GAP_PX, TILE_PX + TEXT_PX + GAP_PX
    canvas = np.full((rows * down + GAP_PX, columns * across + GAP_PX, 3), 255, np.uint8)
    places = [(GAP_PX + index // columns * down, GAP_PX + index % columns * across) for index in range(len(tiles))]
    for tile, (top, left) in zip(tiles, places, strict=True):
        canvas[top : top + TILE_PX, left : left + TILE_PX] = frame(tile.pixels, tile.right)
    dpi = 100
    figure = Figure(figsize=(canvas.shape[1] / dpi, canvas.shape[0] / dpi), dpi=dpi)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(canvas, interpolation="none", aspect="auto", extent=(0, canvas.shape[1], canvas.shape[0], 0))
    for tile, (top, left) in zip(tiles, places, strict=True):
        sign = "✓ " if tile.right else "✗ "
        for number, line in enumerate(tile.lines):
            text = truncate(sign + line if number == 0 else line, 24)
            below = top + TILE_PX + 3 + 15 * number
            axes.text(left, below, text, va="top", size=7.5, color=(RIGHT if tile.right else WRONG) if number == 0 else INK, parse_math=False)
    return figure


def frame(pixels: Pixels, right: bool, side_px: int = TILE_PX) -> Pixels:
    """The whole picture, undistorted, on a square of side_px with a green frame where right, a red one where wrong."""
    height, width = pixels.shape[:2]
    inner = side_px - 8
    scale = inner / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shown = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    square = np.full((side_px, side_px, 3), GROUND, np.uint8)
    top, left = (side_px - size[1]) // 2, (side_px - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = shown
    colour = tuple(int((RIGHT if right else WRONG)[i : i + 2], 16) for i in (1, 3, 5))
    cv2.rectangle(square, (1, 1), (side_px - 2, side_px - 2), colour, 4)
    return square


def truncate(text: str, columns: int) -> str:
    """The text in at most so many columns; a Chinese character takes two. A text that was cut ends in an ellipsis."""
    widths = [2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text]
    if sum(widths) <= columns:
        return text
    count = int(np.searchsorted(np.cumsum(widths), columns - 1, side="right"))
    return text[:count] + "…"
