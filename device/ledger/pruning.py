"""Which events are deleted so that the ledger stays small. The work grows with what is deleted, not with what waits for a broker."""

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

from device.ledger.schema import Damaged


@dataclass(frozen=True, slots=True)
class Retention:
    """How many events stay in the database."""

    keep: int
    """newest events that stay readable after they were delivered"""
    keep_undelivered: int
    """most events that wait for a broker; beyond it the oldest are dropped"""


@dataclass(frozen=True, slots=True)
class Pruned:
    """How far a database is pruned. A new one of these knows nothing: the first `prune` after it goes through all events."""

    up_to: int = 0
    """events up to this number are not among the newest `keep`: those that are left of them wait for a broker"""
    above: int = 0
    """how many events there are from there to `newest`"""
    newest: int = 0
    """highest number when that was counted"""


def delete_delivered(db: sqlite3.Connection, pruned: Pruned, delivered: Collection[int]) -> None:
    """Delete events that have just left the outbox and are not among the newest `keep`."""
    db.executemany("DELETE FROM event WHERE seq = ?", ((seq,) for seq in delivered if seq <= pruned.up_to))


def prune(db: sqlite3.Connection, pruned: Pruned, retention: Retention, *, undelivered: int) -> tuple[int, Pruned]:
    """Delete delivered events except the newest `keep`, and undelivered ones except the newest `keep_undelivered`.

    undelivered: the number of events in the outbox. Returns how many of them were dropped, and how far the database is pruned now. Raises Damaged
    where fewer events are there than were counted.
    """
    dropped = max(0, undelivered - retention.keep_undelivered)
    if dropped:
        newest_dropped = _nth(db, "outbox", dropped, above=0)
        db.execute("DELETE FROM outbox WHERE seq <= ?", (newest_dropped,))
        # Up to both numbers only events that waited were left.
        db.execute("DELETE FROM event WHERE seq <= ?", (min(newest_dropped, pruned.up_to),))
    added, newest = db.execute("SELECT count(*), coalesce(max(seq), 0) FROM event WHERE seq > ?", (pruned.newest,)).fetchone()
    above = pruned.above + added
    beyond = above - retention.keep
    newest = max(newest, pruned.newest)
    if beyond <= 0:
        return dropped, Pruned(pruned.up_to, above, newest)
    up_to = _nth(db, "event", beyond, above=pruned.up_to)
    delivered = "seq NOT IN (SELECT seq FROM outbox)"
    db.execute(f"DELETE FROM event WHERE seq > ? AND seq <= ? AND {delivered}", (pruned.up_to, up_to))
    return dropped, Pruned(up_to, retention.keep, newest)


def _nth(db: sqlite3.Connection, table: str, n: int, *, above: int) -> int:
    """The n-th of the table's numbers above one, from 1."""
    row = db.execute(f"SELECT seq FROM {table} WHERE seq > ? ORDER BY seq LIMIT 1 OFFSET ?", (above, n - 1)).fetchone()
    if row is None:
        raise Damaged(f"fewer rows are in the table {table} than were written")
    return int(row[0])
