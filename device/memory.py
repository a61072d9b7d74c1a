"""Memory that nothing needs any more goes back to the system, on a computer that has little of it: asked of the C library, for Python cannot.

Both do nothing where the C library or the system has no such thing.
"""

import contextlib
import ctypes
import mmap
from pathlib import Path

LARGE = 1 << 18
"""bytes from which on a block, such as a frame of 640 x 480 or its mask, is mapped for itself"""

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""mallopt(3)"""
_MAPS = Path("/proc/self/maps")


def keep_little() -> None:
    """Have LARGE blocks go back as soon as nobody holds them, instead of leaving holes in the heap, and all threads share one heap. Call it first."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, LARGE)
        library.mallopt(_M_ARENA_MAX, 1)


def give_back(file: Path) -> None:
    """Give back the memory of a file that this process has mapped to read. What is asked for after all is read from the file again."""
    with contextlib.suppress(OSError, AttributeError):
        madvise = ctypes.CDLL(None).madvise
        for line in _MAPS.read_text(encoding="utf-8").splitlines():
            if line.endswith(f" {file.resolve()}"):
                begin, end = (int(address, 16) for address in line.split(maxsplit=1)[0].split("-"))
                madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)
