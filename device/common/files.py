"""Files that appear whole or not at all, survive a power cut, and belong to the right user."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Give a path beside `file` to write to. When the block ends, what was written takes the place of `file`; when it raises, nothing has changed.

    A process killed at any moment leaves the old file or the new one. After a power cut the new file may be empty: see `replacing_durably`.
    The path holds the process id, so that several processes may replace one file, and ends in `.new`, so that no reader of a folder of
    pictures takes it for one. Raises OSError.
    """
    new = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        yield new
        new.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing_durably(file: Path) -> Iterator[Path]:
    """As `replacing`, and the new file is on disk when the block has ended: a power cut leaves the old file or the new one. Raises OSError."""
    with replacing(file) as new:
        yield new
        sync(new)
    sync(file.parent)


def write_durably(file: Path, content: str | bytes) -> None:
    """Replace the whole content of a file, text as UTF-8. It is on disk when this returns. Raises OSError, and then nothing has changed."""
    with replacing_durably(file) as new:
        new.write_bytes(content.encode() if isinstance(content, str) else content)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of files, is on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder with its parents, where it is missing. Raises OSError; where a file is in the way, its text says so."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(errno.ENOTDIR, "is no folder", str(folder)) from error


def hand_over(folder: Path, *made: Path) -> None:
    """Give paths that root made in a folder to the folder's owner: the service could not write to files of root. Does nothing for other users."""
    if os.geteuid() != 0:
        return
    owner = folder.stat()
    for path in made:
        with contextlib.suppress(OSError):
            if path.lstat().st_uid == 0:
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
