"""Brings a ledger of format 1 to the present format, within the transaction of the first start.

Its totals stay. What it did not count, labels, reasons, days and contamination, is counted from the events that are still stored.
"""

import sqlite3

from device.events import Started
from device.ledger import schema
from device.ledger.tallies import Tallies, advance, with_older
from device.ledger.tally_tables import add_to_days, write_emptied, write_tallies


def migrate(db: sqlite3.Connection) -> None:
    """Make the tables of the present format from those of format 1. Call it in a transaction; raises what damage raises."""
    totals = schema.load_totals_1(db)
    db.execute("DROP TABLE total")
    for statement in schema.ADDED.values():
        db.execute(statement)
    advanced = advance(Tallies(), schema.stored_events(db))
    tallies = with_older(advanced.tallies, totals)
    write_tallies(db, tallies.rows.items())
    write_emptied(db, tallies.emptied.items())
    add_to_days(db, advanced.finished)
    unclean = sum(isinstance(event, Started) and event.restarts > 0 for event in schema.stored_events(db))
    schema.note(db, day=tallies.day, since=schema.began(db), starts=1, total_restarts=unclean)
    schema.finish_layout(db)
