"""The events of a ledger for whoever only reads it: beside a daemon that writes, as another user, or on a disk that cannot be written."""

import contextlib
import functools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from device.events import ItemRejected, ItemSorted
from device.ledger import schema as tables
from device.ledger.schema import FILE, LedgerError, LedgerState, code, ledger_errors

PAGE = 1000
"""most events read at once"""
NUMBERS_UP_TO = 2**63 - 1
"""no event has a number above this"""

T = TypeVar("T")
_NOT_WRITABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


def read_events(folder: Path, after_seq: int = 0, say: Callable[[str], None] = lambda _: None) -> Iterator[tuple[int, bytes]]:
    """The events in a ledger above `after_seq` (0 to NUMBERS_UP_TO), oldest first: number and JSON. A daemon may be writing meanwhile.

    Nothing is held open while the caller does something with an event: the daemon cannot shorten its journal while somebody reads. say: told in a
    line when the newest events may be missing. Raises LedgerError.
    """
    while True:
        events = _asked(folder / FILE, say, functools.partial(_page, after_seq=after_seq)) or []
        yield from events
        if len(events) < PAGE:
            return
        after_seq = events[-1][0]


def read_ledger_state(folder: Path) -> tuple[LedgerState, ItemSorted | ItemRejected | None]:
    """What a ledger knows beside its events, and the item that was sorted or rejected last. Raises LedgerError."""
    found = _asked(folder / FILE, lambda _: None, lambda db: (tables.load_state(db), tables.newest_item(db)))
    if found is None:
        raise LedgerError(f"{folder / FILE}: holds nothing yet")
    return found


def _page(db: sqlite3.Connection, after_seq: int) -> list[tuple[int, bytes]]:
    return db.execute("SELECT seq, CAST(payload AS BLOB) FROM event WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, PAGE)).fetchall()


def _asked(file: Path, say: Callable[[str], None], question: Callable[[sqlite3.Connection], T]) -> T | None:
    """The answer to a question; None where a ledger has no tables yet. Raises LedgerError."""
    with ledger_errors(file):
        try:
            file.open("rb").close()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise LedgerError(f"{file}: not found; expected the folder of a ledger, the one that [device] state names") from error
        except PermissionError as error:
            raise LedgerError(f"{file}: may not be read by this user; run it as the user sortbin runs as: sudo -u sortbin") from error
        journal = file.with_name(file.name + "-wal")
        try:
            # A reader with the right to write takes the journal away when it closes as the last one; it may only do so where none was.
            return _answer(file, "mode=ro" if journal.exists() else "mode=rw", question)
        except sqlite3.OperationalError as error:
            if code(error) not in _NOT_WRITABLE:
                raise
        if journal.exists() and journal.stat().st_size:
            say(f"{file}: its journal {journal.name} cannot be read by this user: the newest events may be missing")
        return _answer(file, "immutable=1", question)


def _answer(file: Path, how: str, question: Callable[[sqlite3.Connection], T]) -> T | None:
    with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?{how}", uri=True, timeout=5.0)) as db:
        db.execute("PRAGMA query_only = ON")
        return question(db) if db.execute("SELECT 1 FROM sqlite_master").fetchone() else None
