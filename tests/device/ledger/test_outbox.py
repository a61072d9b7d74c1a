"""The outbox of the database: events wait until they are delivered."""

from pathlib import Path

import pytest

from device.events import decode
from device.ledger.sequence_reservation import BLOCK
from tests.device.ledger.ledgers import WAIT_S, Opener, events_in, fill, power_cut


def test_the_outbox_holds_undelivered_events_in_order(opener: Opener) -> None:
    ledger = opener()
    fill(ledger, 10)
    assert [seq for seq, _ in ledger.outbox(0, 4)] == [1, 2, 3, 4]
    assert [seq for seq, _ in ledger.outbox(4, 100)] == [5, 6, 7, 8, 9, 10]
    ledger.delivered([1, 2, 5])
    assert [seq for seq, _ in ledger.outbox(0, 4)] == [3, 4, 6, 7]
    assert ledger.undelivered == 7
    assert ledger.close(WAIT_S)
    reopened = opener()
    assert [seq for seq, _ in reopened.outbox(0, 100)] == [3, 4, 6, 7, 8, 9, 10]
    assert reopened.undelivered == 7
    assert decode(reopened.outbox(0, 1)[0][1]).seq == 3


def test_deliveries_reach_the_disk_with_the_next_event(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener(acknowledge_after_s=3600.0)
    fill(ledger, 3)
    ledger.delivered([1, 2, 3])
    fill(ledger, 1)
    assert [seq for seq, _ in opener(power_cut(state, tmp_path / "after")).outbox(0, 9)] == [4]


def test_a_delivery_lost_in_a_power_cut_is_delivered_again(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener(acknowledge_after_s=3600.0)
    fill(ledger, 3)
    ledger.delivered([1, 2, 3])
    assert [seq for seq, _ in opener(power_cut(state, tmp_path / "after")).outbox(0, 9)] == [1, 2, 3]


def test_delivered_events_beyond_the_bound_are_deleted_first(opener: Opener, state: Path) -> None:
    ledger = opener(keep=50, keep_undelivered=10_000)
    seqs = fill(ledger, 2 * BLOCK)
    ledger.delivered(seqs[5:])
    fill(ledger, BLOCK + 1)
    kept = [event.seq for event in events_in(state)]
    assert kept == [1, 2, 3, 4, 5, *range(2 * BLOCK + 1, 3 * BLOCK + 2)]
    assert ledger.dropped == 0


def test_the_oldest_undelivered_events_beyond_the_bound_are_dropped(opener: Opener, caplog: pytest.LogCaptureFixture) -> None:
    ledger = opener(keep=10, keep_undelivered=100)
    fill(ledger, 2 * BLOCK + 1)
    assert ledger.dropped == 2 * BLOCK + 1 - 100
    assert [seq for seq, _ in ledger.outbox(0, 1000)] == list(range(2 * BLOCK + 1 - 99, 2 * BLOCK + 2))
    assert ledger.undelivered == 100
    assert "events dropped" in caplog.text
    ledger.close(WAIT_S)
    assert opener().dropped == 2 * BLOCK + 1 - 100
