"""Reads what can be read of a damaged database."""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, TypeGuard

from device.ledger import schema

ERRORS = (sqlite3.DatabaseError, UnicodeDecodeError, schema.Damaged)
"""what reading raises; UnicodeDecodeError where SQLite's message quotes damaged text"""
_UNREADABLE = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}


def readable(damaged: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query up to the first that cannot be read; none where there is no such table."""
    try:
        yield from damaged.execute(query)
    except ERRORS as error:
        ignore_damage(error)


def is_sound(damaged: sqlite3.Connection, table: str) -> bool:
    """Whether no page of a table is damaged."""
    return [verdict for (verdict,) in readable(damaged, f"PRAGMA quick_check('{table}')")] == [b"ok"]


def ignore_damage(error: Exception) -> None:
    """Ignore an error that means an unreadable page. Raise any other again: a lock, a full disk."""
    if not schema.is_damage(error) and getattr(error, "sqlite_errorcode", 0) not in _UNREADABLE:
        raise error


def text(value: object) -> str | None:
    """The text that was read as bytes; None where it is none."""
    try:
        return value.decode() if isinstance(value, bytes) else None
    except UnicodeDecodeError:
        return None


def texts(values: Iterable[object]) -> list[str] | None:
    """All of them as text; None where one is none."""
    found = [text(value) for value in values]
    return None if None in found else [each for each in found if each is not None]


def is_count(n: object, most: int) -> TypeGuard[int]:
    """Whether a value can be a count of at most `most`."""
    return isinstance(n, int) and 0 <= n <= most
