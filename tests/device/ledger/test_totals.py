"""What is counted for each bin: by label and reason, since the ledger began and since the bin was emptied."""

from pathlib import Path

import msgspec
import pytest

from device.common.clock import Clock
from device.events import BinEmptied, BinFull, CommandAccepted, Hazard, ItemSorted, Jam
from device.ledger.totals import BinTotals, SinceEmptied
from tests.device.ledger.ledgers import WAIT_S, Opener, altered, fault, power_cut, rejected_item, sorted_item, stored

NOON_S = 1_764_590_400.0
"""2025-12-01 12:00 UTC"""


def item(label: str, p_right: float | None = None, p: float = 0.9, to_bin: str = "paper") -> ItemSorted:
    return msgspec.structs.replace(sorted_item("a", to_bin, p), label=label, p_right=p_right)


def emptied(name: str = "paper") -> BinEmptied:
    return BinEmptied(bin=name, by="command", items=1)


def test_items_are_counted_by_label_and_rejections_by_reason(opener: Opener) -> None:
    ledger = opener()
    full = msgspec.structs.replace(rejected_item("c"), reason="full")
    told = [item("card"), item("card"), item("книга"), rejected_item("a"), rejected_item("b"), full, Hazard(item="d", bin="other", label="x", p=0.5)]
    stored(*(ledger.record(event) for event in told))
    totals = ledger.totals()
    assert totals["paper"].labels == {"card": 2, "книга": 1}
    assert totals["other"].reasons == {"unsure": 2, "full": 1}
    assert (totals["other"].hazards, totals["other"].labels) == (1, {})
    ledger.close(WAIT_S)
    assert opener().totals() == totals


@pytest.mark.parametrize(("p_right", "p", "wrong"), [(0.75, 0.5, 0.25), (None, 0.9, 0.1), (1.0, 0.5, 0.0), (1.0000001, 0.5, 0.0)])
def test_contamination_is_the_probability_of_being_wrong(opener: Opener, p_right: float | None, p: float, wrong: float) -> None:
    ledger = opener()
    stored(ledger.record(item("x", p_right, p)), ledger.record(rejected_item("b")))
    assert ledger.totals()["paper"].contamination == wrong
    assert ledger.totals()["other"].contamination == 0.0


def test_contamination_does_not_drift_over_many_items(opener: Opener) -> None:
    ledger = opener()
    for _ in range(10):
        stored(*(ledger.record(item("x", 0.9)) for _ in range(100)))
    assert ledger.totals()["paper"].contamination == 100.0


def test_emptying_a_bin_starts_its_count_anew_and_no_others(opener: Opener) -> None:
    ledger = opener()
    stored(ledger.record(item("card", 0.9)), ledger.record(item("tin", to_bin="metal")), ledger.record(Jam(item="a", bin="paper", waited_s=8.0)))
    (first,) = stored(ledger.record(emptied()))
    assert ledger.since_emptied()["paper"] == SinceEmptied(time=first.time, totals=BinTotals())
    assert ledger.since_emptied()["metal"] == SinceEmptied(time="", totals=ledger.totals()["metal"])
    stored(ledger.record(item("card", 0.5)), ledger.record(item("card", 0.75)))
    now = {"paper": SinceEmptied(time=first.time, totals=BinTotals(sorted=2, contamination=0.75, labels={"card": 2}))}
    assert ledger.since_emptied() == now | {"metal": SinceEmptied(time="", totals=ledger.totals()["metal"])}
    assert ledger.totals()["paper"] == BinTotals(sorted=3, jams=1, contamination=0.85, labels={"card": 3})
    ledger.close(WAIT_S)
    assert opener().since_emptied()["paper"] == now["paper"]


def test_items_before_and_after_an_emptying_may_share_a_transaction(opener: Opener) -> None:
    ledger = opener()
    stored(*(ledger.record(event) for event in [item("x"), emptied(), item("x"), emptied(), item("x"), item("x")]))
    assert ledger.since_emptied()["paper"].totals.sorted == 2
    assert ledger.totals()["paper"].sorted == 4


def test_a_bin_that_was_emptied_before_any_item_is_known(opener: Opener) -> None:
    ledger = opener()
    (event,) = stored(ledger.record(emptied()))
    stored(ledger.record(BinFull(bin="glass", percent=90.0, source="estimate")))
    assert ledger.totals() == {"paper": BinTotals()}
    assert ledger.since_emptied() == {"paper": SinceEmptied(time=event.time, totals=BinTotals())}


def test_since_is_when_the_ledger_began(opener: Opener) -> None:
    wall_s = [NOON_S]
    clock = Clock(wall_s=lambda: wall_s[0])
    first = opener(clock=clock)
    assert first.since == "2025-12-01T12:00:00.000Z"
    first.close(WAIT_S)
    wall_s[0] += 1e6
    assert opener(clock=clock).since == "2025-12-01T12:00:00.000Z"


def test_since_is_put_right_once_the_clock_is_synchronised(opener: Opener) -> None:
    now_s, wall_s, synced = [100.0], [NOON_S], [False]
    clock = Clock(now_s=lambda: now_s[0], wall_s=lambda: wall_s[0], synced=lambda: synced[0])
    ledger = opener(clock=clock)
    stored(ledger.record(fault()))
    assert ledger.since == "2025-12-01T12:00:00.000Z"
    now_s[0], wall_s[0], synced[0] = 160.0, NOON_S + 86_400.0, True
    stored(ledger.record(fault()))
    assert ledger.since == "2025-12-02T11:59:00.000Z"
    now_s[0] = 200.0
    stored(ledger.record(fault()))
    ledger.close(WAIT_S)
    wall_s[0] += 1e6
    again = opener(clock=Clock(wall_s=lambda: wall_s[0], synced=lambda: True))
    stored(again.record(fault()))
    assert again.since == "2025-12-02T11:59:00.000Z"


def test_restarts_are_counted_since_the_ledger_began(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener()
    seen = [(ledger.total_restarts, ledger.last_restart)]
    for n, end in enumerate(["kill", "clean", "crash", "cut", "refused", "clean"]):
        if end in ("kill", "cut"):
            state = power_cut(state, tmp_path / str(n))
            if end == "cut":
                altered(state, "UPDATE note SET value = 'another' WHERE name = 'kernel'")
        else:
            ledger.close(WAIT_S, end)
        ledger = opener(state)
        seen.append((ledger.total_restarts, ledger.last_restart))
    assert seen == [(0, "first start"), (1, "crash"), (1, "stopped"), (2, "crash"), (3, "power_cut"), (3, "power_cut"), (3, "stopped")]


def test_a_first_start_that_is_refused_leaves_a_first_start(opener: Opener) -> None:
    opener().close(WAIT_S, "refused")
    assert opener().last_restart == "first start"


def test_events_without_a_bin_are_not_counted(opener: Opener) -> None:
    ledger = opener()
    stored(ledger.record(fault()), ledger.record(CommandAccepted(command="pause", id="1")), ledger.record(Hazard(item="a", bin="", label="x", p=0.5)))
    assert (ledger.totals(), ledger.since_emptied()) == ({}, {})
