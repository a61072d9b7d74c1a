"""A folder that is written as a whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from device.common.errors import SortbinError


class OutputError(SortbinError, OSError):
    """A path that cannot be written to, or that exists already. The message names it."""


def require_free(folder: Path) -> None:
    """Raise OutputError if `folder` exists, whether as a folder, a file or a link."""
    if folder.exists() or folder.is_symlink():
        raise OutputError(f"{folder}: exists already; name another folder, or remove this one first")


@contextlib.contextmanager
def atomic_directory(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `folder` and rename it to `folder` after the block. If the block raises, the folder is removed.

    Raises OutputError if `folder` exists or cannot be written.
    """
    require_free(folder)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        try:
            yield beside
            beside.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except SortbinError:
        raise
    except OSError as error:
        raise OutputError(f"{error.filename or folder}: {error.strerror or error}") from error
