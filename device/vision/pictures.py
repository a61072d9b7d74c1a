"""Picture files: found in folders, and decoded to pixels."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from device.errors import SortbinError
from device.vision.preprocess import Pixels

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


class PictureError(SortbinError, ValueError):
    """A picture that cannot be read, or a folder without any. The message names it and says what was expected."""


def find_pictures(path: Path) -> Iterator[Path]:
    """The picture files in and below a folder, sorted, hidden ones left out; of a file, the file itself, whatever its name.

    Raises PictureError when there is nothing at `path`, a folder that cannot be read, or one that holds no picture.
    """
    try:
        path.stat()
        found = sorted(_pictures(path)) if path.is_dir() else [path]
    except FileNotFoundError as error:
        raise PictureError(f"{path}: expected a picture or a folder of pictures, found nothing") from error
    except OSError as error:
        raise PictureError(f"{error.filename}: {error.strerror}; expected a picture or a folder of pictures that can be read") from error
    if not found:
        raise PictureError(f"{path}: expected pictures in this folder or below, found none ({', '.join(sorted(SUFFIXES))})")
    yield from found


def _pictures(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, onerror=_raised):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."))


def _raised(error: OSError) -> None:
    raise error


def read_pixels(path: Path) -> Pixels:
    """Decode a picture to H x W x 3 uint8, RGB, turned as its EXIF orientation says. Any path that the system can open will do.

    Raises PictureError when the file is missing, empty or not a picture.
    """
    try:
        encoded = np.fromfile(path, np.uint8)
    except OSError as error:
        raise PictureError(f"{path}: {error.strerror}") from error
    try:
        pixels = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    except cv2.error as error:
        raise PictureError(f"{path}: not a picture that can be decoded: {error.err}") from error
    if pixels is None:
        raise PictureError(f"{path}: not a picture that can be decoded")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
