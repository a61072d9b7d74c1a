"""The ledger: every event on disk before anyone hears of it, under a number that never comes twice.

One SQLite file in WAL mode, written by one thread, so the control thread never waits for a disk. An item's journey leaves two
commits: the intent before the gate moves, and the event afterwards, which ends the intent and enters the outbox in the same
transaction. What was still intended when the power failed becomes an `item_interrupted` event at the next start, once.

Beside it lies `ledger.seq` (`device.ledger.sequence`), which lets numbering go on above everything published even when the database is
damaged and set aside, or lost its newest pages in a power cut on a card that only claimed to have written them. Damage is mended when it
is met (`device.ledger.salvage`), at a start or in use.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from device.common.clock import Clock, kernel_boot_id
from device.common.files import hand_over, make_folder
from device.common.machine_id import folder_id
from device.events import AnyEvent, Event, ItemInterrupted, ItemRejected, ItemSorted, decode, encode
from device.ledger import salvage as ledger_salvage
from device.ledger import schema as tables
from device.ledger.reader import read_events
from device.ledger.schema import FILE, Damaged, LedgerError, Unstorable, ledger_errors, transaction
from device.ledger.sequence import BLOCK, SequenceFile

__all__ = ["FILE", "BinTotals", "Ledger", "LedgerError", "Unstorable", "read_events"]

log = logging.getLogger(__name__)

NUMBERS = "ledger.seq"
LOCK = "ledger.lock"

BATCH = 64
"""most requests in one transaction"""
WAITING = 256
"""most requests that wait for the disk; the next one is refused"""
NUMBERS_LOST = 1_700_000_000
"""least number to go on above when a damaged database and its `ledger.seq` are lost together: more than any count that began at 1"""
CRASH_LOOP_S = 600.0
"""a start so soon after the one before it, which was not ended cleanly nor by a power cut, is one more of a row of crashes"""
IDLE_S = 60.0

End = Literal["clean", "crash", "not begun"]
"""how a start ended: as it was asked to; by a fault of its own, which the next start counts; or before anything moved, so that it does not count"""


class BinTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Since the ledger began: items sorted into a bin, sent there as rejected, with unknown end on the way there; jams at its gate; items sent there
    that may be a hazard.
    """

    sorted: int = 0
    rejected: int = 0
    interrupted: int = 0
    jams: int = 0
    hazards: int = 0


@dataclass(frozen=True, slots=True)
class _Intent:
    item: str
    to_bin: str
    label: str
    done: "Future[None]"


@dataclass(frozen=True, slots=True)
class _Record:
    event: Event
    done: "Future[AnyEvent]"


@dataclass(frozen=True, slots=True)
class _Stamped:
    event: AnyEvent
    payload: bytes
    done: "Future[AnyEvent]"


class Ledger:
    """The ledger of one device, open for writing; one process at a time has it.

    Opening checks the database, saves what can be read of a damaged one and sets that aside as `ledger-corrupt-<n>.sqlite3`, turns
    intents that a power cut left into events, and counts starts without a clean stop. Damage that shows later is mended in the same way:
    writes are refused until that is done. Every method is safe from every thread and returns at once, except the constructor, `outbox` and
    `close`, which wait for the disk.
    """

    def __init__(
        self,
        folder: Path,
        device: str,
        clock: Clock,
        *,
        keep: int = 50_000,
        keep_undelivered: int = 200_000,
        acknowledge_after_s: float = 5.0,
    ) -> None:
        """Open or create the ledger in `folder`. Raises LedgerError when it cannot be written, is in use, or is of a newer format.

        keep: newest events that stay readable after they were delivered. keep_undelivered: most events that wait for a broker; beyond
        it the oldest are given up, counted in `dropped` and logged. acknowledge_after_s: longest time that a delivery is known in
        memory only.
        """
        self.file = folder / FILE
        self.warnings: list[str] = []
        """what opening found wrong and mended, one line each"""
        self._device, self._clock = device, clock
        self._keep, self._keep_undelivered, self._acknowledge_after_s = keep, keep_undelivered, acknowledge_after_s
        self._listener: Callable[[bytes], None] | None = None
        self._news = threading.Condition()
        self._waiting: deque[_Intent | _Record] = deque()
        self._unfinished = 0
        self._acknowledged: set[int] = set()
        self._acknowledge_at_s = 0.0
        self._closing = self._closed = self._clean = False
        self._end: End = "clean"
        self._counts: Counter[tuple[str, str]] = Counter()
        self._next_seq, self._newest_seq, self._undelivered, self._dropped, self._restarts = 1, 0, 0, 0, 0
        self._crashes = 0
        self.item_before: ItemSorted | ItemRejected | None = None
        """the item that was sorted or rejected last before this start"""
        self.interrupted: list[AnyEvent] = []
        """what was on its way when the start before this one broke off, as the events that opening has stored"""
        self.install = ""
        """names this ledger in its events, as long as it lies where it does on this machine"""
        self._start: dict[str, int | str] = {}
        self._before = tables.Notes(clean=1)
        self._damage: LedgerError | None = None
        self._reading = threading.Lock()
        with ledger_errors(self.file), contextlib.ExitStack() as opened:
            try:
                make_folder(folder)
            except NotADirectoryError as error:
                raise LedgerError(f"{error.filename}: {error.strerror}; expected device.state, a folder that this user can write to") from error
            opened.callback(os.close, hold_lock(folder / LOCK))
            self._numbering = SequenceFile(folder / NUMBERS)
            self._db = self._open()
            opened.callback(lambda: self._db.close())
            self._reader = self._open_reader()
            opened.callback(lambda: self._reader.close())
            hand_over(folder, *(folder / name for name in (LOCK, NUMBERS, FILE, f"{FILE}-wal", f"{FILE}-shm")))
            self._opened = opened.pop_all()
        self._thread = threading.Thread(target=self._write_for_ever, name="ledger", daemon=True)
        self._thread.start()

    def intend(self, item: str, to_bin: str, label: str) -> "Future[None]":
        """Write down that `item` is about to go to a bin. The future is done when that is on disk, or carries LedgerError."""
        done: Future[None] = Future()
        self._submit(_Intent(item, to_bin, label, done))
        return done

    def stamped(self, event: Event) -> Event:
        """The event with this moment in it, however much later it is recorded."""
        now = self._clock.read()
        return msgspec.structs.replace(event, boot=now.boot, uptime_s=now.uptime_s, time=now.time, clock=now.clock)

    def record(self, event: Event) -> "Future[AnyEvent]":
        """Store `event`, with the moment that was stamped on it, or else this one.

        The future gives it with its seq once it is on disk, or carries LedgerError, and Unstorable for an event that could not be read back, with
        NaN in it for example.

        An event that ends an item (sorted, rejected, interrupted) also ends its intent. Events are numbered in the order of the calls.
        """
        done: Future[AnyEvent] = Future()
        self._submit(_Record(event if event.boot else self.stamped(event), done))
        return done

    def listen(self, listener: Callable[[bytes], None]) -> None:
        """Have `listener` called with the JSON of each event right after it was stored, on the ledger's thread; it must return at once."""
        self._listener = listener

    def totals(self) -> dict[str, BinTotals]:
        """Counts per bin since the ledger began, of what is on disk. A bin that nothing happened to is missing."""
        return totals_by_bin(self._counts)

    @property
    def newest_seq(self) -> int:
        """The highest number on disk; 0 before the first event."""
        return self._newest_seq

    @property
    def undelivered(self) -> int:
        """Events that no broker has acknowledged yet."""
        with self._news:
            return max(0, self._undelivered - len(self._acknowledged))

    @property
    def busy(self) -> bool:
        """Whether something was handed over that is neither stored nor refused yet, or of which that is not told yet."""
        with self._news:
            return self._unfinished > 0

    @property
    def dropped(self) -> int:
        """Events given up since the ledger began because too many waited for a broker."""
        return self._dropped

    @property
    def restarts(self) -> int:
        """Starts in a row, this one counted, before which the ledger had not been closed cleanly."""
        return self._restarts

    @property
    def crashes(self) -> int:
        """Of these starts in a row, those after which it did not even run for CRASH_LOOP_S, this one counted; none after a power cut."""
        return self._crashes

    @property
    def alive(self) -> bool:
        """Whether the writing thread runs."""
        return self._thread.is_alive()

    def outbox(self, after_seq: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` undelivered events above `after_seq`, oldest first: number and JSON. Reads the disk. Raises LedgerError.

        Damage that it meets is mended by the writing thread right away.
        """
        with self._reading:
            if self._damage is not None:
                raise LedgerError(str(self._damage))
            try:
                return self._read_outbox(after_seq, limit)
            except LedgerError as error:
                if error.damaged:
                    self._is_damaged(error)
                raise

    def _read_outbox(self, after_seq: int, limit: int) -> list[tuple[int, bytes]]:
        with self._news:
            acknowledged = frozenset(self._acknowledged)
        found: list[tuple[int, bytes]] = []
        with ledger_errors(self.file):
            rows = self._reader.execute("SELECT seq, payload FROM outbox JOIN event USING (seq) WHERE seq > ? ORDER BY seq", (after_seq,))
            with contextlib.closing(rows):
                for seq, payload in rows:
                    if seq not in acknowledged:
                        found.append((seq, payload))
                    if len(found) >= limit:
                        break
        return found

    def delivered(self, seqs: Iterable[int]) -> None:
        """A broker has acknowledged these events: they are no longer in the outbox.

        On disk they leave it with the next commit, seconds later at most. A power cut before that publishes them once more.
        """
        with self._news:
            if not self._acknowledged:
                self._acknowledge_at_s = time.monotonic() + self._acknowledge_after_s
            self._acknowledged.update(seqs)
            self._news.notify()

    def close(self, wait_s: float, end: End = "clean") -> bool:
        """Store what waits, write down how it ended, close. False when that failed or took longer than `wait_s`. Any number of calls; the first says
        how it ended.
        """
        with self._news:
            self._end = end if not self._closing else self._end
            self._closing = True
            self._news.notify()
        self._thread.join(wait_s)
        return not self._thread.is_alive() and self._clean

    def _submit(self, request: _Intent | _Record) -> None:
        request.done.set_running_or_notify_cancel()
        with self._news:
            if self._closing or self._closed:
                refused = f"{self.file}: is closed"
            elif len(self._waiting) >= WAITING:
                refused = f"{self.file}: {WAITING} writes wait for the disk: is it failing or overloaded?"
            else:
                self._waiting.append(request)
                self._unfinished += 1
                self._news.notify()
                return
        request.done.set_exception(LedgerError(refused))

    def _open(self) -> sqlite3.Connection:
        """Open the database and take up where the last start ended; mend it first where it is damaged."""
        if (aside := ledger_salvage.swap(self.file)) is not None:
            self.warnings.append(f"{self.file}: was damaged, and what could be read was saved before; it is kept as {aside.name}")
        try:
            return self._resume()
        except Damaged as damage:
            self.warnings.append(self._mended(str(damage)))
        try:
            return self._resume()
        except Damaged as damage:
            raise LedgerError(f"{self.file}: was mended and is damaged again ({damage}): is the disk failing?") from damage

    def _resume(self) -> sqlite3.Connection:
        with contextlib.ExitStack() as opened:
            db = opened.enter_context(contextlib.closing(tables.open_checked(self.file)))
            with tables.raising_damaged(), transaction(db):
                if tables.is_empty(db):
                    self._create(db)
                self._begin(db)
            opened.pop_all()
        return db

    def _open_reader(self) -> sqlite3.Connection:
        reader = tables.connect(self.file)
        reader.execute("PRAGMA query_only = ON")
        return reader

    def _create(self, db: sqlite3.Connection) -> None:
        reserved = self._numbering.reserved
        tables.create(db, given_out=reserved)
        tables.note(db, clean=1)
        if reserved:
            self.warnings.append(f"{self.file}: was missing or empty beside its {NUMBERS}; begun anew, numbers go on at {reserved + 1}")

    def _mended(self, damage: str) -> str:
        """Put a new database with what can be read of the damaged one in its place. Returns a line that says so."""
        self._numbering.reserved = self._numbering.reserved or max(NUMBERS_LOST, int(time.time()))
        highest = self._numbering.reserved
        saved = ledger_salvage.save(self.file, ledger_salvage.LastKnown(highest, self._counts, self._dropped))
        aside = ledger_salvage.swap(self.file)
        kept = f"; it is kept as {aside.name}" if aside is not None else ""
        return f"{self.file}: was damaged ({damage}){kept}, {saved} events are saved, and numbers go on at {highest + 1}"

    def _mend(self, damage: LedgerError) -> None:
        """Mend damage that showed in use, and go on where it did. Raises LedgerError; what was damaged still is, then."""
        with ledger_errors(self.file), self._reading:
            self._reader.close()
            self._db.close()
            if (aside := ledger_salvage.swap(self.file)) is None:
                log.error("%s", self._mended(str(damage.__cause__ or damage)))
            else:
                log.error("%s: was damaged, and what could be read was saved before; it is kept as %s", self.file, aside.name)
            self._db = tables.open_checked(self.file)
            with transaction(self._db):
                tables.note(self._db, **self._start)
                self._load_state(tables.load_state(self._db))
            self._reader = self._open_reader()
            self._damage = None

    def _begin(self, db: sqlite3.Connection) -> None:
        """Take up where the last start ended."""
        loaded, kernel = tables.load_state(db), kernel_boot_id()
        self.item_before = tables.newest_item(db)
        notes, given_out = loaded.notes, loaded.given_out
        self._before = notes
        self._restarts = 0 if notes.clean else notes.restarts + 1
        power_cut = not notes.clean and notes.kernel != kernel
        if power_cut or given_out < self._numbering.reserved - BLOCK:
            given_out = max(given_out, self._numbering.reserved)
        begun_s = int(self._clock.since_boot_s())
        looping = not notes.clean and not power_cut and begun_s - (begun_s if notes.begun_s is None else notes.begun_s) < CRASH_LOOP_S
        self._crashes = notes.crashes + 1 if looping else 0
        self._start = {"clean": 0, "restarts": self._restarts, "kernel": kernel, "crashes": self._crashes, "begun_s": begun_s}
        self._start |= self._named(notes, folder_id(self.file.parent))
        tables.note(db, **self._start)
        self._load_state(replace(loaded, given_out=given_out))
        interrupted = [ItemInterrupted(item=item, bin=name, label=label, reason="restart") for item, name, label in loaded.intents]
        stamped = self._number([_Record(self.stamped(event), Future()) for event in interrupted])
        self._store(db, stamped)
        self._apply_committed(stamped)
        self.interrupted = [entry.event for entry in stamped]

    def _named(self, notes: tables.Notes, place: str) -> dict[str, int | str]:
        """A copied ledger, as on a cloned card or from a backup, gives numbers that the first gives too: under another name."""
        self.install = notes.install if notes.place == place and notes.install else uuid.uuid4().hex[:12]
        if notes.install not in ("", self.install):
            log.info("%s: was brought here from elsewhere; its events say install %s from now on", self.file, self.install)
        return {"install": self.install, "place": place}

    def _load_state(self, loaded: tables.LedgerState) -> None:
        self._undelivered, self._dropped, self._counts = loaded.undelivered, loaded.notes.dropped, loaded.counts
        self._next_seq, self._newest_seq = loaded.given_out + 1, loaded.newest_seq

    def _write_for_ever(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                self._commit(batch)
            self._finish()
        finally:
            with self._news:
                self._closed = True
                refused = list(self._waiting)
                self._waiting.clear()
            for request in refused:
                request.done.set_exception(LedgerError(f"{self.file}: the ledger has stopped"))
            with self._reading:
                self._opened.close()

    def _next_batch(self) -> list[_Intent | _Record] | None:
        """What is to be written together; an empty list when only acknowledgements or mending are due, None at the end."""
        with self._news:
            while True:
                if self._waiting:
                    return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                if self._closing:
                    return None
                wait_s = self._acknowledge_at_s - time.monotonic() if self._acknowledged or self._damage else IDLE_S
                if wait_s <= 0:
                    return []
                self._news.wait(wait_s)

    def _commit(self, batch: list[_Intent | _Record]) -> None:
        """One transaction for all of `batch` and for what was acknowledged, after mending what is damaged."""
        if self._damage is not None:
            try:
                self._mend(self._damage)
            except LedgerError as error:
                return self._refuse(batch, error)
        with self._news:
            acknowledged = frozenset(self._acknowledged)
        stamped = self._number([request for request in batch if isinstance(request, _Record)])
        try:
            with ledger_errors(self.file), transaction(self._db):
                for request in batch:
                    if isinstance(request, _Intent):
                        tables.intend(self._db, request.item, request.to_bin, request.label)
                removed = tables.remove_from_outbox(self._db, acknowledged)
                dropped = self._store(self._db, stamped)
        except LedgerError as error:
            return self._refuse(batch, error)
        with self._news:
            self._acknowledged -= acknowledged
            self._undelivered -= removed + dropped
            self._apply_committed(stamped)
        if dropped:
            self._dropped += dropped
            log.warning("%s: %d events given up that no broker took; at most %d are kept", self.file, dropped, self._keep_undelivered)
        for request in batch:
            if isinstance(request, _Intent):
                request.done.set_result(None)
        for entry in stamped:
            entry.done.set_result(entry.event)
            if self._listener is not None:
                self._listener(entry.payload)
        with self._news:
            self._unfinished -= len(batch)
        return None

    def _is_damaged(self, error: LedgerError) -> None:
        """Have the writing thread mend the database."""
        with self._news:
            self._damage = error
            self._acknowledge_at_s = 0.0
            self._news.notify()

    def _refuse(self, batch: list[_Intent | _Record], error: LedgerError) -> None:
        if not batch:
            log.warning("%s", error)
        for request in batch:
            if not request.done.done():
                request.done.set_exception(error)
        with self._news:
            self._unfinished -= len(batch)
            self._acknowledge_at_s = time.monotonic() + self._acknowledge_after_s
        if error.damaged and self._damage is None:
            self._is_damaged(error)

    def _number(self, records: list[_Record]) -> list[_Stamped]:
        """Number and encode. An event that could not be read back is refused here, before it can spoil a transaction."""
        stamped: list[_Stamped] = []
        for record in records:
            try:
                numbered = msgspec.structs.replace(record.event, device=self._device, install=self.install, seq=self._next_seq + len(stamped))
                payload = encode(numbered)
                stamped.append(_Stamped(decode(payload), payload, record.done))
            except (msgspec.MsgspecError, TypeError, ValueError) as error:
                record.done.set_exception(Unstorable(f"{self.file}: {record.event!r} cannot be stored: {error}"))
        return stamped

    def _store(self, db: sqlite3.Connection, stamped: list[_Stamped]) -> int:
        """Reserve the numbers and add the events. Returns how many undelivered ones were given up for them."""
        if not stamped:
            return 0
        raised = self._numbering.reserve(stamped[0].event.seq, stamped[-1].event.seq)
        for entry in stamped:
            tables.store(db, entry.event, entry.payload)
        dropped = tables.prune(db, keep=self._keep, keep_undelivered=self._keep_undelivered) if raised else 0
        if dropped:
            tables.note(db, dropped=self._dropped + dropped)
        return dropped

    def _apply_committed(self, stamped: list[_Stamped]) -> None:
        """Know what was committed."""
        if not stamped:
            return
        newest_seq = stamped[-1].event.seq
        self._next_seq = newest_seq + 1
        self._undelivered += len(stamped)
        self._counts = self._counts + Counter(counted for entry in stamped if (counted := tables.counted_as(entry.event)) is not None)
        # Last: whoever sees the number of an event on another thread finds it counted in the totals.
        self._newest_seq = newest_seq

    def _finish(self) -> None:
        with self._news:
            acknowledged = frozenset(self._acknowledged)
        try:
            with ledger_errors(self.file), transaction(self._db):
                tables.remove_from_outbox(self._db, acknowledged)
                tables.note(self._db, **self._last_notes())
        except LedgerError as error:
            log.error("%s", error)
        else:
            self._clean = True

    def _last_notes(self) -> dict[str, int | str]:
        if self._end != "not begun":
            return {"clean": int(self._end == "clean")}
        before = {name: getattr(self._before, name) for name in ("clean", "restarts", "kernel", "crashes", "begun_s")}
        return {name: value for name, value in before.items() if value is not None}


def hold_lock(file: Path) -> int:
    """Hold the lock file of a ledger for this process, until its descriptor is closed or the process ends in whatever way.

    Raises LedgerError while another process holds it, and OSError.
    """
    lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise LedgerError(f"{file.parent}: another sortbin uses this ledger; stop it, or choose another folder") from error
    return lock


def is_in_use(folder: Path) -> bool:
    """Whether a process has the ledger in `folder` open for writing, as far as this user may know."""
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def totals_by_bin(counts: Mapping[tuple[str, str], int]) -> dict[str, BinTotals]:
    """Counts by bin and kind, put together by bin."""
    names = sorted({name for name, _ in counts})
    return {name: BinTotals(**{kind: counts.get((name, kind), 0) for kind in BinTotals.__struct_fields__}) for name in names}
