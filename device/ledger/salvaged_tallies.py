"""Saves what a damaged ledger counted: the most that its tables, its events and the daemon's memory say."""

import re
import sqlite3
from collections.abc import Mapping, Sequence

from device.ledger import schema
from device.ledger.damaged_reads import is_count, is_sound, readable, text, texts
from device.ledger.tallies import KINDS, MILLIONTHS, NONE, Amount, Counted, Days, Tallies, Tally, advance, most, with_older
from device.ledger.tally_tables import (
    SELECT_DAYS,
    SELECT_EMPTIED,
    SELECT_TALLIES,
    add_to_days,
    write_emptied,
    write_tallies,
)


def save_tallies(damaged: sqlite3.Connection, db: sqlite3.Connection, known: Tallies, highest: int) -> bool:
    """Write tallies and days. db: the new ledger, which has the saved events. Returns whether the counts are still those since the ledger began, as
    far as one can see.
    """
    complete = bool(known.rows) or is_sound(damaged, "tally") or is_sound(damaged, "total")
    counted = advance(Tallies(), schema.stored_events(db))
    day = next((text(value) or "" for (value,) in readable(damaged, "SELECT value FROM note WHERE name = 'day'")), "")
    tallies = most(most(known, counted.tallies), _stored_tallies(damaged, day, highest))
    tallies = with_older(tallies, _stored_totals_1(damaged, highest))
    write_tallies(db, tallies.rows.items())
    write_emptied(db, tallies.emptied.items())
    schema.note(db, day=tallies.day)
    finished, stored = dict(counted.finished), _stored_days(damaged, highest)
    if counted.tallies.day != tallies.day:
        today = {each: tally.today for each, tally in counted.tallies.rows.items() if tally.today != NONE}
        finished[counted.tallies.day] = _added(finished.get(counted.tallies.day, {}), today)
    add_to_days(db, {on: _most(stored.get(on, {}), finished.get(on, {})) for on in {*stored, *finished}})
    return complete


def _stored_tallies(damaged: sqlite3.Connection, day: str, highest: int) -> Tallies:
    rows = {}
    for row in readable(damaged, SELECT_TALLIES):
        key, amounts = _key(row[:4]), [_amount(row[at : at + 2], highest) for at in (4, 6, 8)]
        if key is not None and None not in amounts:
            rows[key] = Tally(*(amount for amount in amounts if amount is not None))
    emptied = {pair[0]: pair[1] for row in readable(damaged, SELECT_EMPTIED) if (pair := texts(row)) is not None}
    return Tallies(rows, emptied, day)


def _stored_days(damaged: sqlite3.Connection, highest: int) -> Days:
    days: Days = {}
    for day, *row in readable(damaged, SELECT_DAYS):
        key, amount, on = _key(row[:4]), _amount(row[4:], highest), text(day)
        if key is not None and amount is not None and on is not None and re.fullmatch(r"\d{4}-\d\d-\d\d", on):
            days.setdefault(on, {})[key] = amount
    return days


def _stored_totals_1(damaged: sqlite3.Connection, highest: int) -> dict[tuple[str, str], int]:
    """Totals of a ledger of format 1; the events in it are only the newest of them."""
    totals = {}
    for name, kind, n in readable(damaged, "SELECT bin, kind, n FROM total"):
        key, amount = _key([name, kind, b"", b""]), _amount([n, 0], highest)
        if key is not None and amount is not None:
            totals[key.bin, key.kind] = amount.n
    return totals


def _key(values: Sequence[object]) -> Counted | None:
    words = texts(values)
    return Counted(*words) if words is not None and words[1] in KINDS else None


def _amount(values: Sequence[object], highest: int) -> Amount | None:
    n, wrong_millionths = values
    return Amount(n, wrong_millionths) if is_count(n, highest) and is_count(wrong_millionths, n * MILLIONTHS) else None


def _added(one: Mapping[Counted, Amount], other: Mapping[Counted, Amount]) -> dict[Counted, Amount]:
    return {each: one.get(each, NONE).plus(other.get(each, NONE)) for each in {*one, *other}}


def _most(one: Mapping[Counted, Amount], other: Mapping[Counted, Amount]) -> dict[Counted, Amount]:
    return {each: one.get(each, NONE).most(other.get(each, NONE)) for each in {*one, *other}}
