"""A disk that is full or hangs."""

import os
import resource
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from device.ledger.database import NUMBERS
from device.ledger.ledger import WAITING
from device.ledger.schema import FILE, LedgerError
from device.ledger.sequence_reservation import BLOCK
from tests.device.ledger.ledgers import WAIT_S, Opener, events_in, fault, fill, sorted_item, sorted_items, stored


def lift() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_full_disk_refuses_events_until_there_is_space(opener: Opener, state: Path, full_disk: Callable[[], None]) -> None:
    ledger = opener()
    fill(ledger, 10)
    full_disk()
    refused = [ledger.record(sorted_item("a")), ledger.record(fault(11))]
    intent = ledger.intend("b", "paper", "x")
    for future in (*refused, intent):
        with pytest.raises(LedgerError, match=r"ledger\.sqlite3: .*(full|space)"):
            future.result(WAIT_S)
    assert ledger.totals() == {}
    lift()
    assert [event.seq for event in stored(ledger.record(sorted_item("a")), ledger.record(fault(11)))] == [11, 12]
    assert ledger.alive
    assert ledger.totals() == {"paper": sorted_items(1)}
    assert ledger.close(WAIT_S)
    assert [event.seq for event in events_in(state)] == list(range(1, 13))


def test_numbers_that_cannot_be_reserved_are_not_given_out(opener: Opener, state: Path) -> None:
    ledger = opener()
    fill(ledger, BLOCK)
    blocking = state / f".{NUMBERS}.{os.getpid()}.new"
    blocking.mkdir()
    with pytest.raises(LedgerError, match=r"ledger\.seq\.\d+\.new"):
        ledger.record(fault()).result(WAIT_S)
    blocking.rmdir()
    assert stored(ledger.record(fault()))[0].seq == BLOCK + 1


def test_a_hung_disk_fills_the_queue_then_requests_are_refused(opener: Opener, state: Path) -> None:
    ledger = opener()
    fill(ledger, 1)
    hold = sqlite3.connect(state / FILE, isolation_level=None)
    hold.execute("BEGIN IMMEDIATE")
    told = [ledger.record(fault(i)) for i in range(2 * WAITING)]
    refused = [future for future in told if future.done()]
    assert refused
    for future in refused:
        with pytest.raises(LedgerError, match="writes wait for the disk"):
            future.result(0)
    hold.execute("ROLLBACK")
    hold.close()
    accepted = stored(*(future for future in told if future not in refused))
    assert len(accepted) >= WAITING
    assert [event.seq for event in accepted] == list(range(2, len(accepted) + 2))
