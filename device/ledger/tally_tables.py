"""The tables of what the ledger counts: `tally`, `day` and `emptied`."""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec

from device.ledger.tallies import Advance, Amount, Counted, Days, Tallies, Tally

DAYS = 400
"""newest days that stay, of those on which something was counted"""

_KEY = "bin TEXT, kind TEXT, label TEXT, reason TEXT"
TALLY_TABLE = (
    f"CREATE TABLE tally ({_KEY}, n INTEGER NOT NULL, wrong INTEGER NOT NULL, day_n INTEGER NOT NULL, day_wrong INTEGER NOT NULL,"
    " emptied_n INTEGER NOT NULL, emptied_wrong INTEGER NOT NULL, PRIMARY KEY (bin, kind, label, reason)) WITHOUT ROWID"
)
DAY_TABLE = (
    f"CREATE TABLE day (day TEXT, {_KEY}, n INTEGER NOT NULL, wrong INTEGER NOT NULL, PRIMARY KEY (day, bin, kind, label, reason)) WITHOUT ROWID"
)
EMPTIED_TABLE = "CREATE TABLE emptied (bin TEXT PRIMARY KEY, time TEXT NOT NULL) WITHOUT ROWID"

SELECT_TALLIES = "SELECT bin, kind, label, reason, n, wrong, day_n, day_wrong, emptied_n, emptied_wrong FROM tally"
SELECT_DAYS = "SELECT day, bin, kind, label, reason, n, wrong FROM day"
SELECT_EMPTIED = "SELECT bin, time FROM emptied"

_Whole = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_TallyRow = tuple[str, str, str, str, _Whole, _Whole, _Whole, _Whole, _Whole, _Whole]
_DayRow = tuple[str, str, str, str, str, _Whole, _Whole]


def load_tallies(db: sqlite3.Connection, day: str) -> Tallies:
    """Read the tallies. day: the present day, which is a note. Raises msgspec.ValidationError for a row that cannot be."""
    rows = dict(tally_of(row) for row in msgspec.convert(db.execute(SELECT_TALLIES).fetchall(), list[_TallyRow]))
    emptied = dict(msgspec.convert(db.execute(SELECT_EMPTIED).fetchall(), list[tuple[str, str]]))
    return Tallies(rows, emptied, day)


def load_days(db: sqlite3.Connection, tallies: Tallies) -> Days:
    """Read the counts of each day, the present one among them. Raises msgspec.ValidationError for a row that cannot be."""
    days: Days = {}
    for day, name, kind, label, reason, n, wrong in msgspec.convert(db.execute(f"{SELECT_DAYS} ORDER BY day").fetchall(), list[_DayRow]):
        days.setdefault(day, {})[Counted(name, kind, label, reason)] = Amount(n, wrong)
    for counted, tally in tallies.rows.items():
        if tally.today.n:
            today = days.setdefault(tallies.day, {})
            today[counted] = today.get(counted, Amount()).plus(tally.today)
    return days


def tally_of(row: _TallyRow) -> tuple[Counted, Tally]:
    """What a row of SELECT_TALLIES counts, and the count."""
    name, kind, label, reason, n, wrong, day_n, day_wrong, emptied_n, emptied_wrong = row
    return Counted(name, kind, label, reason), Tally(Amount(n, wrong), Amount(day_n, day_wrong), Amount(emptied_n, emptied_wrong))


def write_advance(db: sqlite3.Connection, before: Tallies, advanced: Advance) -> None:
    """Write what has changed; delete days that are too old when one was finished."""
    after = advanced.tallies
    write_tallies(db, ((counted, after.rows[counted]) for counted in advanced.changed))
    write_emptied(db, ((name, time) for name, time in after.emptied.items() if before.emptied.get(name) != time))
    if advanced.finished:
        add_to_days(db, advanced.finished)


def write_tallies(db: sqlite3.Connection, rows: Iterable[tuple[Counted, Tally]]) -> None:
    """Write whole rows."""
    values = ((*counted, *tally.ever, *tally.before_day, *tally.before_emptied) for counted, tally in rows)
    db.executemany("INSERT OR REPLACE INTO tally VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def write_emptied(db: sqlite3.Connection, times: Iterable[tuple[str, str]]) -> None:
    """Write when bins were emptied. times: bin and time."""
    db.executemany("INSERT OR REPLACE INTO emptied VALUES (?, ?)", times)


def add_to_days(db: sqlite3.Connection, days: Days) -> None:
    """Add counts to days, and keep the newest DAYS. By number, not by age: a clock that was once wrong must not delete the right days."""
    db.executemany(
        "INSERT INTO day VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n, wrong = wrong + excluded.wrong", _day_rows(days)
    )
    db.execute("DELETE FROM day WHERE day <= (SELECT day FROM (SELECT DISTINCT day FROM day) ORDER BY day DESC LIMIT 1 OFFSET ?)", (DAYS,))


def _day_rows(days: Days) -> Iterator[tuple[str | int, ...]]:
    for day, amounts in days.items():
        for counted, amount in amounts.items():
            yield day, *counted, *amount
