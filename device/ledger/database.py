"""The ledger's database as its one writer sees it: opens, mends, numbers and stores. `Ledger` calls it from one thread."""

import logging
import sqlite3
import time
import uuid
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from device.common.clock import Clock, Reading, kernel_boot_id
from device.common.machine_id import folder_id
from device.events import AnyEvent, CommandAccepted, Event, ItemInterrupted, ItemRejected, ItemSorted, decode, encode
from device.ledger import accepted_commands, salvage, schema
from device.ledger.accepted_commands import CommandAnswer
from device.ledger.full_bins import read_full
from device.ledger.migration import migrate
from device.ledger.pruning import Pruned, Retention, delete_delivered, prune
from device.ledger.restart_count import LastRestart, count_restarts
from device.ledger.schema import Damaged, LedgerError, Unstorable, ledger_errors, transaction
from device.ledger.sequence_reservation import BLOCK, SequenceFile
from device.ledger.tallies import Tallies, advance
from device.ledger.tally_tables import write_advance

log = logging.getLogger(__name__)

NUMBERS = "ledger.seq"
NUMBERS_LOST = 1_700_000_000
"""Where a damaged database and its `ledger.seq` are lost together, numbers go on above this, or above the Unix time where that is higher.
No count that began at 1 comes near it."""

AnEvent = TypeVar("AnEvent", bound=Event)
ExitKind = Literal["clean", "crash", "refused"]
"""How a run ended: stopped as asked; by a fault of its own, which the next start counts; refused before anything moved, which does not count."""


@dataclass(frozen=True, slots=True)
class Intent:
    """An item that is about to go to a bin."""

    item: str
    to_bin: str
    label: str


@dataclass(frozen=True, slots=True)
class NumberedEvent:
    """An event with its seq, and its JSON."""

    event: AnyEvent
    payload: bytes


@dataclass(frozen=True, slots=True)
class Writes:
    """What one transaction is to write. delivered: numbers that leave the outbox."""

    events: Sequence[NumberedEvent]
    intents: Sequence[Intent] = ()
    answers: Sequence[CommandAnswer] = ()
    delivered: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """What one transaction has changed on disk. delivered, dropped: how many events left the outbox as such."""

    writes: Writes
    delivered: int
    dropped: int
    tallies: Tallies
    """as of the end of the transaction"""
    pruned: Pruned
    since: str


class LedgerDatabase:
    """The connection that writes, and in memory what it has committed: totals, newest number, undelivered events.

    The totals and the newest number may be read from any thread.
    """

    def __init__(self, file: Path, device: str, clock: Clock, retention: Retention) -> None:
        """Open or create the database; mend it where it is damaged. Raises LedgerError, OSError and sqlite3.Error."""
        self.file = file
        self.warnings: list[str] = []
        """what opening found wrong and mended, one line each"""
        self.install = ""
        """names this ledger in its events; a copy in another folder or machine gets another name"""
        self.item_before: ItemSorted | ItemRejected | None = None
        """the item that was sorted or rejected last before this start"""
        self.hazard_held = False
        """whether the previous run broke off while a hazard was held on the tray"""
        self.full_before: frozenset[str] = frozenset()
        """the bins that were full when the previous run ended"""
        self.interrupted: list[AnyEvent] = []
        """events of the items that were on their way when the previous run broke off; opening has stored them"""
        self.restarts = self.crashes = 0
        """see `RestartCount`"""
        self.last_restart: LastRestart = "first start"
        self.total_restarts = 0
        """starts since the ledger began whose previous run did not stop cleanly"""
        self.since = ""
        """when the ledger began; empty where an earlier version made it and did not note that"""
        self.tallies = Tallies()
        """what is counted on disk"""
        self.newest_seq = 0
        """highest number on disk; 0 before the first event"""
        self.undelivered = self.dropped = 0
        self._pruned = Pruned()
        self._device, self._clock, self._retention = device, clock, retention
        self._next_seq = 1
        self._notes_before = schema.Notes(clean=1)
        self._notes: dict[str, int | str] = {}
        self._created: Reading | None = None
        """when this run made the database, where its clock was not synchronised then"""
        self._running: set[str] = set()
        """ids of commands that were accepted in this run and are not answered yet"""
        self._sequence = SequenceFile(file.with_name(NUMBERS))
        self._connection = self._open()

    def number(self, events: Iterable[Event]) -> list[NumberedEvent | Unstorable]:
        """Give each event the next number and encode it. One that could not be read back gets no number, and an error in its place."""
        results: list[NumberedEvent | Unstorable] = []
        next_seq = self._next_seq
        for event in events:
            try:
                payload = encode(msgspec.structs.replace(event, device=self._device, install=self.install, seq=next_seq))
                results.append(NumberedEvent(decode(payload), payload))
                next_seq += 1
            except (msgspec.MsgspecError, TypeError, ValueError) as error:
                results.append(Unstorable(f"{self.file}: {event!r} cannot be stored: {error}"))
        return results

    def answer_before(self, command_id: str) -> CommandAnswer | None:
        """What became of a command that was accepted before; None for a new id. Raises LedgerError."""
        if not _is_text(command_id):
            return None
        with ledger_errors(self.file):
            answer = accepted_commands.answer_before(self._connection, command_id)
        unanswered = answer is not None and answer.code == "interrupted" and command_id in self._running
        return accepted_commands.running(command_id) if unanswered else answer

    def refusal(self, answer: CommandAnswer) -> Unstorable | None:
        """Why an answer can never be stored; None where it can."""
        return None if _is_text(answer.id + answer.code + answer.message) else Unstorable(f"{self.file}: {answer!r} cannot be stored: is no UTF-8")

    def commit(self, writes: Writes) -> Commit:
        """Store intents, events and answers, and take delivered events out of the outbox, in one transaction. Raises LedgerError, and then nothing
        is stored.

        Call `apply` with the result.
        """
        with ledger_errors(self.file), transaction(self._connection):
            for intent in writes.intents:
                schema.intend(self._connection, intent.item, intent.to_bin, intent.label)
            removed = self._take_delivered(writes.delivered)
            dropped, tallies, pruned = self._store(self._connection, writes.events, waited=self.undelivered - removed)
            accepted_commands.answer(self._connection, writes.answers)
            since = self._since_as_of(writes.events)
            if since != self.since:
                schema.note(self._connection, since=since)
        return Commit(writes, removed, dropped, tallies, pruned, since)

    def apply(self, commit: Commit) -> None:
        """Bring what is held in memory up to date with a commit."""
        events = [each.event for each in commit.writes.events]
        self.undelivered += len(events) - commit.delivered - commit.dropped
        self.dropped += commit.dropped
        self._pruned = commit.pruned
        self._running |= {event.id for event in events if isinstance(event, CommandAccepted)}
        self._running -= {answer.id for answer in commit.writes.answers}
        if events:
            if commit.since != self.since:
                self.since, self._created = commit.since, None
            self.tallies = commit.tallies
            self._next_seq = events[-1].seq + 1
            # Last: a thread that sees the number of an event must find the event in the totals.
            self.newest_seq = events[-1].seq

    def finish(self, delivered: Collection[int], exit_kind: ExitKind) -> None:
        """Take delivered events out of the outbox and note how the run ended. Raises LedgerError."""
        with ledger_errors(self.file), transaction(self._connection):
            self._take_delivered(delivered)
            schema.note(self._connection, **self._exit_notes(exit_kind))

    def mend(self, damage: LedgerError) -> None:
        """Replace the database, which was found damaged in use, with what can be read of it. Raises LedgerError; it is still damaged then."""
        with ledger_errors(self.file):
            self._connection.close()
            if (aside := salvage.swap(self.file)) is None:
                log.error("%s", self._salvage(str(damage.__cause__ or damage)))
            else:
                log.error("%s: was damaged, and what could be read was saved before; it is kept as %s", self.file, aside.name)
            self._connection = schema.open_checked(self.file)
            with transaction(self._connection):
                schema.note(self._connection, **self._notes)
                self._load(schema.load_state(self._connection))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _open(self) -> sqlite3.Connection:
        if (aside := salvage.swap(self.file)) is not None:
            self.warnings.append(f"{self.file}: was damaged, and what could be read was saved before; it is kept as {aside.name}")
        try:
            return self._resume()
        except Damaged as damage:
            self.warnings.append(self._salvage(str(damage)))
        try:
            return self._resume()
        except Damaged as damage:
            raise LedgerError(f"{self.file}: was mended and is damaged again ({damage}): is the disk failing?") from damage

    def _resume(self) -> sqlite3.Connection:
        """Open the database and go on where the previous run ended. Raises Damaged."""
        with ExitStack() as opened:
            db = opened.enter_context(closing(schema.open_checked(self.file)))
            with schema.raising_damaged(), transaction(db):
                if schema.is_empty(db):
                    self._create(db)
                elif schema.format_of(db) != schema.FORMAT:
                    migrate(db)
                self._begin_run(db)
            opened.pop_all()
        return db

    def _create(self, db: sqlite3.Connection) -> None:
        reserved = self._sequence.reserved
        schema.create(db, given_out=reserved)
        now = self._clock.read()
        self._created = now if now.clock == "unsynced" else None
        schema.note(db, clean=1, since=now.time)
        if reserved:
            self.warnings.append(f"{self.file}: was missing or empty beside its {NUMBERS}; a new one was made, numbers go on at {reserved + 1}")

    def _begin_run(self, db: sqlite3.Connection) -> None:
        """Load the state, note this start, and turn intents that the previous run left into events."""
        state, kernel, since_boot_s = schema.load_state(db), kernel_boot_id(), int(self._clock.since_boot_s())
        self.item_before = schema.newest_item(db)
        self.hazard_held = not state.notes.clean and schema.hazard_is_held(db)
        self.full_before = read_full(state.notes.full)
        self._notes_before = state.notes
        start = count_restarts(state.notes, kernel, since_boot_s)
        self.restarts, self.crashes, self.last_restart = start.restarts, start.crashes, start.reason
        self.total_restarts = state.notes.total_restarts + (0 if state.notes.clean else 1)
        given_out = state.given_out
        if start.power_cut or given_out < self._sequence.reserved - BLOCK:
            given_out = max(given_out, self._sequence.reserved)
        self._load(replace(state, given_out=given_out))
        self._notes = {"clean": 0, "restarts": self.restarts, "kernel": kernel, "crashes": self.crashes, "begun_s": since_boot_s}
        self._notes |= {"starts": state.notes.starts + 1, "total_restarts": self.total_restarts}
        self._notes |= self._identify(state.notes, folder_id(self.file.parent))
        schema.note(db, **self._notes)
        events = (ItemInterrupted(item=item, bin=name, label=label, reason="restart") for item, name, label in state.intents)
        numbered = [each for each in self.number(stamp(event, self._clock) for event in events) if isinstance(each, NumberedEvent)]
        self.apply(Commit(Writes(numbered), 0, *self._store(db, numbered, waited=self.undelivered), self.since))
        self.interrupted = [each.event for each in numbered]

    def _identify(self, notes: schema.Notes, place: str) -> dict[str, int | str]:
        """Name this ledger. A copy, on a cloned card or from a backup, gives out numbers that the original gives out too: it gets another name."""
        self.install = notes.install if notes.place == place and notes.install else uuid.uuid4().hex[:12]
        if notes.install not in ("", self.install):
            log.info("%s: was copied here from elsewhere; its events say install %s from now on", self.file, self.install)
        return {"install": self.install, "place": place}

    def _load(self, state: schema.LedgerState) -> None:
        self.undelivered, self.dropped = state.undelivered, state.notes.dropped
        self.tallies, self.since = state.tallies, state.notes.since
        self._pruned = Pruned()
        self._next_seq, self.newest_seq = state.given_out + 1, state.newest_seq

    def _salvage(self, damage: str) -> str:
        """Replace the damaged database with a new one that holds what can be read of it. Returns a line for the log."""
        self._sequence.reserved = self._sequence.reserved or max(NUMBERS_LOST, int(time.time()))
        highest = self._sequence.reserved
        saved = salvage.save(self.file, salvage.LastKnown(highest, self.tallies, self.dropped, self.since, now=self._clock.read().time))
        aside = salvage.swap(self.file)
        kept = f"; it is kept as {aside.name}" if aside is not None else ""
        return f"{self.file}: was damaged ({damage}){kept}, {saved} events are saved, and numbers go on at {highest + 1}"

    def _take_delivered(self, seqs: Collection[int]) -> int:
        """Take events out of the outbox. Returns how many of them were in it."""
        removed = schema.remove_from_outbox(self._connection, seqs)
        delete_delivered(self._connection, self._pruned, seqs)
        return removed

    def _store(self, db: sqlite3.Connection, events: Sequence[NumberedEvent], *, waited: int) -> tuple[int, Tallies, Pruned]:
        """Reserve the numbers, insert the events and count them. waited: events in the outbox before.

        Returns how many undelivered events were dropped to make room, the tallies, and how far the database is pruned.
        """
        if not events:
            return 0, self.tallies, self._pruned
        raised = self._sequence.reserve(events[0].event.seq, events[-1].event.seq)
        for each in events:
            schema.store(db, each.event, each.payload)
        advanced = advance(self.tallies, (each.event for each in events))
        write_advance(db, self.tallies, advanced)
        if advanced.tallies.day != self.tallies.day:
            schema.note(db, day=advanced.tallies.day)
        dropped, pruned = prune(db, self._pruned, self._retention, undelivered=waited + len(events)) if raised else (0, self._pruned)
        if dropped:
            schema.note(db, dropped=self.dropped + dropped)
        return dropped, advanced.tallies, pruned

    def _since_as_of(self, events: Sequence[NumberedEvent]) -> str:
        """When the ledger began. In the run that made it, known better once the clock is synchronised: a Raspberry Pi's is not at its first start."""
        synced = next((each.event for each in events if each.event.clock == "synced"), None)
        if self._created is None or synced is None or synced.boot != self._created.boot:
            return self.since
        began = datetime.fromisoformat(synced.time) - timedelta(seconds=synced.uptime_s - self._created.uptime_s)
        return began.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _exit_notes(self, exit_kind: ExitKind) -> dict[str, int | str]:
        if exit_kind != "refused":
            return {"clean": int(exit_kind == "clean")}
        before = {
            name: getattr(self._notes_before, name) for name in ("clean", "restarts", "kernel", "crashes", "begun_s", "starts", "total_restarts")
        }
        return {name: value for name, value in before.items() if value is not None}


def stamp(event: AnEvent, clock: Clock) -> AnEvent:
    """The event with the present time in it."""
    now = clock.read()
    return msgspec.structs.replace(event, boot=now.boot, uptime_s=now.uptime_s, time=now.time, clock=now.clock)


def _is_text(text: str) -> bool:
    """Whether it can be encoded: half a surrogate pair, which JSON can say, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
