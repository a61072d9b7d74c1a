"""Explanations to look at: a row a photo, and the first layer's view of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels
from training.evaluate.photo_grid import truncate
from training.report.colours import GREY, INK, RIGHT, WRONG

SIDE_PX, GAP_PX, TEXT_PX = 180, 8, 22
MAP_PX, MAPS_ACROSS = 66, 16
DPI = 100


@dataclass(frozen=True, eq=False)
class Explained:
    """One row. photo: S x S x 3 uint8 RGB as the network saw it. panels: what each picture shows, and the picture (S x S x 3 uint8)."""

    caption: str
    right: bool | None
    photo: Pixels
    panels: tuple[tuple[str, Pixels], ...]


def heated(photo: Pixels, heat: Float32Array) -> Pixels:
    """Lay heat (S x S, 0..1) over a photo (S x S x 3 uint8 RGB): the stronger the brighter, and the photo in grey below."""
    grey = cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    colour = cv2.cvtColor(cv2.applyColorMap(np.rint(255 * np.clip(heat, 0, 1)).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    share = (0.15 + 0.6 * np.clip(heat, 0, 1))[..., np.newaxis]
    return np.asarray(np.rint((1 - share) * grey + share * colour), np.uint8)


def relief(gradient: Float32Array) -> Pixels:
    """A signed gradient (S x S x 3) as a picture: 0 is grey, its strongest 0.5 % are clipped."""
    reach = max(float(np.quantile(np.abs(gradient), 0.995)), 1e-12)
    return np.asarray(np.rint(np.clip(gradient / reach, -1, 1) * 127 + 128), np.uint8)


def explanations(rows: Sequence[Explained]) -> Figure:
    """Each photo with its panels beside it."""
    across = 1 + max(len(row.panels) for row in rows)
    pitch, height = SIDE_PX + GAP_PX, SIDE_PX + 2 * TEXT_PX
    canvas = np.full((len(rows) * height + GAP_PX, across * pitch + GAP_PX, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        for place, picture in enumerate((row.photo, *(picture for _, picture in row.panels))):
            top, left = GAP_PX + TEXT_PX + number * height, GAP_PX + place * pitch
            canvas[top : top + SIDE_PX, left : left + SIDE_PX] = _sized(picture, SIDE_PX)
    figure, axes = _bare(canvas)
    for number, row in enumerate(rows):
        top = GAP_PX + number * height
        sign, colour = {True: ("✓ ", RIGHT), False: ("✗ ", WRONG), None: ("", INK)}[row.right]
        axes.text(GAP_PX, top + 2, truncate(sign + row.caption, 30 * across), va="top", size=8.5, color=colour, parse_math=False)
        for place, (meaning, _) in enumerate(row.panels, start=1):
            below = top + TEXT_PX + SIDE_PX + 2
            axes.text(GAP_PX + place * pitch, below, truncate(meaning, 30), va="top", size=7.5, color=GREY, parse_math=False)
    return figure


def feature_maps(photos: Sequence[tuple[str, Pixels, Float32Array]]) -> Figure:
    """The maps of the first layer for each (caption, photo, height x width x channels), each channel stretched from black to white."""
    channels = photos[0][2].shape[-1]
    deep = -(-channels // MAPS_ACROSS)
    wide = min(channels, MAPS_ACROSS)
    block = max(deep * MAP_PX, SIDE_PX)
    canvas = np.full((len(photos) * (block + TEXT_PX + GAP_PX) + GAP_PX, SIDE_PX + 3 * GAP_PX + wide * MAP_PX, 3), 255, np.uint8)
    for number, (_, photo, maps) in enumerate(photos):
        top = GAP_PX + TEXT_PX + number * (block + TEXT_PX + GAP_PX)
        canvas[top : top + SIDE_PX, GAP_PX : GAP_PX + SIDE_PX] = _sized(photo, SIDE_PX)
        for channel in range(channels):
            y = top + channel // MAPS_ACROSS * MAP_PX
            x = SIDE_PX + 2 * GAP_PX + channel % MAPS_ACROSS * MAP_PX
            canvas[y : y + MAP_PX - 2, x : x + MAP_PX - 2] = _sized(_stretched(maps[..., channel]), MAP_PX - 2)[..., np.newaxis]
    figure, axes = _bare(canvas)
    for number, (caption, _, _) in enumerate(photos):
        text = truncate(f"{caption}: {channels} maps of the first layer", 120)
        axes.text(GAP_PX, GAP_PX + 2 + number * (block + TEXT_PX + GAP_PX), text, va="top", size=8.5, color=INK, parse_math=False)
    return figure


def _bare(canvas: Pixels) -> tuple[Figure, Axes]:
    height, width = canvas.shape[:2]
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(canvas, interpolation="none", aspect="auto", extent=(0, width, height, 0))
    return figure, axes


def _sized(picture: Pixels, side_px: int) -> Pixels:
    shrinks = picture.shape[0] > side_px
    return np.asarray(cv2.resize(picture, (side_px, side_px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST), np.uint8)


def _stretched(map_: Float32Array) -> Pixels:
    low, high = float(map_.min()), float(map_.max())
    return np.asarray(np.rint(255 * (map_ - low) / max(high - low, 1e-12)), np.uint8)
