"""The few-shot heads that a bin was taught, in its state folder: one file for each lesson, so that the last can be undone."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from device.common.files import hand_over, make_folder
from device.ledger.lock import LOCK, hold_lock
from device.ledger.schema import LedgerError
from device.vision.fewshot.fewshot_head import FewshotHead, TeachingError
from device.vision.fewshot.head_format import read_fewshot_head, write_fewshot_head
from device.vision.inference.bundle import Bundle

FOLDER = "taught"


def head_files(state: Path) -> list[Path]:
    """The files of all heads in a state folder, oldest first; the last one is in use. Raises TeachingError."""
    try:
        return sorted(file for file in (state / FOLDER).glob("*.npz") if file.stem.isdecimal())
    except OSError as error:
        raise TeachingError(f"{state}: {error.strerror}; expected device.state, a folder that this user can use") from error


def read_head(state: Path, bundle: Bundle) -> FewshotHead | None:
    """The head in use, None where nothing was taught. Raises TeachingError, also when it was taught on another bundle."""
    files = head_files(state)
    return read_fewshot_head(files[-1], bundle) if files else None


def save_head(head: FewshotHead, state: Path) -> Path:
    """Store a head, which is in use from the next start on. Returns its file. Raises TeachingError where it cannot be written."""
    files = head_files(state)
    file = state / FOLDER / f"{int(files[-1].stem) + 1 if files else 1:04}.npz"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_fewshot_head(head, file)
        hand_over(state, file.parent, file)
    except OSError as error:
        raise TeachingError(f"{file}: {error.strerror}; expected a state folder that this user can write to") from error
    return file


def undo_last(state: Path) -> Path:
    """Delete the last head; the one before is in use again. Returns the deleted file. Raises TeachingError where there is none."""
    files = head_files(state)
    if not files:
        raise TeachingError(f"{state / FOLDER}: nothing was taught that could be undone")
    try:
        files[-1].unlink()
    except OSError as error:
        raise TeachingError(f"{files[-1]}: {error.strerror}") from error
    return files[-1]


@contextlib.contextmanager
def require_bin_stopped(state: Path) -> Iterator[None]:
    """Hold the state folder, so that the bin cannot start meanwhile. Raises TeachingError while the bin runs."""
    try:
        make_folder(state)
        lock = hold_lock(state / LOCK)
        hand_over(state, state / LOCK)
    except LedgerError as error:
        raise TeachingError(f"{state}: in use; stop the bin first (systemctl stop sortbin)") from error
    except OSError as error:
        raise TeachingError(f"{state}: {error.strerror}; expected device.state, a folder that this user can write to") from error
    try:
        yield
    finally:
        os.close(lock)
