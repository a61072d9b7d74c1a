"""Returns unused memory to the system, through the C library. Each function does nothing where the C library or the system lacks the call."""

import contextlib
import ctypes
import mmap
from collections.abc import Callable
from pathlib import Path

LARGE = 1 << 18
"""malloc maps blocks of at least this many bytes separately, such as a frame of 640 x 480 or its mask"""

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""mallopt(3)"""
_PR_SET_THP_DISABLE = 41
"""prctl(2)"""
_MAPS, _SMAPS = Path("/proc/self/maps"), Path("/proc/self/smaps")


def limit_malloc() -> None:
    """Map LARGE blocks separately, so that freeing them returns their memory; use one heap for all threads; no huge pages. Call it first.

    With pages of 16 KiB, as on a Raspberry Pi 5, a huge page has 32 MiB, which its first byte takes.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, LARGE)
        library.mallopt(_M_ARENA_MAX, 1)
        library.prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)


def release_mapped_pages(file: Path) -> None:
    """Release the memory of a file that this process has mapped. A page that is used again is read from the file again."""
    with contextlib.suppress(OSError, AttributeError):
        madvise, mapped = ctypes.CDLL(None).madvise, f" {file.resolve()}"
        for line in _MAPS.read_text(encoding="utf-8").splitlines():
            if line.endswith(mapped):
                _drop(madvise, line)


def release_code_pages() -> None:
    """Release the memory of the libraries' code: most of it runs only at the start. Code that runs again is mapped again from the page cache.

    Code that was changed in memory, as by debuggers, stays.
    """
    with contextlib.suppress(OSError, AttributeError):
        madvise = ctypes.CDLL(None).madvise
        code = ""
        for line in _SMAPS.read_text(encoding="utf-8").splitlines():
            key, *values = line.split()
            if not key.endswith(":"):
                code = line if values[0] == "r-xp" and values[-1].startswith("/") else ""
            elif code and key == "Anonymous:" and values[0] == "0":
                _drop(madvise, code)


def _drop(madvise: Callable[..., int], line: str) -> None:
    """Drop the pages of one line of /proc/self/maps."""
    begin, end = (int(address, 16) for address in line.split(maxsplit=1)[0].split("-"))
    madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)
