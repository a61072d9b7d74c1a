"""Rows of photos with the outlines of their masks, so that a person sees where a mask is wrong."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from converter.data.photos import PhotosError, read_mask, read_pixels
from device.vision.inference.preprocess import Pixels

TILE_WIDTH, TILE_HEIGHT, GAP = 160, 120, 4
COLOUR = (255, 0, 200)
"""RGB of the outline: next to no item is of it"""


class MaskedPicture(NamedTuple):
    """A picture, and its mask where it has one."""

    picture: Path
    mask: Path | None


def strip(shown: Sequence[MaskedPicture]) -> bytes | None:
    """The pictures in a row as a PNG: what the mask leaves out paler, its outline drawn. None when all of them have vanished."""
    tiles = [tile for one in shown if (tile := _tile(one)) is not None]
    if not tiles:
        return None
    gap = np.full((TILE_HEIGHT, GAP, 3), 255, np.uint8)
    row = np.hstack([part for tile in tiles for part in (tile, gap)][:-1])
    return cv2.imencode(".png", cv2.cvtColor(row, cv2.COLOR_RGB2BGR))[1].tobytes()


def chosen(areas: Sequence[float], most: int) -> list[int]:
    """Which of these pictures to show, in order of the mask's share of them: at most `most`, the smallest and the largest among them."""
    order = np.argsort(areas, kind="stable")
    return [int(order[place]) for place in np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))] if len(order) else []


def _tile(shown: MaskedPicture) -> Pixels | None:
    try:
        pixels = read_pixels(shown.picture)
        mask = read_mask(shown.mask) if shown.mask else None
    except PhotosError:
        return None
    height, width = pixels.shape[:2]
    scale = min(TILE_WIDTH / width, TILE_HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    if mask is not None:
        item = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
        small = np.where(item[..., np.newaxis] > 127, small, 255 - (255 - small) // 2)
        outlines, _ = cv2.findContours((item > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(small, outlines, -1, COLOUR, 2)
    below, right = TILE_HEIGHT - small.shape[0], TILE_WIDTH - small.shape[1]
    around = below // 2, below - below // 2, right // 2, right - right // 2
    return np.asarray(cv2.copyMakeBorder(small, *around, cv2.BORDER_CONSTANT, value=(255,) * 3), np.uint8)
