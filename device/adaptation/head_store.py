"""What a bin was taught, kept in its state folder: one file for each time, so that the last can be undone exactly."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from device.common.files import hand_over, make_folder
from device.ledger.lock import LOCK
from device.vision.fewshot.fewshot_head import FewshotHead, TeachingError, read_fewshot_head
from device.vision.inference.bundle import Bundle

FOLDER = "taught"


def head_files(state: Path) -> list[Path]:
    """The files of all teachings in a state folder, oldest first; the last one counts. Raises TeachingError."""
    try:
        return sorted(file for file in (state / FOLDER).glob("*.npz") if file.stem.isdecimal())
    except OSError as error:
        raise TeachingError(f"{state}: {error.strerror}; expected device.state, a folder that this user can use") from error


def read_head(state: Path, bundle: Bundle) -> FewshotHead | None:
    """What counts now, or None where nothing was taught. Raises TeachingError, also when it was taught on another bundle."""
    files = head_files(state)
    return read_fewshot_head(files[-1], bundle) if files else None


def save_head(teaching: FewshotHead, state: Path) -> Path:
    """Make this teaching the one that counts. Returns its file. Raises TeachingError where it cannot be written."""
    files = head_files(state)
    file = state / FOLDER / f"{int(files[-1].stem) + 1 if files else 1:04}.npz"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        teaching.write(file)
        hand_over(state, file.parent, file)
    except OSError as error:
        raise TeachingError(f"{file}: {error.strerror}; expected a state folder that this user can write to") from error
    return file


def undo_last(state: Path) -> Path:
    """Take back the last teaching: the one before counts again, unchanged. Returns the file that is gone. Raises TeachingError for none."""
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
    """While nothing else uses the state folder. Raises TeachingError while the bin runs."""
    try:
        make_folder(state)
        lock = os.open(state / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        hand_over(state, state / LOCK)
    except OSError as error:
        raise TeachingError(f"{state}: {error.strerror}; expected device.state, a folder that this user can write to") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise TeachingError(f"{state}: in use; stop the bin first (systemctl stop sortbin), for it has the camera") from error
    finally:
        os.close(lock)
