"""A folder on this machine as a source. It is read where it lies, and nothing in it is changed."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from training.prepare.name_filter import NameFilter
from training.prepare.options import PrepareError
from training.prepare.source import SourcePicture


class Folder:
    """Pictures in and below a folder. Links to folders are followed, each folder is entered once."""

    unwrap = False
    at_once = 1

    def __init__(self, folder: Path) -> None:
        self.folder: Path | None = folder
        self._folder = folder
        self.names = NameFilter()

    def pictures(self) -> Iterator[SourcePicture]:
        """Every picture; size and time of the last change are its tag."""
        entered = set()
        for place, folders, files in os.walk(self._folder, followlinks=True, onerror=_refuse):
            status = Path(place).stat()
            if (status.st_dev, status.st_ino) in entered:
                folders.clear()
                continue
            entered.add((status.st_dev, status.st_ino))
            folders.sort()
            below = Path(place).relative_to(self._folder).as_posix()
            self.names.folder(below)
            for name in sorted(files):
                path = name if below == "." else f"{below}/{name}"
                file = self._folder / path
                if (tag := _tag(file)) and self.names.takes(path):
                    yield SourcePicture(path, tag, file.read_bytes)


def _tag(file: Path) -> str:
    """Empty for what is no file, such as a pipe, which would keep its reader waiting."""
    try:
        status = file.stat()
    except OSError as error:
        return str(error.strerror)
    return f"{status.st_size} bytes, {status.st_mtime_ns} ns" if stat.S_ISREG(status.st_mode) else ""


def _refuse(error: OSError) -> None:
    raise PrepareError(f"{error.filename}: {error.strerror}") from error
