"""A `gpiod` for a process of its own. Each line is a file in $LINES_ON_DISK that holds the pin's level, high or low.

As on a Pi a level stays when the process that set it dies, and a line that another process has requested is busy.
"""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

from gpiod.line import Value


class LineSettings:
    def __init__(self, *, direction: Any, active_low: bool, output_value: Value) -> None:
        self.active_low, self.output_value = active_low, output_value


class LineRequest:
    def __init__(self, file: Path, settings: LineSettings) -> None:
        self._file, self._active_low = file, settings.active_low
        self._lock = os.open(file, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY)) from error
        self.set_value(0, settings.output_value)

    def set_value(self, line: int, value: Value) -> None:
        self._file.write_text("high" if (value is Value.ACTIVE) != self._active_low else "low")

    def release(self) -> None:
        os.close(self._lock)


class Chip:
    def __init__(self, path: str) -> None:
        self._lines = [f"GPIO{number}" for number in range(28)]

    def __enter__(self) -> "Chip":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def line_offset_from_id(self, line: str) -> int:
        if line not in self._lines:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self._lines.index(line)

    def request_lines(self, config: dict[int, LineSettings], consumer: str) -> LineRequest:
        ((offset, settings),) = config.items()
        return LineRequest(Path(os.environ["LINES_ON_DISK"], self._lines[offset]), settings)
