"""Reads a ledger without changing it: while a daemon writes, as another user, or on a read-only disk."""

import contextlib
import functools
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from device.events import ItemRejected, ItemSorted
from device.ledger import schema
from device.ledger.schema import FILE, LedgerError, LedgerState, code, ledger_errors
from device.ledger.tallies import Days, Tallies
from device.ledger.tally_tables import load_days

PAGE = 1000
"""most events read at once"""
NUMBERS_UP_TO = 2**63 - 1
"""no event has a number above this"""

T = TypeVar("T")
_NOT_WRITABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


def read_events(folder: Path, after_seq: int = 0, warn: Callable[[str], None] = lambda _: None) -> Iterator[tuple[int, bytes]]:
    """The events above `after_seq` (0 to NUMBERS_UP_TO), oldest first: number and JSON. A daemon may write meanwhile.

    Reads page by page and closes the database in between, since the daemon cannot shorten its journal while it is open here. warn: called with a
    line where the newest events may be missing. Raises LedgerError.
    """
    while True:
        events = _query(folder / FILE, warn, functools.partial(_page, after_seq=after_seq)) or []
        yield from events
        if len(events) < PAGE:
            return
        after_seq = events[-1][0]


def read_ledger_state(folder: Path) -> tuple[LedgerState, ItemSorted | ItemRejected | None]:
    """The state of a ledger, and the item that was sorted or rejected last. Raises LedgerError."""
    found = _query(folder / FILE, lambda _: None, lambda db: (schema.load_state(db), schema.newest_item(db)))
    if found is None:
        raise LedgerError(f"{folder / FILE}: holds nothing yet")
    return found


@dataclass(frozen=True, slots=True)
class LedgerCounts:
    """What a ledger has counted. since: when it began; empty where that is not known."""

    since: str
    tallies: Tallies
    days: Days


def read_counts(folder: Path) -> LedgerCounts:
    """The counts of a ledger, with those of each day. Raises LedgerError, also where an earlier version wrote it and counted no days."""

    def query(db: sqlite3.Connection) -> LedgerCounts:
        db.execute("BEGIN")
        if schema.format_of(db) < schema.FORMAT:
            raise LedgerError(f"{folder / FILE}: has no counts by day yet: an earlier version wrote it; start sortbin once, and it counts its events")
        state = schema.load_state(db)
        with schema.raising_damaged():
            return LedgerCounts(state.notes.since, state.tallies, load_days(db, state.tallies))

    return _query(folder / FILE, lambda _: None, query) or LedgerCounts("", Tallies(), {})


def check_integrity(folder: Path, limit_s: float) -> str:
    """What SQLite says of every page: `ok`, or what is wrong; `not checked ...` where that takes longer than `limit_s`. Raises LedgerError."""
    until_s = time.monotonic() + limit_s

    def check(db: sqlite3.Connection) -> str:
        db.set_progress_handler(lambda: time.monotonic() > until_s, 100_000)
        try:
            return "; ".join(str(line) for (line,) in db.execute("PRAGMA quick_check(20)"))
        except sqlite3.OperationalError as error:
            if code(error) != sqlite3.SQLITE_INTERRUPT:
                raise
            return f"not checked: it takes more than {limit_s:g} s"

    return _query(folder / FILE, lambda _: None, check) or "holds nothing yet"


def _page(db: sqlite3.Connection, after_seq: int) -> list[tuple[int, bytes]]:
    return db.execute("SELECT seq, CAST(payload AS BLOB) FROM event WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, PAGE)).fetchall()


def _query(file: Path, warn: Callable[[str], None], query: Callable[[sqlite3.Connection], T]) -> T | None:
    """The result of `query`; None where the ledger has no tables yet. Raises LedgerError."""
    with ledger_errors(file):
        try:
            file.open("rb").close()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise LedgerError(f"{file}: not found; expected the folder of a ledger, the one that [device] state names") from error
        except PermissionError as error:
            raise LedgerError(f"{file}: may not be read by this user; run it as the user sortbin runs as: sudo -u sortbin") from error
        journal = file.with_name(file.name + "-wal")
        try:
            # A reader that may write deletes the journal when it is the last one to close: it opens read-write only where no journal is.
            return _open_and_query(file, "mode=ro" if journal.exists() else "mode=rw", query)
        except sqlite3.OperationalError as error:
            if code(error) not in _NOT_WRITABLE:
                raise
        if journal.exists() and journal.stat().st_size:
            warn(f"{file}: its journal {journal.name} cannot be read by this user: the newest events may be missing")
        return _open_and_query(file, "immutable=1", query)


def _open_and_query(file: Path, mode: str, query: Callable[[sqlite3.Connection], T]) -> T | None:
    with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?{mode}", uri=True, timeout=5.0)) as db:
        db.execute("PRAGMA query_only = ON")
        return query(db) if db.execute("SELECT 1 FROM sqlite_master").fetchone() else None
