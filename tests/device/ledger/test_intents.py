"""Intents: an item on its way at a power cut becomes one event."""

import sqlite3
from pathlib import Path

import pytest

from device.events import Event, Fault, ItemInterrupted
from device.ledger.schema import FILE
from tests.device.ledger.ledgers import WAIT_S, Opener, events_in, power_cut, rejected_item, sorted_item, stored


def test_the_last_item_is_found_past_events_of_newer_versions(opener: Opener, state: Path) -> None:
    ledger = opener()
    assert ledger.item_before is None
    ledger.record(sorted_item("a")).result(WAIT_S)
    last = ledger.record(sorted_item("b")).result(WAIT_S)
    ledger.record(Fault(fault="gate", message="stuck")).result(WAIT_S)
    ledger.close(WAIT_S)
    with sqlite3.connect(state / FILE) as db:
        db.execute("UPDATE event SET payload = ? WHERE seq = 3", (b'{"type":"swallowed","seq":3}',))
    db.close()
    assert opener().item_before == last


def test_an_item_at_a_power_cut_becomes_interrupted_once(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener()
    ledger.intend("a", "paper", "cardboard").result(WAIT_S)
    ledger.intend("b", "glass", "glass").result(WAIT_S)
    stored(ledger.record(sorted_item("a")))
    after = power_cut(state, tmp_path / "after")
    opener(after).close(WAIT_S)
    opener(after).close(WAIT_S)
    *_, last = events_in(after)
    assert [event.seq for event in events_in(after)] == sorted({event.seq for event in events_in(after)})
    assert len(events_in(after)) == 2
    assert isinstance(last, ItemInterrupted)
    assert (last.item, last.bin, last.label, last.reason, last.device) == ("b", "glass", "glass", "restart", "bin1")


@pytest.mark.parametrize(
    "end",
    [sorted_item("a"), rejected_item("a"), ItemInterrupted(item="a", bin="paper", label="x", reason="fault")],
    ids=["sorted", "rejected", "interrupted"],
)
def test_the_event_that_ends_an_item_ends_its_intent(opener: Opener, state: Path, tmp_path: Path, end: Event) -> None:
    ledger = opener()
    ledger.intend("a", "paper", "cardboard").result(WAIT_S)
    stored(ledger.record(end))
    reopened = opener(power_cut(state, tmp_path / "after"))
    assert reopened.newest_seq == 1


def test_a_second_intent_of_an_item_replaces_the_first(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener()
    ledger.intend("a", "paper", "cardboard")
    ledger.intend("a", "other", "cardboard").result(WAIT_S)
    after = power_cut(state, tmp_path / "after")
    opener(after).close(WAIT_S)
    assert [event.bin for event in events_in(after) if isinstance(event, ItemInterrupted)] == ["other"]
