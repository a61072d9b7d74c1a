"""The lock file of a ledger: one process at a time may write."""

import fcntl
import os
from pathlib import Path

from device.ledger.schema import LedgerError

LOCK = "ledger.lock"


def hold_lock(file: Path) -> int:
    """Lock a file for this process. Returns its descriptor: the lock ends when that is closed or the process ends in any way.

    Raises LedgerError while another process holds the lock, and OSError.
    """
    lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise LedgerError(f"{file.parent}: another sortbin uses this ledger; stop it, or choose another folder") from error
    return lock


def is_in_use(folder: Path) -> bool:
    """Whether a process has the ledger in `folder` open for writing. False where this user may not read the lock file."""
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
