"""A folder that appears whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from device.common.errors import SortbinError


class OutputError(SortbinError, OSError):
    """A place that cannot be written to, or that holds something already. The message names it."""


def require_free(folder: Path) -> None:
    """Raise OutputError when `folder` exists, whatever it is."""
    if folder.exists() or folder.is_symlink():
        raise OutputError(f"{folder}: exists already; name another folder, or remove this one first")


@contextlib.contextmanager
def atomic_directory(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside `folder` to write into, and rename it when the block is done; when the block raises, nothing is left.

    Raises OutputError when `folder` exists, or the disk refuses.
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
