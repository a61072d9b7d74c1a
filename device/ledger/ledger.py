"""The ledger: every event is on disk before anything else learns of it, under a number that is given out once only.

One SQLite file in WAL mode. One thread writes it, so the control thread never waits for a disk. An item makes two commits: its intent before the
gate moves, and its event afterwards, which ends the intent and enters the outbox in the same transaction. An intent that is left when the power
fails becomes one `item_interrupted` event at the next start.

`ledger.seq` (`sequence_reservation`) is the file beside the database that keeps numbers unique, even when the database is damaged and set aside
or has lost its newest pages in a power cut. Damage is repaired where it is found (`salvage`), at a start or in use.
"""

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path

from device.common.clock import Clock
from device.common.files import hand_over, make_folder
from device.events import AnyEvent, CommandAccepted, Event
from device.ledger.accepted_commands import CommandAnswer, running
from device.ledger.database import NUMBERS, ExitKind, Intent, LedgerDatabase, NumberedEvent, stamp
from device.ledger.lock import LOCK, hold_lock
from device.ledger.pruning import Retention
from device.ledger.requests import AcceptRequest, AnswerRequest, EventRequest, IntentRequest, Request, RequestBatch
from device.ledger.restart_count import LastRestart
from device.ledger.schema import FILE, LedgerError, Unstorable, ledger_errors, open_reader
from device.ledger.totals import BinTotals, SinceEmptied, since_emptied_by_bin, totals_by_bin

log = logging.getLogger(__name__)

BATCH = 64
"""most requests in one transaction"""
WAITING = 256
"""most requests that wait for the disk; one more is refused"""
IDLE_S = 60.0


class Ledger:
    """The ledger of one device, open for writing by one process at a time.

    Opening checks the database. What can be read of a damaged one is saved, and the damaged one is kept as `ledger-corrupt-<n>.sqlite3`. Intents
    that a power cut left become events, and starts without a clean stop before them are counted. Damage that shows later is mended in the same
    way; writes are refused until that is done. Every method is thread safe and returns at once, except the constructor, `outbox` and `close`,
    which wait for the disk.
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

        keep: newest events that stay readable after they were delivered. keep_undelivered: most events that wait for a broker; beyond it the
        oldest are dropped, which is counted in `dropped` and logged. acknowledge_after_s: longest time until a delivery is written to disk.
        """
        self.file = folder / FILE
        self._clock, self._acknowledge_after_s = clock, acknowledge_after_s
        self._listener: Callable[[bytes], None] | None = None
        self._changed = threading.Condition()
        """guards what follows, up to `_closed`"""
        self._waiting: deque[Request] = deque()
        self._unfinished = 0
        self._acknowledged: set[int] = set()
        self._acknowledged_up_to = 0
        self._acknowledge_at_s = 0.0
        self._damage: LedgerError | None = None
        self._exit_kind: ExitKind = "clean"
        self._closing = self._closed = False
        self._clean = False
        self._reading = threading.Lock()
        self._retention = Retention(keep, keep_undelivered)
        with ledger_errors(self.file), contextlib.ExitStack() as opened:
            try:
                make_folder(folder)
            except NotADirectoryError as error:
                raise LedgerError(f"{error.filename}: {error.strerror}; expected device.state, a folder that this user can write to") from error
            opened.callback(os.close, hold_lock(folder / LOCK))
            self._database = opened.enter_context(contextlib.closing(LedgerDatabase(self.file, device, clock, self._retention)))
            self._reader = open_reader(self.file)
            opened.callback(lambda: self._reader.close())
            hand_over(folder, *(folder / name for name in (LOCK, NUMBERS, FILE, f"{FILE}-wal", f"{FILE}-shm")))
            self._opened = opened.pop_all()
        self.warnings, self.install = self._database.warnings, self._database.install
        self.item_before, self.interrupted = self._database.item_before, self._database.interrupted
        self.hazard_held, self.full_before = self._database.hazard_held, self._database.full_before
        self._thread = threading.Thread(target=self._write_until_closed, name="ledger", daemon=True)
        self._thread.start()

    def intend(self, item: str, to_bin: str, label: str) -> "Future[None]":
        """Store that `item` is about to go to a bin. The future is done when that is on disk, or carries LedgerError."""
        done: Future[None] = Future()
        self._submit(IntentRequest(Intent(item, to_bin, label), done))
        return done

    def stamped(self, event: Event) -> Event:
        """The event with the present time in it, for an event that is recorded later."""
        return stamp(event, self._clock)

    def record(self, event: Event) -> "Future[AnyEvent]":
        """Store `event` with the time that was stamped on it, else with the present time.

        The future gives the event with its seq once it is on disk. It carries LedgerError where that failed, and Unstorable for an event that could
        not be read back, with NaN in it for example. An event that ends an item (sorted, rejected, interrupted) also ends its intent. Events are
        numbered in the order of the calls.
        """
        done: Future[AnyEvent] = Future()
        self._submit(EventRequest(event if event.boot else self.stamped(event), done))
        return done

    def accept_command(self, event: CommandAccepted) -> "Future[CommandAnswer | None]":
        """Store that a command is about to be carried out, unless its id was accepted before.

        The future gives None once a new id and its event are on disk: only then carry the command out, and call `answer_command`. It gives the
        stored answer for an id that was accepted before; the code is `running` where it is not answered yet, and `interrupted` where the daemon
        stopped before it was. It carries LedgerError where nothing was stored. The newest COMMANDS ids are remembered.
        """
        done: Future[CommandAnswer | None] = Future()
        self._submit(AcceptRequest(event if event.boot else stamp(event, self._clock), done))
        return done

    def answer_command(self, answer: CommandAnswer) -> "Future[None]":
        """Store the answer to an accepted command, for when its id comes again. The future is done when that is on disk, or carries LedgerError."""
        done: Future[None] = Future()
        self._submit(AnswerRequest(answer, done))
        return done

    def listen(self, listener: Callable[[bytes], None]) -> None:
        """Call `listener` with the JSON of each event once it is stored, on the ledger's thread; it must return at once."""
        self._listener = listener

    def totals(self) -> dict[str, BinTotals]:
        """Totals per bin of what is on disk. A bin without events is missing."""
        return totals_by_bin(self._database.tallies)

    def since_emptied(self) -> dict[str, SinceEmptied]:
        """Totals per bin since it was emptied last, by what is on disk. A bin without events is missing."""
        return since_emptied_by_bin(self._database.tallies)

    @property
    def since(self) -> str:
        """When the ledger began, and with it the totals: RFC 3339, UTC, by the device's clock. Empty where an earlier version did not note it."""
        return self._database.since

    @property
    def newest_seq(self) -> int:
        """The highest number on disk; 0 before the first event."""
        return self._database.newest_seq

    @property
    def undelivered(self) -> int:
        """Number of events that no broker has acknowledged."""
        with self._changed:
            return max(0, self._database.undelivered - len(self._acknowledged))

    @property
    def busy(self) -> bool:
        """Whether a request is neither stored nor refused yet, or its listener has not returned yet."""
        with self._changed:
            return self._unfinished > 0

    @property
    def dropped(self) -> int:
        """Number of events dropped since the ledger began because too many waited for a broker."""
        return self._database.dropped

    @property
    def restarts(self) -> int:
        """Starts in a row, this one included, whose previous run did not stop cleanly."""
        return self._database.restarts

    @property
    def total_restarts(self) -> int:
        """Starts since the ledger began, this one included, whose previous run did not stop cleanly."""
        return self._database.total_restarts

    @property
    def last_restart(self) -> LastRestart:
        """How the run before this one ended."""
        return self._database.last_restart

    @property
    def crashes(self) -> int:
        """Starts in a row, this one included, whose previous run crashed soon after its start: see `RestartCount`."""
        return self._database.crashes

    @property
    def alive(self) -> bool:
        """Whether the writing thread runs."""
        return self._thread.is_alive()

    def outbox(self, after_seq: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` undelivered events above `after_seq`, oldest first: number and JSON. Reads the disk. Raises LedgerError.

        Where it meets damage, the writing thread mends it at once.
        """
        with self._reading:
            if self._damage is not None:
                raise LedgerError(str(self._damage))
            try:
                return self._read_outbox(after_seq, limit)
            except LedgerError as error:
                if error.damaged:
                    self._request_mending(error)
                raise

    def delivered(self, seqs: Iterable[int]) -> None:
        """Take events that a broker has acknowledged out of the outbox.

        That reaches the disk with the next commit, seconds later at most. After a power cut before that they are published again.
        """
        with self._changed:
            if not self._acknowledged:
                self._acknowledge_at_s = time.monotonic() + self._acknowledge_after_s
            for seq in seqs:
                self._acknowledged.add(seq)
                self._acknowledged_up_to = max(self._acknowledged_up_to, seq)
            self._changed.notify()

    def close(self, wait_s: float, exit_kind: ExitKind = "clean") -> bool:
        """Store what waits, note how the run ended, and close. False when that failed or took longer than `wait_s`.

        May be called several times; the exit kind of the first call counts.
        """
        with self._changed:
            if not self._closing:
                self._exit_kind = exit_kind
            self._closing = True
            self._changed.notify()
        self._thread.join(wait_s)
        return not self._thread.is_alive() and self._clean

    def _submit(self, request: Request) -> None:
        request.done.set_running_or_notify_cancel()
        with self._changed:
            if self._closing or self._closed:
                refused = f"{self.file}: is closed"
            elif len(self._waiting) >= WAITING:
                refused = f"{self.file}: {WAITING} writes wait for the disk: is it failing or overloaded?"
            else:
                self._waiting.append(request)
                self._unfinished += 1
                self._changed.notify()
                return
        request.done.set_exception(LedgerError(refused))

    def _read_outbox(self, after_seq: int, limit: int) -> list[tuple[int, bytes]]:
        with self._changed:
            # A copy of all would make a long outbox slow: mostly none of them is above `after_seq`.
            acknowledged = frozenset(self._acknowledged) if self._acknowledged_up_to > after_seq else frozenset()
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

    def _write_until_closed(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                self._commit(batch)
            self._finish()
        finally:
            with self._changed:
                self._closed = True
                refused = list(self._waiting)
                self._waiting.clear()
            for request in refused:
                request.done.set_exception(LedgerError(f"{self.file}: the ledger has stopped"))
            with self._reading:
                self._opened.close()

    def _next_batch(self) -> list[Request] | None:
        """Requests for one transaction: none when only acknowledgements are to be written or damage is to be mended; None at the end."""
        with self._changed:
            while True:
                if self._waiting:
                    return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                if self._closing:
                    return None
                wait_s = self._acknowledge_at_s - time.monotonic() if self._acknowledged or self._damage else IDLE_S
                if wait_s <= 0:
                    return []
                self._changed.wait(wait_s)

    def _commit(self, batch: list[Request]) -> None:
        """Mend what is damaged, then store a batch and the acknowledgements in one transaction, and answer the requests."""
        if self._damage is not None:
            try:
                self._mend(self._damage)
            except LedgerError as error:
                return self._refuse(batch, error)
        with self._changed:
            acknowledged = frozenset(self._acknowledged)
        try:
            sorted_out = self._sort_out(batch)
            commit = self._database.commit(sorted_out.writes(acknowledged))
        except LedgerError as error:
            return self._refuse(batch, error)
        with self._changed:
            self._acknowledged -= acknowledged
            self._database.apply(commit)
        if commit.dropped:
            most = self._retention.keep_undelivered
            log.warning("%s: %d events dropped that no broker has acknowledged; at most %d are kept", self.file, commit.dropped, most)
        for payload in sorted_out.tell_stored():
            if self._listener is not None:
                self._listener(payload)
        with self._changed:
            self._unfinished -= len(batch)
        return None

    def _sort_out(self, requests: list[Request]) -> RequestBatch:
        """Number what is new. What can never be stored is refused here, before it can spoil a transaction. Raises LedgerError."""
        to_number: list[EventRequest | AcceptRequest] = []
        repeated: list[tuple[AcceptRequest, CommandAnswer]] = []
        new: set[str] = set()
        for request in requests:
            if isinstance(request, AcceptRequest):
                name = request.event.id
                if (answer := running(name) if name in new else self._database.answer_before(name)) is not None:
                    repeated.append((request, answer))
                    continue
                new.add(name)
            if isinstance(request, EventRequest | AcceptRequest):
                to_number.append(request)
        numbered: list[tuple[EventRequest | AcceptRequest, NumberedEvent]] = []
        for request, result in zip(to_number, self._database.number(request.event for request in to_number), strict=True):
            if isinstance(result, Unstorable):
                request.done.set_exception(result)
            else:
                numbered.append((request, result))
        intents = [request for request in requests if isinstance(request, IntentRequest)]
        answers: list[AnswerRequest] = []
        for request in requests:
            if isinstance(request, AnswerRequest):
                if (refusal := self._database.refusal(request.answer)) is not None:
                    request.done.set_exception(refusal)
                else:
                    answers.append(request)
        return RequestBatch(intents, answers, numbered, repeated)

    def _refuse(self, batch: list[Request], error: LedgerError) -> None:
        if not batch:
            log.warning("%s", error)
        for request in batch:
            if not request.done.done():
                request.done.set_exception(error)
        with self._changed:
            self._unfinished -= len(batch)
            self._acknowledge_at_s = time.monotonic() + self._acknowledge_after_s
        if error.damaged and self._damage is None:
            self._request_mending(error)

    def _request_mending(self, damage: LedgerError) -> None:
        """Have the writing thread mend the database."""
        with self._changed:
            self._damage = damage
            self._acknowledge_at_s = 0.0
            self._changed.notify()

    def _mend(self, damage: LedgerError) -> None:
        with ledger_errors(self.file), self._reading:
            self._reader.close()
            self._database.mend(damage)
            self._reader = open_reader(self.file)
            self._damage = None

    def _finish(self) -> None:
        with self._changed:
            acknowledged = frozenset(self._acknowledged)
        try:
            self._database.finish(acknowledged, self._exit_kind)
        except LedgerError as error:
            log.error("%s", error)
        else:
            self._clean = True
