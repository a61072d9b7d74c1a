"""Which bins are full, noted with the events that say so: the next run goes on with it until a sensor has been read."""

import sqlite3

from device.events import BinEmptied, BinFull

NOTE = "full"
"""name of the note: the bins, with spaces between, which names of bins do not have"""


def note_full(db: sqlite3.Connection, event: BinFull | BinEmptied) -> None:
    """Add the bin of an event to the note, or take it out."""
    found = db.execute("SELECT value FROM note WHERE name = ?", (NOTE,)).fetchone()
    full = read_full(found[0] if found else "") - {event.bin}
    if isinstance(event, BinFull):
        full |= {event.bin}
    db.execute("INSERT INTO note VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (NOTE, " ".join(sorted(full))))


def read_full(note: str) -> frozenset[str]:
    """The bins that the note names."""
    return frozenset(note.split())
