"""What is counted for each day, by the local clock."""

import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.common.clock import Clock
from device.events import BinEmptied
from device.ledger.ledger import Ledger
from device.ledger.reader import LedgerCounts, read_counts
from device.ledger.report import GroupCounts, group_counts
from device.ledger.tally_tables import DAYS
from tests.device.ledger.ledgers import WAIT_S, Opener, events_in, power_cut, rejected_item, sorted_item, stored


class WallClock(Clock):
    """Its wall time is set by the test."""

    def __init__(self) -> None:
        self.wall = 0.0
        super().__init__(wall_s=lambda: self.wall)

    def set(self, when: str) -> None:
        self.wall = datetime.fromisoformat(when).timestamp()


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture(autouse=True)
def local_zone() -> Iterator[Callable[[str], None]]:
    """Sets the local time zone; east of UTC by two hours at first."""
    before = os.environ.get("TZ")

    def set_zone(zone: str) -> None:
        os.environ["TZ"] = zone
        time.tzset()

    set_zone("UTC-2")
    yield set_zone
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def by_day(state: Path, counts: LedgerCounts | None = None) -> dict[str, GroupCounts]:
    return {day: of_day for (day,), of_day in group_counts(counts or read_counts(state), ["day"])}


def sort(ledger: Ledger, clock: WallClock, *times: str) -> None:
    for when in times:
        clock.set(when)
        stored(ledger.record(sorted_item("a")))


def test_events_count_for_their_local_day(opener: Opener, state: Path, clock: WallClock) -> None:
    ledger = opener(clock=clock)
    sort(ledger, clock, "2026-03-01T21:59:59Z", "2026-03-01T22:00:00Z", "2026-03-02T21:59:59Z", "2026-03-04T12:00:00Z")
    stored(ledger.record(rejected_item("b")), ledger.record(BinEmptied(bin="paper", by="command", items=4)))
    days = by_day(state)
    assert {day: (of_day.sorted, of_day.rejected, of_day.emptied) for day, of_day in days.items()} == {
        "2026-03-01": (1, 0, 0),
        "2026-03-02": (2, 0, 0),
        "2026-03-04": (1, 1, 1),
    }
    assert days["2026-03-02"].contamination == 0.06
    assert days["2026-03-04"].reasons == {"unsure": 1}


def test_a_restart_goes_on_with_the_same_day(opener: Opener, state: Path, clock: WallClock, tmp_path: Path) -> None:
    ledger = opener(clock=clock)
    sort(ledger, clock, "2026-03-01T08:00:00Z", "2026-03-02T08:00:00Z")
    ledger = opener(after := power_cut(state, tmp_path / "after"), clock=clock)
    sort(ledger, clock, "2026-03-02T09:00:00Z")
    ledger.close(WAIT_S)
    ledger = opener(after, clock=clock)
    sort(ledger, clock, "2026-03-02T10:00:00Z", "2026-03-03T08:00:00Z")
    assert {day: of_day.sorted for day, of_day in by_day(after).items()} == {"2026-03-01": 1, "2026-03-02": 3, "2026-03-03": 1}


def test_a_day_that_comes_again_goes_on(opener: Opener, state: Path, clock: WallClock) -> None:
    """The clock of a Raspberry Pi is wrong until it is synchronised."""
    ledger = opener(clock=clock)
    sort(ledger, clock, *["2026-03-02T08:00:00Z", "2025-11-20T08:00:00Z", "2099-01-01T00:00:00Z"] * 3)
    assert {day: of_day.sorted for day, of_day in by_day(state).items()} == {"2025-11-20": 3, "2026-03-02": 3, "2099-01-01": 3}
    assert ledger.totals()["paper"].sorted == 9


def test_the_newest_days_stay(opener: Opener, state: Path, clock: WallClock) -> None:
    ledger = opener(clock=clock)
    clock.set("2026-01-01T12:00:00Z")
    for first in range(0, DAYS + 3, 100):
        told = []
        for _ in range(first, min(first + 100, DAYS + 3)):
            clock.wall += 86400.0
            told.append(ledger.record(sorted_item("a")))
        stored(*told)
    days = by_day(state)
    assert len(days) in (DAYS, DAYS + 1)
    assert (max(days), {of_day.sorted for of_day in days.values()}) == ("2027-02-08", {1})
    assert ledger.totals()["paper"].sorted == DAYS + 3


def test_a_day_is_written_once_and_an_event_changes_one_row(opener: Opener, state: Path, clock: WallClock) -> None:
    ledger = opener(clock=clock)
    written: list[str] = []
    ledger._database._connection.set_trace_callback(written.append)
    sort(ledger, clock, "2026-03-01T08:00:00Z", "2026-03-01T08:00:01Z", "2026-03-02T08:00:00Z", "2026-03-02T08:00:01Z")
    ledger.close(WAIT_S)
    assert sum(statement.startswith("INSERT OR REPLACE INTO tally") for statement in written) == 4
    assert sum(statement.startswith("INSERT INTO day") for statement in written) == 1


def test_a_change_of_zone_moves_no_counts(opener: Opener, state: Path, clock: WallClock, local_zone: Callable[[str], None]) -> None:
    ledger = opener(clock=clock)
    sort(ledger, clock, "2026-03-01T23:00:00Z")
    local_zone("UTC+5")
    sort(ledger, clock, "2026-03-01T23:30:00Z")
    assert {day: of_day.sorted for day, of_day in by_day(state).items()} == {"2026-03-01": 1, "2026-03-02": 1}


WHEN = st.sampled_from(["2026-03-01T08:00:00Z", "2026-03-02T08:00:00Z", "2026-03-02T21:00:00Z", "2026-05-05T05:00:00Z"])
STEP = st.tuples(st.sampled_from(["sort", "sort", "reject", "empty", "close", "cut"]), st.sampled_from(["paper", "glass"]), WHEN)


@settings(max_examples=15)
@given(st.lists(STEP, max_size=25))
def test_days_totals_and_since_emptied_follow_from_the_events(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]]) -> None:
    folder, clock, cuts = tmp_path_factory.mktemp("days"), WallClock(), 0
    ledger = Ledger(folder / "0", "bin1", clock)
    days: dict[str, int] = {}
    ever, since = dict.fromkeys(["paper", "glass"], 0), dict.fromkeys(["paper", "glass"], 0)
    for step, name, when in steps:
        clock.set(when)
        if step in ("close", "cut"):
            if step == "close":
                ledger.close(WAIT_S)
            power_cut(folder / str(cuts), folder / str(cuts + 1))
            ledger.close(WAIT_S)
            cuts += 1
            ledger = Ledger(folder / str(cuts), "bin1", clock)
        elif step == "empty":
            stored(ledger.record(BinEmptied(bin=name, by="sensor", items=0)))
            since[name] = 0
        else:
            stored(ledger.record(sorted_item("a", name) if step == "sort" else rejected_item("a", name)))
            ever[name], since[name], days[when[:10]] = ever[name] + 1, since[name] + 1, days.get(when[:10], 0) + 1
    totals, emptied = ledger.totals(), ledger.since_emptied()
    ledger.close(WAIT_S)
    assert {name: of_bin.sorted + of_bin.rejected for name, of_bin in totals.items()} == {name: ever[name] for name in totals}
    assert {name: of_bin.totals.sorted + of_bin.totals.rejected for name, of_bin in emptied.items()} == {name: since[name] for name in totals}
    counted = {day: of_day.sorted + of_day.rejected for day, of_day in by_day(folder / str(cuts)).items()}
    assert {day: n for day, n in counted.items() if n} == days
    assert len(events_in(folder / str(cuts))) >= sum(ever.values())
