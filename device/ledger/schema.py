"""The ledger's SQLite file: its tables, its integrity check, and its errors."""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from device.common.errors import SortbinError
from device.events import AnyEvent, BinEmptied, BinFull, Cleared, CommandAccepted, Fault, ItemInterrupted, ItemRejected, ItemSorted, Started, decode
from device.ledger.accepted_commands import COMMAND_TABLE, accept
from device.ledger.full_bins import note_full
from device.ledger.tallies import Tallies, with_older
from device.ledger.tally_tables import DAY_TABLE, EMPTIED_TABLE, TALLY_TABLE, load_tallies

FILE = "ledger.sqlite3"

FORMAT = 2
"""a newer format has other tables: these tables with another number are damage"""
_WRITE_VERSION_AT, _WRITE_VERSIONS = 18, b"\x01\x02"
"""offset and valid values of the write version in an SQLite header; SQLite opens a file with another value read-only"""
_APPLICATION = 0x534F5254
_EVENT_TABLES = (
    "CREATE TABLE event (seq INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL)",
    "CREATE TABLE outbox (seq INTEGER PRIMARY KEY)",
    "CREATE TABLE intent (id INTEGER PRIMARY KEY, item TEXT NOT NULL UNIQUE, bin TEXT NOT NULL, label TEXT NOT NULL)",
)
_NOTE_TABLE = "CREATE TABLE note (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID"
_TOTAL_TABLE_1 = "CREATE TABLE total (bin TEXT, kind TEXT, n INTEGER NOT NULL, PRIMARY KEY (bin, kind)) WITHOUT ROWID"
SCHEMAS = {
    1: (*_EVENT_TABLES, _TOTAL_TABLE_1, _NOTE_TABLE),
    FORMAT: (*_EVENT_TABLES, TALLY_TABLE, _NOTE_TABLE, DAY_TABLE, EMPTIED_TABLE, COMMAND_TABLE),
}
"""the tables of each format, in the order in which they are created: the first pages of all formats belong to the same tables"""
ADDED = {"tally": TALLY_TABLE, "day": DAY_TABLE, "emptied": EMPTIED_TABLE, "command": COMMAND_TABLE}
"""the tables that are anywhere in a ledger of an earlier format once it is migrated; the note `layout` says where"""
_DAMAGE = {
    0,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_NOTADB,
}
"""SQLite's result codes for a damaged database; 0: Python's own errors"""
_DAMAGED = "is damaged: sortbin, while it runs or at its next start, saves what can be read, sets it aside, and goes on"
_REASONS = {
    sqlite3.SQLITE_FULL: "no space left on the disk: free some, and the ledger goes on",
    sqlite3.SQLITE_IOERR: "the disk gave an error: is it full, failing or unplugged?",
    sqlite3.SQLITE_READONLY: "cannot be written: expected a writable disk, and a folder that belongs to the user sortbin runs as",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: expected a folder that belongs to the user sortbin runs as",
    sqlite3.SQLITE_BUSY: "another program holds it: close that one",
}


class LedgerError(SortbinError, OSError):
    """A request that could not be stored or read. The message names the file and what to do; nothing of the request is stored."""

    damaged = False
    """whether the database itself is damaged"""


class Unstorable(LedgerError):
    """An event that no ledger can store because of its content: no retry helps."""


class Damaged(Exception):
    """A database that is damaged, and why, in one line."""


Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Notes(msgspec.Struct, frozen=True):
    """Facts that the ledger stores from run to run."""

    clean: Count
    """1 after a clean stop, 0 while in use"""
    restarts: Count = 0
    crashes: Count = 0
    kernel: str = ""
    """boot id of the kernel at the last start"""
    begun_s: Count | None = None
    """CLOCK_BOOTTIME at the last start, in seconds"""
    dropped: Count = 0
    install: str = ""
    """name of this ledger in its events"""
    full: str = ""
    """see `full_bins`"""
    place: str = ""
    """the folder and machine that it got that name in; elsewhere it is a copy and gets another name"""
    since: str = ""
    """when the ledger began; empty where an earlier version made it and did not note that"""
    day: str = ""
    """the present day of `Tallies`"""
    starts: Count = 0
    """starts since the ledger began"""
    total_restarts: Count = 0
    """those of them whose previous run did not stop cleanly"""


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What the ledger stores besides its events."""

    notes: Notes
    given_out: int
    """highest number that was given out"""
    newest_seq: int
    """highest number that is stored"""
    undelivered: int
    tallies: Tallies
    intents: list[tuple[str, str, str]]
    """item, bin and label of each item on its way"""


@contextlib.contextmanager
def ledger_errors(file: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the operating system into LedgerError."""
    try:
        yield
    except LedgerError:
        raise
    except (sqlite3.Error, UnicodeDecodeError, Damaged) as error:
        damaged = is_damage(error)
        explanation = LedgerError(f"{file}: {_DAMAGED if damaged else _reason(error)}")
        explanation.damaged = damaged
        raise explanation from error
    except OSError as error:
        raise LedgerError(f"{error.filename or file}: {error.strerror}") from error


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit the block as a whole, or nothing of it."""
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
    """A connection in autocommit mode, for any thread, one at a time."""
    return sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=5.0)


def open_reader(file: Path) -> sqlite3.Connection:
    """A connection that cannot write, for any thread, one at a time."""
    reader = connect(file)
    reader.execute("PRAGMA query_only = ON")
    return reader


@contextlib.contextmanager
def raising_damaged() -> Iterator[None]:
    """Turn errors that come from damage into Damaged."""
    try:
        yield
    except Exception as error:
        if not is_damage(error):
            raise
        raise Damaged(" ".join(str(error).split())) from error


def is_damage(error: Exception) -> bool:
    """Whether an error means that the database is damaged, not that it cannot be reached or written for now."""
    match error:
        case Damaged() | UnicodeDecodeError() | msgspec.ValidationError():
            return True
        case sqlite3.ProgrammingError():
            return False
        case sqlite3.DatabaseError():
            return code(error) in _DAMAGE
        case _:
            return False


def open_checked(file: Path) -> sqlite3.Connection:
    """Open or create a database and check every page of it. Raises Damaged, and LedgerError for a file of another program or a newer version."""
    db = connect(file)
    try:
        with raising_damaged():
            _check(db, file)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA journal_size_limit = 4194304")
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection, file: Path) -> None:
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise Damaged(verdict)
    tables = dict(db.execute("SELECT name, sql FROM sqlite_master").fetchall())
    if not tables:
        return
    ((application,), (version,)) = db.execute("PRAGMA application_id").fetchone(), db.execute("PRAGMA user_version").fetchone()
    ours = next((number for number, schema in SCHEMAS.items() if set(schema) <= set(tables.values())), None)
    if application != _APPLICATION and ours is None:
        raise LedgerError(f"{file}: is another program's database; expected a folder of sortbin's own")
    if version > FORMAT and ours is None:
        raise LedgerError(f"{file}: has format {version}, expected at most {FORMAT}: a newer sortbin wrote it, install that one")
    with file.open("rb") as raw:
        raw.seek(_WRITE_VERSION_AT)
        writable = raw.read(1) in _WRITE_VERSIONS
    if application != _APPLICATION or version != ours or not writable:
        raise Damaged("its first page does not say what a ledger's says")


def load_state(db: sqlite3.Connection) -> LedgerState:
    """Read what the ledger stores besides its events. Raises Damaged where it is not plausible."""
    with raising_damaged():
        notes = msgspec.convert(dict(db.execute("SELECT name, value FROM note")), Notes)
        numbers = db.execute(
            "SELECT (SELECT max(seq) FROM sqlite_sequence WHERE name = 'event'), (SELECT coalesce(max(seq), 0) FROM event),"
            " (SELECT count(*) FROM outbox)"
        )
        given_out, newest_seq, undelivered = msgspec.convert(numbers.fetchone(), tuple[Count, Count, Count])
        if newest_seq > given_out:
            raise Damaged(f"event {newest_seq} is above the highest number, {given_out}")
        tallies = load_tallies(db, notes.day) if format_of(db) == FORMAT else with_older(Tallies(), load_totals_1(db))
        intents = msgspec.convert(db.execute("SELECT item, bin, label FROM intent ORDER BY id").fetchall(), list[tuple[str, str, str]])
    return LedgerState(notes, given_out, newest_seq, undelivered, tallies, intents)


def format_of(db: sqlite3.Connection) -> int:
    """The number of the ledger's format."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def load_totals_1(db: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """The totals of a ledger of format 1, by (bin, kind). Raises msgspec.ValidationError for a row that cannot be."""
    totals = msgspec.convert(db.execute("SELECT bin, kind, n FROM total").fetchall(), list[tuple[str, str, Count]])
    return {(name, kind): n for name, kind, n in totals}


def newest_item(db: sqlite3.Connection) -> ItemSorted | ItemRejected | None:
    """The item that was sorted or rejected last."""
    return next((event for event in _newest_first(db) if isinstance(event, ItemSorted | ItemRejected)), None)


def hazard_is_held(db: sqlite3.Connection) -> bool:
    """Whether the last run ended in the fault `hazard`: it was recorded, and neither its end nor a run that was ready to sort came after it."""
    for event in _newest_first(db, "fault", "cleared", "started"):
        if isinstance(event, Fault | Cleared) and event.fault == "hazard":
            return isinstance(event, Fault)
        if isinstance(event, Started):
            return False
    return False


def _newest_first(db: sqlite3.Connection, *types: str) -> Iterator[AnyEvent]:
    """The events of these types, the newest first; of all types where none is named. Those that this version cannot read are skipped."""
    of_types = " OR ".join(["CAST(payload AS TEXT) LIKE ?"] * len(types)) or "TRUE"
    query = f"SELECT CAST(payload AS BLOB) FROM event WHERE {of_types} ORDER BY seq DESC"
    with contextlib.closing(db.execute(query, [f'{{"type":"{name}"%' for name in types])) as rows:
        for (payload,) in rows:
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                yield decode(payload)


def is_empty(db: sqlite3.Connection) -> bool:
    """Whether there are no tables yet."""
    return not db.execute("SELECT 1 FROM sqlite_master").fetchone()


def create(db: sqlite3.Connection, given_out: int) -> None:
    """Create the tables. The first event gets a number above `given_out`."""
    for statement in SCHEMAS[FORMAT]:
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {_APPLICATION}")
    db.execute("INSERT INTO sqlite_sequence VALUES ('event', ?)", (given_out,))
    finish_layout(db)


def finish_layout(db: sqlite3.Connection) -> None:
    """Note the format, and where the tables are that are not in the same place in every ledger: see `salvage`."""
    db.execute(f"PRAGMA user_version = {FORMAT}")
    places = {name: page for name, page in db.execute("SELECT name, rootpage FROM sqlite_master") if name in ADDED}
    note(db, layout=msgspec.json.encode(places).decode())


def store(db: sqlite3.Connection, event: AnyEvent, payload: bytes) -> None:
    """Insert a numbered event into the events and the outbox, delete the intent of an item that it ends, remember a command's id."""
    db.execute("INSERT INTO event VALUES (?, ?)", (event.seq, payload))
    db.execute("INSERT INTO outbox VALUES (?)", (event.seq,))
    if isinstance(event, BinFull | BinEmptied):
        note_full(db, event)
    if isinstance(event, ItemSorted | ItemRejected | ItemInterrupted):
        db.execute("DELETE FROM intent WHERE item = ?", (event.item,))
    if isinstance(event, CommandAccepted):
        accept(db, event.id, event.seq)


def stored_events(db: sqlite3.Connection) -> Iterator[AnyEvent]:
    """All events, the oldest first. Those that this version cannot read are skipped."""
    with contextlib.closing(db.execute("SELECT CAST(payload AS BLOB) FROM event ORDER BY seq")) as rows:
        for (payload,) in rows:
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                yield decode(payload)


def began(db: sqlite3.Connection) -> str:
    """The time of the ledger's first event; empty where that is no longer stored."""
    first = next(stored_events(db), None)
    return first.time if first is not None and first.seq == 1 else ""


def intend(db: sqlite3.Connection, item: str, to_bin: str, label: str) -> None:
    """Insert an intent; it replaces an earlier one of the same item."""
    db.execute("INSERT OR REPLACE INTO intent (item, bin, label) VALUES (?, ?, ?)", (item, to_bin, label))


def remove_from_outbox(db: sqlite3.Connection, seqs: Iterable[int]) -> int:
    """Remove delivered events. Returns how many of them were in the outbox."""
    return max(0, db.executemany("DELETE FROM outbox WHERE seq = ?", ((seq,) for seq in seqs)).rowcount)


def note(db: sqlite3.Connection, **values: int | str) -> None:
    """Store facts by name: see `Notes`."""
    db.executemany("INSERT INTO note VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", values.items())


def _reason(error: Exception) -> str:
    reason = _REASONS.get(code(error)) if isinstance(error, sqlite3.Error) else None
    return reason or str(error)


def code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error of Python's own."""
    extended: int = getattr(error, "sqlite_errorcode", 0)
    return extended & 0xFF
