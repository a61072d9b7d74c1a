"""Saves what a damaged ledger counted: the most that its tables, its events and the daemon's memory say."""

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from device.events import AnyEvent
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


class CountedEvents:
    """Counts saved events."""

    def __init__(self) -> None:
        self.tallies = Tallies()
        self.days: Days = {}
        """finished days"""
        self.first_seq, self.first_time = 0, ""
        """number and time of the first event that was saved"""

    def add(self, events: Iterable[AnyEvent]) -> None:
        """Count events, in the order of their numbers as far as that is possible."""
        found = list(events)
        if found and not self.first_seq:
            self.first_seq, self.first_time = found[0].seq, found[0].time
        advanced = advance(self.tallies, found)
        self.tallies = advanced.tallies
        for day, amounts in advanced.finished.items():
            self.days[day] = _added(self.days.get(day, {}), amounts)

    def end_day(self) -> None:
        """Take the last day for finished."""
        today = {each: tally.today for each, tally in self.tallies.rows.items() if tally.today != NONE}
        if today:
            self.days[self.tallies.day] = _added(self.days.get(self.tallies.day, {}), today)


def save_tallies(damaged: sqlite3.Connection, db: sqlite3.Connection, counted: CountedEvents, known: Tallies, highest: int) -> bool:
    """Write tallies and days. Returns whether the counts are still those since the ledger began, as far as one can see."""
    complete = bool(known.rows) or is_sound(damaged, "tally") or is_sound(damaged, "total")
    day = next((text(value) or "" for (value,) in readable(damaged, "SELECT value FROM note WHERE name = 'day'")), "")
    tallies = most(most(known, counted.tallies), _stored_tallies(damaged, day, highest))
    tallies = with_older(tallies, _stored_totals_1(damaged, highest))
    write_tallies(db, tallies.rows.items())
    write_emptied(db, tallies.emptied.items())
    schema.note(db, day=tallies.day)
    if counted.tallies.day != tallies.day:
        counted.end_day()
    stored = _stored_days(damaged, highest)
    add_to_days(db, {day: _most(stored.get(day, {}), counted.days.get(day, {})) for day in {*stored, *counted.days}})
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
