"""Numbers that are never given out twice, whatever happens to the database that uses them."""

import contextlib
from pathlib import Path

from device.common.files import write_durably

BLOCK = 256
"""numbers reserved at once, so that the file is written this rarely"""


class SequenceFile:
    """The highest number that may have been given out, kept in a small file of its own that is replaced as a whole."""

    def __init__(self, file: Path) -> None:
        """Read the file. Raises OSError when it is there and cannot be read; what is no number counts as unknown."""
        self.file = file
        self.reserved = 0
        """highest number that may have been given out; 0 when the file does not say"""
        with contextlib.suppress(FileNotFoundError, ValueError):
            self.reserved = max(0, int(file.read_text(encoding="ascii")))

    def reserve(self, first: int, last: int) -> bool:
        """Have `first` to `last` reserved on disk before they are used. True when the file had to be raised. Raises OSError."""
        if last <= self.reserved:
            return False
        reserved = first - 1 + max(BLOCK, last - first + 1)
        write_durably(self.file, f"{reserved}\n")
        self.reserved = reserved
        return True
