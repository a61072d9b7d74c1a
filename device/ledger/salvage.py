"""Makes a new ledger from what can be read of a damaged one. A power cut at any moment loses nothing.

The damaged database is not touched until everything that can be read of it is on disk as `ledger.saved.sqlite3`. Then `swap` renames both. While
`ledger.saved.sqlite3` is there, `ledger.sqlite3` is the damaged one, and the next start finishes the swap first.
"""

import contextlib
import itertools
import re
import shutil
import sqlite3
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from device.common.files import sync
from device.events import AnyEvent, CommandAccepted, decode
from device.ledger import schema
from device.ledger.accepted_commands import SELECT_COMMANDS, CommandAnswer, accept
from device.ledger.accepted_commands import answer as answer_commands
from device.ledger.damaged_reads import ERRORS, ignore_damage, is_count, is_sound, readable, text, texts
from device.ledger.salvaged_tallies import save_tallies
from device.ledger.tallies import Tallies

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


@dataclass(frozen=True, slots=True)
class LastKnown:
    """What is known of a damaged ledger from elsewhere: its highest number, and lower bounds of its totals and of dropped events."""

    highest: int
    tallies: Tallies = field(default_factory=Tallies)
    dropped: int = 0
    since: str = ""
    now: str = ""
    """the present time, RFC 3339: where neither totals nor events are left, the ledger begins anew"""


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
                notes = _notes(damaged, known.highest)
                saved = _save_events(damaged, db, known.highest)
                since = known.since or notes.get("since") or schema.began(db)
                if not save_tallies(damaged, db, known.tallies, known.highest):
                    since = next((event.time for event in schema.stored_events(db)), known.now)
                notes |= {"since": since, "dropped": max(known.dropped, int(notes.get("dropped", 0)))}
                schema.note(db, clean=0, **notes)
                _save_intents(damaged, db)
                _save_commands(damaged, db, known.highest)
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

    The first page says where the tables are. Most are in the same place in every ledger; for the others the note `layout` says where.
    """
    damaged = _open_read_only(file)
    layout = _layout(damaged)
    if layout in (_first_page(schema.FORMAT, _places(damaged) or _places_in(layout)).layout, _first_page(1).layout):
        return damaged
    damaged.close()
    for end in ("-wal", ""):
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(file.with_name(file.name + end), copy.with_name(copy.name + end))
    _replace_first_page(copy, _first_page(schema.FORMAT))
    with contextlib.closing(_open_read_only(copy)) as probed:
        places = _places(probed)
    if places is None:
        _replace_first_page(copy, _first_page(1))
    else:
        # SQLite reads nothing at all where a table is said to begin beyond the end of a file that was cut off.
        last_page = copy.stat().st_size // _PAGE_SIZE
        _replace_first_page(copy, _first_page(schema.FORMAT, {table: page for table, page in places.items() if page <= last_page}))
    return _open_read_only(copy)


class _FirstPage(NamedTuple):
    content: bytes
    layout: list[tuple[Any, ...]]


def _first_page(number: int, places: Mapping[str, int] | None = None) -> _FirstPage:
    """The first page of an empty ledger of a format. places: root pages that differ from those of a new ledger, by table."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as sound:
        sound.text_factory = bytes
        for statement in schema.SCHEMAS[number]:
            sound.execute(statement)
        sound.execute("PRAGMA writable_schema = ON")
        for table, page in (places or {}).items():
            sound.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = ?", (page, table))
        return _FirstPage(sound.serialize()[:_PAGE_SIZE], _layout(sound))


def _replace_first_page(database: Path, page: _FirstPage) -> None:
    content = bytearray(page.content)
    content[_SIZE_VALID_FOR] = b"\xff" * 4
    with database.open("r+b") as pages:
        pages.write(content)


def _layout(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return list(readable(db, "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master ORDER BY name"))


def _places_in(layout: list[tuple[Any, ...]]) -> dict[str, int]:
    """Root pages of the tables that may be anywhere, as the first page says."""
    return {table: page for _, name, _, page, _ in layout if (table := text(name)) in schema.ADDED and isinstance(page, int)}


def _places(db: sqlite3.Connection) -> dict[str, int] | None:
    """Root pages of the tables that may be anywhere, as the note says; None where it cannot be read, and in a ledger of format 1."""
    for (value,) in readable(db, "SELECT value FROM note WHERE name = 'layout'"):
        with contextlib.suppress(msgspec.MsgspecError):
            places = msgspec.json.decode(text(value) or "", type=dict[str, Annotated[int, msgspec.Meta(ge=2, le=2**31)]])
            if set(places) == set(schema.ADDED):
                return places
    return None


def _open_read_only(file: Path) -> sqlite3.Connection:
    """Open read-only: a connection that may write would write the journal back and delete it when it is closed."""
    damaged = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
    damaged.text_factory = bytes
    return damaged


def _save_events(damaged: sqlite3.Connection, db: sqlite3.Connection, highest: int) -> int:
    undelivered = _undelivered(damaged)
    rows, saved = _events(damaged, highest), 0
    while chunk := list(itertools.islice(rows, _CHUNK)):
        saved += db.executemany("INSERT OR IGNORE INTO event VALUES (?, ?)", ((event.seq, payload) for event, payload in chunk)).rowcount
        waiting = ((event.seq,) for event, _ in chunk if undelivered is None or event.seq in undelivered)
        db.executemany("INSERT OR IGNORE INTO outbox VALUES (?)", waiting)
        for event, _ in chunk:
            if isinstance(event, CommandAccepted):
                accept(db, event.id, event.seq)
    return saved


def _save_intents(damaged: sqlite3.Connection, db: sqlite3.Connection) -> None:
    for row in readable(damaged, "SELECT item, bin, label FROM intent"):
        if (words := texts(row)) is not None:
            db.execute("INSERT OR IGNORE INTO intent (item, bin, label) VALUES (?, ?, ?)", words)


def _save_commands(damaged: sqlite3.Connection, db: sqlite3.Connection, highest: int) -> None:
    """Save the ids of accepted commands with their answers; those in saved events are there already."""
    for command_id, seq, ok, *answer in readable(damaged, SELECT_COMMANDS):
        name, words = text(command_id), texts(answer)
        if name is not None and is_count(seq, highest):
            accept(db, name, seq)
            if words is not None:
                answer_commands(db, [CommandAnswer(id=name, ok=bool(ok), code=words[0], message=words[1])])


def _notes(damaged: sqlite3.Connection, highest: int) -> dict[str, int | str]:
    """The ledger's name, where it got that, when it began, which bins are full, and how many events were dropped and starts made."""
    notes = dict(readable(damaged, "SELECT name, value FROM note"))
    words = {name: text(notes.get(name.encode())) for name in ("install", "place", "since", "full")}
    counts = {name: notes.get(name.encode()) for name in ("dropped", "starts", "total_restarts")}
    return {name: word for name, word in words.items() if word is not None} | {name: n for name, n in counts.items() if is_count(n, highest)}


def _undelivered(damaged: sqlite3.Connection) -> set[int] | None:
    """The numbers in the outbox; None where the outbox is damaged."""
    if not is_sound(damaged, "outbox"):
        return None
    return {seq for (seq,) in readable(damaged, "SELECT seq FROM outbox")}


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
        except ERRORS as error:
            ignore_damage(error)
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
