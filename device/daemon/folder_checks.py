"""Checks of the folders that the daemon writes to: writable, enough space, a sound ledger. A check leaves no file behind."""

import contextlib
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from device.common.clock import Clock
from device.common.errors import SortbinError
from device.ledger.database import NUMBERS
from device.ledger.ledger import Ledger
from device.ledger.lock import LOCK, hold_lock
from device.ledger.schema import FILE, ledger_errors

SPARE_MIB = 50
"""least free space for a folder"""


class FolderError(SortbinError, OSError):
    """A folder, or a file in it, that cannot be used. The message names the key, the path and what was expected."""


def require_writable(key: str, folder: Path) -> str:
    """Returns a line with the path and its free space. Raises FolderError where this user cannot make files in the folder, or space is short."""
    try:
        with _existing(folder), tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"sortbin")
            free_mib = shutil.disk_usage(folder).free / 2**20
    except FileExistsError as error:
        raise FolderError(f"{key} {folder}: is no folder; expected one that {_this_user()} can write to") from error
    except OSError as error:
        raise FolderError(f"{key} {folder}: {error.strerror}; expected a folder that {_this_user()} can write to") from error
    if free_mib < SPARE_MIB:
        raise FolderError(f"{key} {folder}: only {free_mib:.0f} MiB free; expected {SPARE_MIB} MiB or more")
    return f"{folder}, {free_mib / 1024:.1f} GiB free"


def require_ledger(state: Path) -> list[str]:
    """Open a copy of the ledger as the daemon would. Returns the warnings of that: what was found wrong and mended in the copy.

    Raises FolderError for a file in the folder that this user may not use, and LedgerError for a ledger that cannot be opened or is in use.
    """
    for file in files_in(state):
        if not os.access(file, os.R_OK | os.W_OK):
            raise FolderError(f"device.state {file}: belongs to {owner(file)}; expected a file that {_this_user()} can write to")
    if not (state / LOCK).exists():
        return []
    lock = hold_lock(state / LOCK)
    try:
        with ledger_errors(state / FILE), tempfile.TemporaryDirectory(prefix="sortbin-") as copy:
            for name in (FILE, f"{FILE}-wal", NUMBERS):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(state / name, Path(copy, name))
            ledger = Ledger(Path(copy), "check", Clock())
            ledger.close(1.0)
            return [warning.replace(copy, str(state)) for warning in ledger.warnings]
    finally:
        os.close(lock)


def files_in(folder: Path) -> Iterator[Path]:
    """The regular files in a folder and its subfolders."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in sorted(names) if Path(place, name).is_file())


def owner(path: Path) -> str:
    """The name of the user that a path belongs to."""
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


@contextlib.contextmanager
def _existing(folder: Path) -> Iterator[None]:
    """Make the folder and its parents for the block; afterwards remove those that were made."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for each in new:
            with contextlib.suppress(OSError):
                each.rmdir()


def _this_user() -> str:
    try:
        return f"the user {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return "this user"
