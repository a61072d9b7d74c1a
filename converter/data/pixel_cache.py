"""A file of decoded pixels, for several processes that need the same photos."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from converter.common.atomic_directory import OutputError
from converter.common.progress import Indexable
from device.vision.inference.preprocess import Pixels


def write_pixels(pictures: Indexable[Pixels], size: int, file: Path) -> int:
    """Write pictures of size x size x 3 uint8 to a `.npy` file and return their number. Raises OutputError.

    They are written and not memory-mapped: a full disk then raises an error and does not crash the process.
    """
    shape = (len(pictures), size, size, 3)
    write_header: Callable[..., None] = np.lib.format.write_array_header_1_0
    try:
        with file.open("wb") as opened:
            write_header(opened, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for picture in pictures:
                opened.write(picture.tobytes())
    except OSError as error:
        raise OutputError(f"{file.parent}: {error.strerror}; decoded photos take {np.prod(shape) / 1e6:.0f} MB there") from error
    return len(pictures)


def map_pixels(file: Path) -> Pixels:
    """The pictures of a file that `write_pixels` wrote, memory-mapped: photos x size x size x 3 uint8."""
    pictures: Pixels = np.load(file, mmap_mode="r")
    return pictures
