"""Sequence numbers that are never given out twice, whatever happens to the database."""

import contextlib
from pathlib import Path

from device.common.files import write_durably

BLOCK = 256
"""numbers reserved at once: the file is written once per block"""


class SequenceFile:
    """The highest number that may have been given out, in a small file of its own that is replaced as a whole."""

    def __init__(self, file: Path) -> None:
        """Read the file. Raises OSError where it is there and cannot be read. Text that is no number counts as no file."""
        self.file = file
        self.reserved = 0
        """highest number that may have been given out; 0: unknown"""
        with contextlib.suppress(FileNotFoundError, ValueError):
            self.reserved = max(0, int(file.read_text(encoding="ascii")))

    def reserve(self, first: int, last: int) -> bool:
        """Reserve `first` to `last` on disk before they are used. True where the file was written. Raises OSError."""
        if last <= self.reserved:
            return False
        reserved = first - 1 + max(BLOCK, last - first + 1)
        write_durably(self.file, f"{reserved}\n")
        self.reserved = reserved
        return True
