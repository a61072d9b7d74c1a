"""A file of decoded pixels, for several processes that need the same photos."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from device.vision.inference.preprocess import Pixels


def write_pixels(pictures: Iterable[Pixels], size: int, file: Path) -> int:
    """Write pictures of size x size x 3 uint8 to a `.npy` file and return their number. Raises OSError.

    They are written and not memory-mapped: a full disk then raises an error and does not crash the process.
    """
    count = 0
    with file.open("wb") as opened:
        _header(opened, 0, size)
        for picture in pictures:
            opened.write(picture.tobytes())
            count += 1
        opened.seek(0)
        _header(opened, count, size)
    return count


def map_pixels(file: Path) -> Pixels:
    """The pictures of a file that `write_pixels` wrote, memory-mapped: photos x size x size x 3 uint8."""
    pictures: Pixels = np.load(file, mmap_mode="r")
    return pictures


def _header(opened: BinaryIO, count: int, size: int) -> None:
    write: Callable[..., None] = np.lib.format.write_array_header_1_0
    # NumPy pads the header, so every count takes the same number of bytes.
    write(opened, {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)})
