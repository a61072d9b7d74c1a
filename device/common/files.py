"""What is to outlive a power cut, and whose it is."""

import contextlib
import errno
import os
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until what was written to a file, or made and renamed in a folder, is on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, where it is not there yet, with all above it. Raises OSError, whose text says so where a file is in the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(errno.ENOTDIR, "is no folder", str(folder)) from error


def hand_over(folder: Path, *made: Path) -> None:
    """Give what root made in a folder to the user whose folder it is: what root has in the service's folder, the service cannot write to."""
    if os.geteuid() != 0:
        return
    owner = folder.stat()
    for path in made:
        with contextlib.suppress(OSError):
            if path.lstat().st_uid == 0:
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
