"""Records of each picture in an SQLite file: they survive a kill, and need little memory."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from converter.data.manifest import RECORDS_FILE
from device.common.arrays import Float32Array
from training.prepare.inspection import Inspected
from training.prepare.options import PrepareError

SCHEMA = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS picture (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    tag TEXT NOT NULL,
    round INTEGER NOT NULL,
    brought TEXT NOT NULL DEFAULT '',
    inspected TEXT NOT NULL DEFAULT '',
    sha256 TEXT, pixels BLOB, width INTEGER, height INTEGER, fault TEXT, reason TEXT, hash BLOB, moments BLOB, transparent INTEGER
);
CREATE TABLE IF NOT EXISTS thumbnail (id INTEGER PRIMARY KEY, pixels BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS mask (id INTEGER PRIMARY KEY, made_of TEXT NOT NULL, origin TEXT NOT NULL, area REAL NOT NULL);
CREATE TABLE IF NOT EXISTS embedding (id INTEGER PRIMARY KEY, made_of TEXT NOT NULL, vector BLOB NOT NULL);
"""

READER = "2"
"""version of how pictures are read and what is recorded; records of another version are made again"""

PAGE = 64
"""pictures that are gone through before what was found about them is written down"""


class PendingPicture(NamedTuple):
    """A picture that still needs a step."""

    id: int
    path: str
    tag: str


class PictureRecord(NamedTuple):
    """One inspected picture. Fields as in `Inspected`; pixels is the first half of that hash, hash is None without contrast."""

    id: int
    path: str
    sha256: str
    pixels: bytes
    width: int
    height: int
    fault: str
    reason: str
    hash: bytes | None
    moments: bytes
    transparent: int


class MaskRecord(NamedTuple):
    """The mask of a picture. origin: how it was made, `none` where there is none; area: its share of the picture, 0..1."""

    made_of: str
    origin: str
    area: float


class Records:
    """The records of one data set, for one process at a time. Paths are ordered by code points everywhere.

    Raises PrepareError when another process has them open, when they are damaged, or when the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / RECORDS_FILE
        with self._explained(), contextlib.ExitStack() as stack:
            database = stack.enter_context(contextlib.closing(sqlite3.connect(self._file, timeout=0, isolation_level=None)))
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.executescript(SCHEMA)
            database.execute("BEGIN IMMEDIATE")
            _bring_up_to_date(database)
            stack.pop_all()
        self._database = database

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._database.execute("COMMIT")
        self._database.close()

    def commit(self) -> None:
        """Write down what was changed, so that a kill does not undo it."""
        self._execute("COMMIT")
        self._execute("BEGIN IMMEDIATE")

    def about(self, key: str) -> str:
        """The value that `note` stored for this key; empty when there is none."""
        row = self._execute("SELECT value FROM about WHERE key = ?", key).fetchone()
        return str(row[0]) if row else ""

    def note(self, key: str, value: str) -> None:
        self._execute("INSERT OR REPLACE INTO about VALUES (?, ?)", key, value)

    def see(self, path: str, tag: str, round_number: int) -> str:
        """Record that the source has this picture. Returns the tag for which it was downloaded, empty when it was not."""
        row = self._execute(
            "INSERT INTO picture (path, tag, round) VALUES (?, ?, ?)"
            " ON CONFLICT (path) DO UPDATE SET tag = excluded.tag, round = excluded.round RETURNING brought",
            path,
            tag,
            round_number,
        ).fetchone()
        return str(row[0])

    def brought(self, path: str, tag: str) -> None:
        """Record that the picture with this tag was downloaded."""
        self._execute("UPDATE picture SET brought = ? WHERE path = ?", tag, path)

    def forget_unseen(self, round_number: int) -> None:
        """Drop pictures that the source no longer has."""
        self._execute("DELETE FROM picture WHERE round <> ?", round_number)

    def drop(self, paths: Sequence[str]) -> None:
        """Drop pictures."""
        for path in paths:
            self._execute("DELETE FROM picture WHERE path = ?", path)

    def paths(self) -> Iterator[str]:
        """The path of every picture, ordered."""
        for row in self._execute("SELECT path FROM picture ORDER BY path"):
            yield row[0]

    def count(self) -> int:
        """How many pictures there are."""
        return int(self._execute("SELECT count(*) FROM picture").fetchone()[0])

    def count_inspected(self) -> int:
        """How many are inspected as they are now."""
        return int(self._execute("SELECT count(*) FROM picture WHERE inspected = tag").fetchone()[0])

    def uninspected(self) -> Iterator[list[PendingPicture]]:
        """The pictures not inspected as they are now, a page at a time."""
        yield from self._pages("SELECT id, path, tag FROM picture WHERE inspected <> tag AND id > ? ORDER BY id LIMIT ?")

    def store(self, picture: PendingPicture, found: Inspected) -> None:
        """Store the result of an inspection."""
        self._execute(
            "UPDATE picture SET inspected = ?, sha256 = ?, pixels = ?, width = ?, height = ?, fault = ?, reason = ?, hash = ?, moments = ?,"
            " transparent = ?"
            " WHERE id = ?",
            picture.tag,
            found.sha256,
            found.pixels[:16],
            found.width,
            found.height,
            found.fault,
            found.reason,
            None if found.hash is None else found.hash.to_bytes(8),
            np.array(found.moments, "<f8").tobytes(),
            found.transparent,
            picture.id,
        )
        self._execute("INSERT OR REPLACE INTO thumbnail VALUES (?, ?)", picture.id, found.thumbnail)

    def known(self) -> Iterator[PictureRecord]:
        """Every inspected picture, ordered by path."""
        for row in self._execute(f"SELECT {', '.join(PictureRecord._fields)} FROM picture ORDER BY path"):
            yield PictureRecord(*row)

    def path(self, picture: int) -> str:
        """The path of the picture with this id."""
        return str(self._execute("SELECT path FROM picture WHERE id = ?", picture).fetchone()[0])

    def thumbnail(self, picture: int) -> bytes:
        """The thumbnail of the picture with this id."""
        return bytes(self._execute("SELECT pixels FROM thumbnail WHERE id = ?", picture).fetchone()[0])

    def unembedded(self, bundle: str) -> Iterator[list[PendingPicture]]:
        """The decodable pictures without an embedding of this bundle, a page at a time."""
        yield from self._pages(
            "SELECT picture.id, path, ?1 || ' ' || inspected FROM picture LEFT JOIN embedding ON embedding.id = picture.id"
            " WHERE width > 0 AND made_of IS NOT ?1 || ' ' || inspected AND picture.id > ?2 ORDER BY picture.id LIMIT ?3",
            bundle,
        )

    def embed(self, picture: PendingPicture, embedding: Float32Array) -> None:
        """Note a picture's embedding, as float16."""
        self._execute("INSERT OR REPLACE INTO embedding VALUES (?, ?, ?)", picture.id, picture.tag, embedding.astype("<f2").tobytes())

    def embeddings(self, pictures: Sequence[int]) -> Float32Array:
        """The embeddings of these ids, N x D."""
        rows = [self._execute("SELECT vector FROM embedding WHERE id = ?", picture).fetchone()[0] for picture in pictures]
        vectors: Float32Array = np.stack([np.frombuffer(row, "<f2") for row in rows]).astype(np.float32)
        return vectors

    def decodable(self) -> Iterator[list[PendingPicture]]:
        """The decodable pictures, a page at a time; their tags are what they were inspected as."""
        yield from self._pages("SELECT id, path, inspected FROM picture WHERE width > 0 AND id > ? ORDER BY id LIMIT ?")

    def mask(self, picture: int, masked: MaskRecord) -> None:
        """Store the mask record of a picture."""
        self._execute("INSERT OR REPLACE INTO mask VALUES (?, ?, ?, ?)", picture, *masked)

    def masks(self) -> dict[int, MaskRecord]:
        """All mask records by picture id, also of pictures that no longer exist."""
        return {row[0]: MaskRecord(*row[1:]) for row in self._execute("SELECT id, made_of, origin, area FROM mask")}

    def tag(self, path: str) -> str:
        """The tag of a picture."""
        return str(self._execute("SELECT tag FROM picture WHERE path = ?", path).fetchone()[0])

    def _pages(self, query: str, *values: Any) -> Iterator[list[PendingPicture]]:
        last = 0
        while page := [PendingPicture(*row) for row in self._execute(query, *values, last, PAGE)]:
            yield page
            last = page[-1].id

    def _execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        with self._explained():
            return self._database.execute(statement, values)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = error.sqlite_errorcode & 0xFF
            if code == sqlite3.SQLITE_BUSY:
                raise PrepareError(f"{self._file.parent}: another `training prepare` is at work here; wait for it to end") from error
            if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise PrepareError(f"{self._file}: {error}; make room there, and run the same command again: it goes on") from error
            raise PrepareError(f"{self._file}: {error}; delete {self._file.parent} and prepare it anew") from error


def _bring_up_to_date(database: sqlite3.Connection) -> None:
    """Mark pictures that an earlier version inspected as not inspected."""
    if "transparent" not in [column for _, column, *_ in database.execute("PRAGMA table_info(picture)")]:
        database.execute("ALTER TABLE picture ADD COLUMN transparent INTEGER")
    if database.execute("SELECT value FROM about WHERE key = 'reader'").fetchone() != (READER,):
        database.execute("UPDATE picture SET inspected = ''")
        database.execute("INSERT OR REPLACE INTO about VALUES ('reader', ?)", (READER,))
