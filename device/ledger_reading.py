"""The events of a ledger for whoever only reads it: beside a daemon that writes, as another user, or on a disk that cannot be written."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from device.ledger_tables import FILE, LedgerError, code, explained

PAGE = 1000
"""most events read at once"""
NUMBERS_UP_TO = 2**63 - 1
"""no event has a number above this"""

_NOT_WRITABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


def read_events(folder: Path, after_seq: int = 0, say: Callable[[str], None] = lambda _: None) -> Iterator[tuple[int, bytes]]:
    """The events in a ledger above `after_seq` (0 to NUMBERS_UP_TO), oldest first: number and JSON. A daemon may be writing meanwhile.

    Nothing is held open while the caller does something with an event: the daemon cannot shorten its journal while somebody reads. say: told in a
    line when the newest events may be missing. Raises LedgerError.
    """
    file = folder / FILE
    while True:
        with explained(file):
            events = _page(file, after_seq, say)
        yield from events
        if len(events) < PAGE:
            return
        after_seq = events[-1][0]


def _page(file: Path, after_seq: int, say: Callable[[str], None]) -> list[tuple[int, bytes]]:
    try:
        file.open("rb").close()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise LedgerError(f"{file}: not found; expected the folder of a ledger, the one that [device] state names") from error
    except PermissionError as error:
        raise LedgerError(f"{file}: may not be read by this user; run it as the user sortbin runs as: sudo -u sortbin") from error
    journal = file.with_name(file.name + "-wal")
    try:
        # A reader with the right to write takes the journal away when it closes as the last one; it may only do so where none was.
        return _read(file, "mode=ro" if journal.exists() else "mode=rw", after_seq)
    except sqlite3.OperationalError as error:
        if code(error) not in _NOT_WRITABLE:
            raise
    if journal.exists() and journal.stat().st_size:
        say(f"{file}: its journal {journal.name} cannot be read by this user: the newest events may be missing")
    return _read(file, "immutable=1", after_seq)


def _read(file: Path, how: str, after_seq: int) -> list[tuple[int, bytes]]:
    with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?{how}", uri=True, timeout=5.0)) as db:
        db.execute("PRAGMA query_only = ON")
        if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
            return []
        rows = db.execute("SELECT seq, CAST(payload AS BLOB) FROM event WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, PAGE))
        return rows.fetchall()
