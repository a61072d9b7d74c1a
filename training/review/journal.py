"""The journal of a review: every decision as a line of JSON, on disk before anyone hears that it was taken."""

import contextlib
import fcntl
import os
from pathlib import Path

import msgspec

from device.common.errors import SortbinError, describe_error
from device.common.files import sync
from training.review.decisions import Decisions, Discarded, Labelled, Row, Undone
from training.review.labels import FolderLabelError, checked

FILE = "review.jsonl"


class JournalError(SortbinError, OSError):
    """A journal that cannot be read, written, or is in use. The message names the file."""


class Journal:
    """The journal in a folder, open for writing; one process at a time has it.

    A line that a power cut left incomplete was never acknowledged, and is cut off. Any other line that is not a row is refused.
    """

    def __init__(self, folder: Path) -> None:
        """Open or create it, and read its rows. Raises JournalError."""
        self.file = folder / FILE
        try:
            self._opened = self.file.open("a+b", buffering=0)
        except OSError as error:
            raise JournalError(f"{self.file}: {error.strerror}") from error
        try:
            self._lock()
            self.rows = self._read()
            sync(folder)
        except OSError as error:
            self._opened.close()
            raise error if isinstance(error, JournalError) else JournalError(f"{self.file}: {error.strerror}") from error

    def append(self, row: Row) -> None:
        """Add a row. It is on disk when this returns. Raises JournalError, and then the journal is as it was."""
        line = msgspec.json.encode(row) + b"\n"
        try:
            self._cut_off()
            self._write(line)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._cut_off()
            raise JournalError(f"{self.file}: {error.strerror}; the decision was not stored") from error
        self._size += len(line)
        self.rows.append(row)

    def close(self) -> None:
        """Let another process have it."""
        self._opened.close()

    def _cut_off(self) -> None:
        """Remove what a failed write left behind the last row."""
        if os.fstat(self._opened.fileno()).st_size != self._size:
            self._opened.truncate(self._size)

    def _write(self, line: bytes) -> None:
        written = 0
        while written < len(line):
            written += self._opened.write(line[written:])
        os.fsync(self._opened.fileno())

    def _lock(self) -> None:
        try:
            fcntl.flock(self._opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JournalError(f"{self.file}: another `training review` is open on this folder; end that one first") from error

    def _read(self) -> list[Row]:
        self._opened.seek(0)
        complete, newline, _ = self._opened.read().rpartition(b"\n")
        rows = [self._decoded(number, line) for number, line in enumerate(complete.split(b"\n"), start=1) if newline]
        self._require_sense(rows)
        self._size = len(complete) + len(newline)
        self._cut_off()
        return rows

    def _decoded(self, number: int, line: bytes) -> Row:
        try:
            row: Row = msgspec.json.decode(line, type=Labelled | Discarded | Undone)
            if isinstance(row, Labelled) and checked(row.label) != row.label:
                raise FolderLabelError(f"label {row.label}: expected it composed and without space around it")
        except msgspec.MsgspecError as error:
            raise JournalError(f"{self.file}: line {number}: {describe_error(error)}") from error
        except (FolderLabelError, UnicodeDecodeError) as error:
            raise JournalError(f"{self.file}: line {number}: {error}") from error
        return row

    def _require_sense(self, rows: list[Row]) -> None:
        decisions = Decisions()
        for number, row in enumerate(rows, start=1):
            try:
                decisions.add(row)
            except ValueError as error:
                raise JournalError(f"{self.file}: line {number}: {error}") from error
