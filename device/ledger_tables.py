"""The ledger's SQLite file: its tables, its check, and what can be saved from a damaged one."""

import contextlib
import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from device.errors import SortbinError
from device.events import AnyEvent, ItemInterrupted, ItemRejected, ItemSorted, Jam, decode

FILE = "ledger.sqlite3"
SET_ASIDE = 3
"""most damaged databases that are kept"""

_FORMAT = 1
_APPLICATION = 0x534F5254
_SCHEMA = (
    "CREATE TABLE event (seq INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL)",
    "CREATE TABLE outbox (seq INTEGER PRIMARY KEY)",
    "CREATE TABLE intent (id INTEGER PRIMARY KEY, item TEXT NOT NULL UNIQUE, bin TEXT NOT NULL, label TEXT NOT NULL)",
    "CREATE TABLE total (bin TEXT, kind TEXT, n INTEGER NOT NULL, PRIMARY KEY (bin, kind)) WITHOUT ROWID",
    "CREATE TABLE note (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
)
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_REASONS = {
    sqlite3.SQLITE_FULL: "no space left on the disk: free some, and the ledger goes on",
    sqlite3.SQLITE_IOERR: "the disk gave an error: is it full, failing or unplugged?",
    sqlite3.SQLITE_READONLY: "cannot be written: expected a writable disk, and a folder that belongs to the user sortbin runs as",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: expected a folder that belongs to the user sortbin runs as",
    sqlite3.SQLITE_BUSY: "another program holds it: close that one",
    sqlite3.SQLITE_CORRUPT: "is damaged: restart sortbin, which sets it aside and goes on",
    sqlite3.SQLITE_NOTADB: "is damaged: restart sortbin, which sets it aside and goes on",
}


class LedgerError(SortbinError, OSError):
    """What happened could not be stored or read. The message names the file and what to do; nothing of the request was stored."""

    damaged = False
    """whether the database itself is broken, so that only a new start can mend it"""


class Unstorable(LedgerError):
    """An event that no ledger can hold, for what it says: to offer it again is no use."""


class Damaged(Exception):
    """A file that is no database any more, with what SQLite says of it."""


@contextlib.contextmanager
def explained(file: Path) -> Iterator[None]:
    """Turn what SQLite and the operating system raise into LedgerError."""
    try:
        yield
    except LedgerError:
        raise
    except sqlite3.Error as error:
        explanation = LedgerError(f"{file}: {_REASONS.get(code(error), error)}")
        explanation.damaged = code(error) in _DAMAGE
        raise explanation from error
    except OSError as error:
        raise LedgerError(f"{error.filename or file}: {error.strerror}") from error


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it on disk, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
        raise


def connect(file: Path) -> sqlite3.Connection:
    """A connection for any thread, one at a time, that commits only where told."""
    return sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=5.0)


def open_checked(file: Path) -> sqlite3.Connection:
    """Open or begin a database and check every page of it. Raises Damaged, or LedgerError when it is not ours to write."""
    db = connect(file)
    try:
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise Damaged(verdict)
        ((application,), (version,)) = db.execute("PRAGMA application_id").fetchone(), db.execute("PRAGMA user_version").fetchone()
        empty = not db.execute("SELECT 1 FROM sqlite_master").fetchone()
        if not empty and application != _APPLICATION:
            raise LedgerError(f"{file}: is another program's database; expected a folder of sortbin's own")
        if version > _FORMAT:
            raise LedgerError(f"{file}: has format {version}, expected at most {_FORMAT}: a newer sortbin wrote it, install that one")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA journal_size_limit = 4194304")
    except BaseException as error:
        db.close()
        if isinstance(error, sqlite3.Error) and code(error) in _DAMAGE:
            raise Damaged(str(error)) from error
        raise
    return db


def is_empty(db: sqlite3.Connection) -> bool:
    """Whether the tables are still to be created."""
    return not db.execute("SELECT 1 FROM sqlite_master").fetchone()


def create(db: sqlite3.Connection, given_out: int) -> None:
    """Create the tables; numbers go on above `given_out`."""
    for statement in _SCHEMA:
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {_APPLICATION}")
    db.execute(f"PRAGMA user_version = {_FORMAT}")
    db.execute("INSERT INTO sqlite_sequence VALUES ('event', ?)", (given_out,))


def store(db: sqlite3.Connection, event: AnyEvent, payload: bytes) -> None:
    """Add a numbered event to the events and the outbox, count it, and end the intent of an item whose journey it ends."""
    db.execute("INSERT INTO event VALUES (?, ?)", (event.seq, payload))
    db.execute("INSERT INTO outbox VALUES (?)", (event.seq,))
    count(db, event)
    if isinstance(event, ItemSorted | ItemRejected | ItemInterrupted):
        db.execute("DELETE FROM intent WHERE item = ?", (event.item,))


def count(db: sqlite3.Connection, event: AnyEvent) -> None:
    """Add an event to the totals of its bin."""
    if (counted := counted_as(event)) is not None:
        db.execute("INSERT INTO total VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1", counted)


def counted_as(event: AnyEvent) -> tuple[str, str] | None:
    """The bin and the kind of total that an event adds to, None for events of no bin."""
    match event:
        case ItemSorted(bin=bin):
            return bin, "sorted"
        case ItemRejected(bin=bin):
            return bin, "rejected"
        case ItemInterrupted(bin=bin):
            return bin, "interrupted"
        case Jam(bin=bin):
            return bin, "jams"
        case _:
            return None


def intend(db: sqlite3.Connection, item: str, to_bin: str, label: str) -> None:
    """Note that an item is about to go to a bin; the newest intent of an item counts."""
    db.execute("INSERT OR REPLACE INTO intent (item, bin, label) VALUES (?, ?, ?)", (item, to_bin, label))


def remove_from_outbox(db: sqlite3.Connection, seqs: Iterable[int]) -> int:
    """Events that were delivered. Returns how many of them were still there."""
    return max(0, db.executemany("DELETE FROM outbox WHERE seq = ?", ((seq,) for seq in seqs)).rowcount)


def note(db: sqlite3.Connection, **values: int | str) -> None:
    """Remember small facts by name."""
    db.executemany("INSERT INTO note VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", values.items())


def notes(db: sqlite3.Connection) -> dict[str, Any]:
    """The facts remembered."""
    return dict(db.execute("SELECT name, value FROM note").fetchall())


def prune(db: sqlite3.Connection, *, keep: int, keep_undelivered: int) -> int:
    """Forget all but the newest `keep` events, save undelivered ones, of which the newest `keep_undelivered` stay.

    Returns how many undelivered ones were given up.
    """
    (undelivered,) = db.execute("SELECT count(*) FROM outbox").fetchone()
    dropped: int = max(0, undelivered - keep_undelivered)
    if dropped:
        db.execute("DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox ORDER BY seq LIMIT ?)", (dropped,))
    oldest_kept = "SELECT seq FROM event ORDER BY seq DESC LIMIT 1 OFFSET ?"
    db.execute(f"DELETE FROM event WHERE seq <= coalesce(({oldest_kept}), 0) AND seq NOT IN (SELECT seq FROM outbox)", (keep,))
    return dropped


def set_aside(file: Path) -> Path:
    """Rename a damaged database and its journal to `ledger-corrupt-<n>.sqlite3`; of those the newest SET_ASIDE stay."""
    kept = {int(found[1]): path for path in file.parent.iterdir() if (found := re.fullmatch(r"ledger-corrupt-(\d+)\.sqlite3", path.name))}
    for n in sorted(kept)[: len(kept) + 1 - SET_ASIDE]:
        for end in ("", "-wal", "-shm"):
            kept[n].with_name(kept[n].name + end).unlink(missing_ok=True)
    aside = file.with_name(f"ledger-corrupt-{max(kept, default=0) + 1}.sqlite3")
    for end in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            file.with_name(file.name + end).rename(aside.with_name(aside.name + end))
    return aside


def save(aside: Path, db: sqlite3.Connection, highest: int) -> int:
    """Copy into `db` what can still be read of a damaged database: events up to number `highest`, and intents. Returns how many events.

    Where its outbox cannot be read, all count as undelivered: better twice than not at all.
    """
    saved = 0
    with contextlib.closing(sqlite3.connect(aside)) as damaged:
        undelivered = _undelivered(damaged)
        for order in ("ASC", "DESC"):
            for seq, payload in _readable(damaged, f"SELECT seq, payload FROM event ORDER BY seq {order}"):
                event = _event(seq, payload)
                if event is None or event.seq > highest:
                    continue
                if not db.execute("INSERT OR IGNORE INTO event VALUES (?, ?)", (seq, payload)).rowcount:
                    break
                saved += 1
                count(db, event)
                if undelivered is None or seq in undelivered:
                    db.execute("INSERT INTO outbox VALUES (?)", (seq,))
        for intent in _readable(damaged, "SELECT item, bin, label FROM intent"):
            if all(isinstance(word, str) for word in intent):
                db.execute("INSERT OR IGNORE INTO intent (item, bin, label) VALUES (?, ?, ?)", intent)
    return saved


def _undelivered(damaged: sqlite3.Connection) -> set[int] | None:
    try:
        return {seq for (seq,) in damaged.execute("SELECT seq FROM outbox")}
    except sqlite3.DatabaseError:
        return None


def _readable(damaged: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query up to the first that cannot be read."""
    with contextlib.suppress(sqlite3.DatabaseError):
        yield from damaged.execute(query)


def _event(seq: object, payload: object) -> AnyEvent | None:
    if not isinstance(payload, bytes):
        return None
    try:
        event = decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return event if event.seq == seq else None


def code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for errors of Python's own."""
    extended: int = getattr(error, "sqlite_errorcode", 0)
    return extended & 0xFF
