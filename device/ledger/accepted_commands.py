"""The table of accepted commands and their answers: what makes a command that is sent again be done once."""

import sqlite3
from collections.abc import Iterable

import msgspec

COMMANDS = 1000
"""newest ids that stay"""

COMMAND_TABLE = "CREATE TABLE command (id TEXT PRIMARY KEY, seq INTEGER NOT NULL, ok INTEGER, code TEXT, message TEXT) WITHOUT ROWID"

SELECT_COMMANDS = "SELECT id, seq, ok, code, message FROM command ORDER BY seq"


class CommandAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a command. id: as its sender gave it; code: a short name that never changes; message: one line for a person."""

    id: str
    ok: bool
    code: str
    message: str


def interrupted(command_id: str) -> CommandAnswer:
    """The answer to a command that was accepted and never answered: whether it was carried out is unknown."""
    message = "was accepted before, and whether it was carried out is not known: sortbin stopped meanwhile"
    return CommandAnswer(id=command_id, ok=False, code="interrupted", message=message)


def running(command_id: str) -> CommandAnswer:
    """The answer to a command that is being carried out."""
    return CommandAnswer(id=command_id, ok=False, code="running", message="was accepted before, and is being carried out")


def accept(db: sqlite3.Connection, command_id: str, seq: int) -> None:
    """Insert an id that is not there yet, with the number of its event, and forget the oldest ones."""
    db.execute("INSERT OR IGNORE INTO command (id, seq) VALUES (?, ?)", (command_id, seq))
    db.execute("DELETE FROM command WHERE seq <= (SELECT seq FROM command ORDER BY seq DESC LIMIT 1 OFFSET ?)", (COMMANDS,))


def answer(db: sqlite3.Connection, answers: Iterable[CommandAnswer]) -> None:
    """Store answers to accepted commands. The first answer to a command stays; an id that was not accepted, or is forgotten, changes nothing."""
    rows = ((each.ok, each.code, each.message, each.id) for each in answers)
    db.executemany("UPDATE command SET ok = ?, code = ?, message = ? WHERE id = ? AND code IS NULL", rows)


def answer_before(db: sqlite3.Connection, command_id: str) -> CommandAnswer | None:
    """The stored answer to a command that was accepted before, or that it was interrupted; None for a new id."""
    row = db.execute("SELECT ok, code, message FROM command WHERE id = ?", (command_id,)).fetchone()
    if row is None:
        return None
    ok, code, message = row
    return interrupted(command_id) if code is None else CommandAnswer(id=command_id, ok=bool(ok), code=str(code), message=str(message))
