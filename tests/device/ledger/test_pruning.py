"""What is deleted so that the ledger stays small: the same as by a plain model, and cheaply while many events wait."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.ledger.pruning import Pruned, Retention, delete_delivered, prune
from device.ledger.schema import Damaged, create, remove_from_outbox

WAITING = 20_000


@contextlib.contextmanager
def empty_ledger() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        create(db, given_out=0)
        yield db


def store(db: sqlite3.Connection, seqs: range) -> None:
    for table, values in (("event", "(?, x'00')"), ("outbox", "(?)")):
        db.executemany(f"INSERT INTO {table} VALUES {values}", ((seq,) for seq in seqs))


def seqs_in(db: sqlite3.Connection, table: str) -> list[int]:
    return [seq for (seq,) in db.execute(f"SELECT seq FROM {table} ORDER BY seq")]


def deliver(db: sqlite3.Connection, pruned: Pruned, seqs: list[int]) -> None:
    remove_from_outbox(db, seqs)
    delete_delivered(db, pruned, seqs)


@dataclass
class Model:
    """The rule in a few lines, on lists."""

    retention: Retention
    events: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)

    def prune(self) -> int:
        dropped = max(0, len(self.waiting) - self.retention.keep_undelivered)
        self.waiting = self.waiting[dropped:]
        self.events = self.kept()
        return dropped

    def kept(self) -> list[int]:
        beyond = max(0, len(self.events) - self.retention.keep)
        return sorted({*self.events[beyond:], *self.waiting})


retentions = st.builds(Retention, keep=st.integers(0, 8), keep_undelivered=st.integers(0, 40))
# Places in the outbox of events that are delivered, a number of new events, and what follows.
steps = st.lists(
    st.tuples(st.lists(st.integers(0, 30), max_size=8), st.integers(0, 12), st.sampled_from(("prune", "prune", "", "reopen"))), max_size=20
)


@given(retentions, steps, st.integers(0, 3))
def test_a_ledger_keeps_what_a_plain_model_keeps(retention: Retention, steps: list[tuple[list[int], int, str]], gap: int) -> None:
    model, pruned, newest = Model(retention), Pruned(), 0
    with empty_ledger() as db:
        for places, n, then in steps:
            delivered = [model.waiting[place] for place in {*places} if place < len(model.waiting)]
            deliver(db, pruned, delivered)
            model.waiting = [seq for seq in model.waiting if seq not in delivered]
            assert {*model.kept()} <= {*seqs_in(db, "event")}
            new = range(newest + gap + 1, newest + gap + n + 1)
            store(db, new)
            newest += gap + n
            model.events += new
            model.waiting += new
            if then == "reopen":
                pruned = Pruned()
            elif then == "prune":
                dropped, pruned = prune(db, pruned, retention, undelivered=len(model.waiting))
                assert dropped == model.prune()
                assert seqs_in(db, "event") == model.events
            assert seqs_in(db, "outbox") == model.waiting


def test_an_event_far_back_is_deleted_as_it_is_delivered() -> None:
    with empty_ledger() as db:
        store(db, range(1, 101))
        _, pruned = prune(db, Pruned(), Retention(10, 1000), undelivered=100)
        deliver(db, pruned, [3, 90, 91])
        assert seqs_in(db, "event") == [1, 2, *range(4, 90), *range(91, 101)]


def work(db: sqlite3.Connection, pruned: Pruned, retention: Retention, undelivered: int) -> tuple[int, Pruned]:
    """Hundreds of steps that SQLite took to prune, and how far the ledger is pruned."""
    hundreds = 0

    def count() -> None:
        nonlocal hundreds
        hundreds += 1

    db.set_progress_handler(count, 100)
    _, pruned = prune(db, pruned, retention, undelivered=undelivered)
    db.set_progress_handler(None, 0)
    return hundreds, pruned


@pytest.mark.parametrize("keep", [10, WAITING // 2])
@pytest.mark.parametrize("dropping", [False, True])
def test_pruning_does_not_go_through_waiting_events(keep: int, dropping: bool) -> None:
    retention = Retention(keep, WAITING if dropping else 10 * WAITING)
    with empty_ledger() as db:
        store(db, range(1, WAITING + 1))
        first, pruned = work(db, Pruned(), retention, WAITING)
        store(db, range(WAITING + 1, WAITING + 101))
        second, _ = work(db, pruned, retention, WAITING + 100)
    assert second < first / 20


def test_an_outbox_shorter_than_counted_is_damage() -> None:
    with empty_ledger() as db:
        store(db, range(1, 11))
        with pytest.raises(Damaged, match="outbox"):
            prune(db, Pruned(), Retention(5, 5), undelivered=20)
