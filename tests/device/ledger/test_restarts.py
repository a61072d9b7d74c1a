"""Starts, stops, and how crashes are counted."""

from pathlib import Path

import pytest

from device.common.clock import Clock
from device.events import BinEmptied, BinFull, Cleared, Event, Fault, Started
from device.ledger.database import ExitKind
from device.ledger.schema import LedgerError
from tests.device.ledger.ledgers import WAIT_S, Opener, altered, events_in, fault, fill, power_cut, stored


def test_starts_without_a_clean_stop_before_them_are_counted(opener: Opener, state: Path, tmp_path: Path) -> None:
    opener()
    counts = []
    for n in range(3):
        state = power_cut(state, tmp_path / str(n))
        counts.append(opener(state).restarts)
    assert counts == [1, 2, 3]
    ledger = opener(power_cut(state, tmp_path / "clean"))
    assert ledger.close(WAIT_S)
    assert opener(tmp_path / "clean").restarts == 0


def test_a_crash_is_counted_although_everything_is_stored(opener: Opener, state: Path) -> None:
    ledger = opener()
    fill(ledger, 3)
    assert ledger.close(WAIT_S, "crash")
    assert ledger.close(WAIT_S)
    assert (again := opener(state)).restarts == again.crashes == 1
    assert again.totals() == ledger.totals()


def test_only_crashes_soon_after_a_start_are_counted_as_crashes(opener: Opener, state: Path, tmp_path: Path) -> None:
    since_boot_s = [5.0]
    clock = Clock(since_boot_s=lambda: since_boot_s[0])
    opener(clock=clock)
    crashes = []
    for n in range(6):
        state = power_cut(state, tmp_path / str(n))
        since_boot_s[0] += 601.0 if n == 3 else 2.0
        if n == 5:
            altered(state, "UPDATE note SET value = 'another' WHERE name = 'kernel'")
        crashes.append(opener(state, clock).crashes)
    assert crashes == [1, 2, 3, 0, 1, 0]
    assert opener(power_cut(state, tmp_path / "last")).restarts == 7


def test_one_process_at_a_time_opens_the_ledger(opener: Opener, state: Path) -> None:
    ledger = opener()
    with pytest.raises(LedgerError, match="another sortbin uses this ledger"):
        opener()
    ledger.close(WAIT_S)
    assert opener().newest_seq == 0


def test_close_stores_what_waits_and_refuses_what_comes_after(opener: Opener, state: Path) -> None:
    ledger = opener()
    told = [ledger.record(fault(i)) for i in range(200)]
    assert ledger.close(WAIT_S)
    assert [event.seq for event in stored(*told)] == list(range(1, 201))
    for refused in (ledger.record(fault()), ledger.intend("a", "paper", "x")):
        with pytest.raises(LedgerError, match="closed"):
            refused.result(WAIT_S)
    assert len(events_in(state)) == 200
    assert not ledger.alive


def test_a_refused_start_does_not_change_the_crash_count(opener: Opener) -> None:
    opener().close(WAIT_S)
    for _ in range(3):
        opener().close(WAIT_S, "crash")
    for _ in range(2):
        refused = opener()
        assert (refused.restarts, refused.crashes) == (3, 3)
        refused.close(WAIT_S, "refused")
    opener().close(WAIT_S)
    refused = opener()
    refused.close(WAIT_S, "refused")
    assert (refused.restarts, opener().restarts) == (0, 0)


HELD, OVER, JAM = Fault(fault="hazard", message="h"), Cleared(fault="hazard", lasted_s=1.0), Fault(fault="jam", message="j")
READY = Started(version="1", bundle="b", runtime="r", restarts=0)


@pytest.mark.parametrize(
    ("events", "end", "held"),
    [
        ([READY, HELD, JAM], "crash", True),
        ([READY, HELD], "refused", False),
        ([READY, HELD], "clean", False),
        ([READY, HELD, OVER], "crash", False),
        ([HELD, READY], "crash", False),
        ([], "crash", False),
    ],
)
def test_a_held_hazard_survives_a_crash_but_not_a_clean_stop(opener: Opener, state: Path, events: list[Event], end: ExitKind, held: bool) -> None:
    ledger = opener()
    stored(*map(ledger.record, events))
    assert ledger.close(WAIT_S, end)
    assert opener(state).hazard_held is held


def test_the_next_run_knows_which_bins_are_full(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener()
    assert ledger.full_before == frozenset()
    for bin_ in ("paper", "glass", "metal"):
        stored(ledger.record(BinFull(bin=bin_, percent=None, source="beam")))
    stored(ledger.record(BinEmptied(bin="glass", by="command", items=3)))
    stored(ledger.record(BinEmptied(bin="plastic", by="command", items=0)))
    assert opener(power_cut(state, tmp_path / "cut")).full_before == {"paper", "metal"}


def test_which_bins_are_full_survives_damage(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener()
    stored(ledger.record(BinFull(bin="paper", percent=91.0, source="tof")))
    broken = power_cut(state, tmp_path / "broken")
    altered(broken, "UPDATE note SET value = 'many' WHERE name = 'restarts'")
    mended = opener(broken)
    assert mended.warnings and mended.full_before == {"paper"}
