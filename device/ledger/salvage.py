"""Makes a new ledger from what can be read of a damaged one. A power cut at any moment loses nothing.

The damaged database is not touched until everything that can be read of it is on disk as `ledger.saved.sqlite3`. Then `swap` renames both. While
`ledger.saved.sqlite3` is there, `ledger.sqlite3` is the damaged one, and the next start finishes the swap first.
"""

import contextlib
import itertools
import re
import shutil
import sqlite3
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from device.common.files import sync
from device.events import AnyEvent, decode
from device.ledger import schema

SET_ASIDE = 3
"""most damaged databases that stay in the folder"""

_NEW, _SAVED, _COPY = "ledger.new.sqlite3", "ledger.saved.sqlite3", "ledger.copy.sqlite3"
_JOURNALS = ("-wal", "-shm", "-journal")
_PAGE_SIZE, _SIZE_VALID_FOR = 4096, slice(92, 96)
"""SQLite's page size, and the bytes of the header that say whether its database size is valid; where not, SQLite uses the file size"""
_CHUNK = 1000
"""rows copied at once"""
_MIN_RANGE = 4
"""a range of fewer unreadable numbers is not searched further"""
_MAX_EMPTY_RANGES = 2000
"""the search ends after so many ranges in a row without a readable event"""
_ERRORS = (sqlite3.DatabaseError, UnicodeDecodeError, schema.Damaged)
"""what reading raises; UnicodeDecodeError where SQLite's message quotes damaged text"""
_UNREADABLE = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}


@dataclass(frozen=True, slots=True)
class LastKnown:
    """What is known of a damaged ledger from elsewhere: its highest number, and lower bounds of its totals and of dropped events."""

    highest: int
    counts: Mapping[tuple[str, str], int]
    dropped: int


def save(file: Path, known: LastKnown) -> int:
    """Save what can be read of a damaged database to `ledger.saved.sqlite3`, as a sound database. Returns the number of events.

    Saves events up to the highest number, totals and intents. Where the outbox is damaged, all events count as undelivered: publishing twice is
    better than not at all. Raises sqlite3.Error and OSError where that cannot be written, and then nothing has changed.
    """
    new, copy = file.with_name(_NEW), file.with_name(_COPY)
    _remove(new)
    _remove(copy)
    try:
        with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as db, contextlib.closing(_open_readable(file, copy)) as damaged:
            db.execute("PRAGMA journal_mode = OFF")
            db.execute("PRAGMA synchronous = OFF")
            with schema.transaction(db):
                schema.create(db, given_out=known.highest)
                schema.note(db, clean=0, dropped=max(known.dropped, _dropped(damaged, known.highest)), **_identity(damaged))
                saved = _save_events(damaged, db, known)
                _save_intents(damaged, db)
        sync(new)
    except BaseException:
        _remove(new)
        raise
    finally:
        _remove(copy)
    new.replace(file.with_name(_SAVED))
    sync(file.parent)
    return saved


def swap(file: Path) -> Path | None:
    """Rename the damaged database to `ledger-corrupt-<n>.sqlite3` and the saved one to its place. Only the newest SET_ASIDE damaged ones stay.

    Returns the damaged one's path, or None where nothing was saved. After a kill at any moment, the next call finishes. Raises OSError.
    """
    saved = file.with_name(_SAVED)
    if not saved.exists():
        return None
    aside = _set_aside(file)
    sync(file.parent)
    saved.replace(file)
    sync(file.parent)
    damaged = _damaged_ones(file.parent)
    for n in sorted(damaged)[:-SET_ASIDE]:
        _remove(damaged[n])
    return aside


def _set_aside(file: Path) -> Path:
    """Rename a database. Its journals first: a new database must not find them."""
    number = max(_damaged_ones(file.parent), default=0) + file.exists()
    aside = file.with_name(f"ledger-corrupt-{number}.sqlite3")
    for end in (*_JOURNALS, ""):
        with contextlib.suppress(FileNotFoundError):
            file.with_name(file.name + end).rename(aside.with_name(aside.name + end))
    return aside


def _damaged_ones(folder: Path) -> dict[int, Path]:
    return {int(found[1]): path for path in folder.iterdir() if (found := re.fullmatch(r"ledger-corrupt-(\d+)\.sqlite3", path.name))}


def _remove(database: Path) -> None:
    for end in (*_JOURNALS, ""):
        database.with_name(database.name + end).unlink(missing_ok=True)


def _open_readable(file: Path, copy: Path) -> sqlite3.Connection:
    """Open a damaged database. Where its first page is damaged, open a copy with a sound one: without it SQLite reads no page.

    The first page says where the tables are, which is the same in every ledger.
    """
    damaged = _open_read_only(file)
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as sound:
        sound.text_factory = bytes
        schema.create(sound, given_out=0)
        if _layout(damaged) == _layout(sound):
            return damaged
        first_page = bytearray(sound.serialize()[:_PAGE_SIZE])
    damaged.close()
    first_page[_SIZE_VALID_FOR] = b"\xff" * 4
    for end in ("-wal", ""):
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(file.with_name(file.name + end), copy.with_name(copy.name + end))
    with copy.open("r+b") as pages:
        pages.write(first_page)
    return _open_read_only(copy)


def _layout(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return list(_readable(db, "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master ORDER BY name"))


def _open_read_only(file: Path) -> sqlite3.Connection:
    """Open read-only: a connection that may write would write the journal back and delete it when it is closed."""
    damaged = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
    damaged.text_factory = bytes
    return damaged


def _save_events(damaged: sqlite3.Connection, db: sqlite3.Connection, known: LastKnown) -> int:
    undelivered = _undelivered(damaged)
    counted: Counter[tuple[str, str]] = Counter()
    rows, saved = _events(damaged, known.highest), 0
    while chunk := list(itertools.islice(rows, _CHUNK)):
        saved += db.executemany("INSERT OR IGNORE INTO event VALUES (?, ?)", ((event.seq, payload) for event, payload in chunk)).rowcount
        waiting = ((event.seq,) for event, _ in chunk if undelivered is None or event.seq in undelivered)
        db.executemany("INSERT OR IGNORE INTO outbox VALUES (?)", waiting)
        counted.update(counted_as for event, _ in chunk if (counted_as := schema.counted_as(event)) is not None)
    totals = _totals(damaged, known.highest) | counted | Counter(known.counts)
    db.executemany("INSERT INTO total VALUES (?, ?, ?)", ((name, kind, n) for (name, kind), n in totals.items()))
    return saved


def _save_intents(damaged: sqlite3.Connection, db: sqlite3.Connection) -> None:
    for row in _readable(damaged, "SELECT item, bin, label FROM intent"):
        words = [_text(value) for value in row]
        if None not in words:
            db.execute("INSERT OR IGNORE INTO intent (item, bin, label) VALUES (?, ?, ?)", words)


def _totals(damaged: sqlite3.Connection, highest: int) -> Counter[tuple[str, str]]:
    """Totals since the ledger began; the events in the database are only the newest of them."""
    totals: Counter[tuple[str, str]] = Counter()
    for name, kind, n in _readable(damaged, "SELECT bin, kind, n FROM total"):
        to_bin, known_kind = _text(name), _text(kind)
        if to_bin is not None and known_kind in schema.KINDS and _plausible(n, highest):
            totals[to_bin, known_kind] = n
    return totals


def _dropped(damaged: sqlite3.Connection, highest: int) -> int:
    return max((n for (n,) in _readable(damaged, "SELECT value FROM note WHERE name = 'dropped'") if _plausible(n, highest)), default=0)


def _identity(damaged: sqlite3.Connection) -> dict[str, str]:
    """The ledger's name in its events, and where it got that name."""
    notes = {_text(name): _text(value) for name, value in _readable(damaged, "SELECT name, value FROM note WHERE name IN ('install', 'place')")}
    return {name: text for name, text in notes.items() if name and text}


def _undelivered(damaged: sqlite3.Connection) -> set[int] | None:
    """The numbers in the outbox; None where the outbox is damaged."""
    if [verdict for (verdict,) in _readable(damaged, "PRAGMA quick_check('outbox')")] != [b"ok"]:
        return None
    return {seq for (seq,) in _readable(damaged, "SELECT seq FROM outbox")}


def _events(damaged: sqlite3.Connection, highest: int) -> Iterator[tuple[AnyEvent, bytes]]:
    """The readable events from 1 to `highest`. At damage, the range is split in halves and both are searched, wide ranges first."""
    query = "SELECT seq, CAST(payload AS BLOB) FROM event WHERE seq BETWEEN ? AND ? ORDER BY seq"
    ranges = deque([(1, highest)])
    empty_ranges = 0
    while ranges and empty_ranges < _MAX_EMPTY_RANGES:
        low, high = ranges.popleft()
        empty_ranges += 1
        try:
            for seq, payload in damaged.execute(query, (low, high)):
                if not low <= seq <= high:
                    raise schema.Damaged("numbers out of order")
                low, empty_ranges = seq + 1, 0
                if (event := _event(seq, payload)) is not None:
                    yield event, payload
        except _ERRORS as error:
            _ignore_damage(error)
            if high - low >= _MIN_RANGE:
                middle = (low + high) // 2
                ranges += [(low, middle), (middle + 1, high)]


def _event(seq: int, payload: object) -> AnyEvent | None:
    if not isinstance(payload, bytes):
        return None
    try:
        event = decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return event if event.seq == seq else None


def _readable(damaged: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query up to the first that cannot be read."""
    try:
        yield from damaged.execute(query)
    except _ERRORS as error:
        _ignore_damage(error)


def _ignore_damage(error: Exception) -> None:
    """Ignore an error that means an unreadable page. Raise any other again: a lock, a full disk."""
    if not schema.is_damage(error) and getattr(error, "sqlite_errorcode", 0) not in _UNREADABLE:
        raise error


def _text(value: object) -> str | None:
    try:
        return value.decode() if isinstance(value, bytes) else None
    except UnicodeDecodeError:
        return None


def _plausible(n: object, highest: int) -> bool:
    return isinstance(n, int) and 0 <= n <= highest
