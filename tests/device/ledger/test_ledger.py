import contextlib
import json
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.common.clock import Clock
from device.events import AnyEvent, Event, Fault, ItemInterrupted, ItemRejected, ItemSorted, Jam, decode
from device.ledger.database import NUMBERS, NUMBERS_LOST
from device.ledger.ledger import WAITING, Ledger
from device.ledger.reader import read_events
from device.ledger.schema import FILE, LedgerError
from device.ledger.sequence import BLOCK
from device.ledger.totals import BinTotals

WAIT_S = 20.0
ROOT = Path(__file__).parents[3]

Opener = Callable[..., Ledger]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def opener(state: Path) -> Iterator[Opener]:
    """Opens ledgers in `state`, and closes at the end what the test left open."""
    opened: list[Ledger] = []

    def open_ledger(folder: Path = state, clock: Clock | None = None, **settings: Any) -> Ledger:
        opened.append(Ledger(folder, "bin1", clock or Clock(), **settings))
        return opened[-1]

    yield open_ledger
    for ledger in opened:
        ledger.close(WAIT_S)


def sorted_item(item: str, to_bin: str = "paper", p: float = 0.97) -> ItemSorted:
    return ItemSorted(
        item=item,
        bin=to_bin,
        label="cardboard",
        p=p,
        probabilities={"cardboard": 0.97, "glass": 0.03},
        frames=2,
        decided_s=0.4,
        moved_s=1.5,
        bundle="b",
    )


def rejected_item(item: str, to_bin: str = "other") -> ItemRejected:
    known = {field: getattr(sorted_item(item, to_bin), field) for field in ("label", "p", "probabilities", "frames", "decided_s", "moved_s")}
    return ItemRejected(item=item, bin=to_bin, bundle="b", reason="unsure", **known)


def fault(n: int = 0) -> Fault:
    return Fault(fault="camera", message=f"no frame ({n})")


def stored(*told: "Future[AnyEvent]") -> list[AnyEvent]:
    return [future.result(WAIT_S) for future in told]


def fill(ledger: Ledger, n: int) -> list[int]:
    seqs: list[int] = []
    while len(seqs) < n:
        seqs += [event.seq for event in stored(*(ledger.record(fault(i)) for i in range(min(n - len(seqs), WAITING // 2))))]
    return seqs


def events_in(state: Path) -> list[AnyEvent]:
    return [decode(payload) for _, payload in read_events(state)]


def power_cut(state: Path, to: Path) -> Path:
    """What a disk that keeps its promises holds when the power goes at this moment.

    While it is copied a reader keeps SQLite from emptying the WAL, so the copies of database and WAL fit together.
    """
    to.mkdir()
    with contextlib.closing(sqlite3.connect(state / FILE, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        for name in (FILE, f"{FILE}-wal", NUMBERS):
            if (state / name).exists():
                shutil.copy(state / name, to / name)
    return to


def altered(state: Path, statement: str) -> None:
    db = sqlite3.connect(state / FILE)
    db.execute(statement)
    db.commit()
    db.close()


# What is recorded


def test_an_event_gets_its_number_device_and_clocks_when_it_is_stored(opener: Opener, state: Path) -> None:
    ledger = opener()
    first, second = stored(ledger.record(fault(1)), ledger.record(fault(2)))
    assert (first.seq, second.seq, first.device) == (1, 2, "bin1")
    assert first.boot == second.boot != ""
    assert first.time.endswith("Z")
    assert events_in(state) == [first, second]


def test_events_are_numbered_in_the_order_of_the_calls_over_restarts(opener: Opener, state: Path) -> None:
    for start in range(3):
        ledger = opener()
        fill(ledger, 100)
        assert ledger.newest_seq == 100 * (start + 1)
        assert ledger.close(WAIT_S)
    told = events_in(state)
    assert [event.seq for event in told] == list(range(1, 301))
    assert [event.message for event in told if isinstance(event, Fault)] == [f"no frame ({i})" for i in range(100)] * 3


def test_its_events_name_the_ledger_over_restarts_and_crashes(opener: Opener, state: Path) -> None:
    ledger = opener()
    (first,) = stored(ledger.record(fault()))
    assert first.install == ledger.install != ""
    ledger.close(WAIT_S, "crash")
    (second,) = stored(opener().record(fault()))
    assert second.install == first.install


def test_a_copy_of_a_ledger_goes_on_under_a_name_of_its_own_though_its_numbers_are_the_same(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener()
    stored(ledger.record(fault()))
    ledger.close(WAIT_S)
    copy = Path(shutil.copytree(state, tmp_path / "copy"))
    (ours,), (theirs,) = stored(opener().record(fault())), stored(opener(copy).record(fault()))
    assert ours.seq == theirs.seq
    assert ours.install != theirs.install
    assert [event.install for event in events_in(copy)] == [ours.install, theirs.install]


def test_a_ledger_begun_anew_has_another_name(opener: Opener, state: Path) -> None:
    first = opener()
    first.close(WAIT_S)
    shutil.rmtree(state)
    assert opener().install != first.install


def test_a_ledger_of_an_earlier_version_gets_a_name_and_its_events_without_one_are_read_and_delivered(opener: Opener, state: Path) -> None:
    ledger = opener()
    stored(ledger.record(fault(1)))
    ledger.close(WAIT_S)
    altered(state, "DELETE FROM note WHERE name IN ('install', 'place')")
    altered(state, f"UPDATE event SET payload = CAST(replace(CAST(payload AS TEXT), '\"install\":\"{ledger.install}\",', '') AS BLOB)")
    again = opener()
    (new,) = stored(again.record(fault(2)))
    old, event = events_in(state)
    assert (old.install, event.install) == ("", new.install)
    assert new.install != ""
    assert [decode(payload).install for _, payload in again.outbox(0, 10)] == ["", new.install]


def test_the_listener_hears_of_an_event_when_it_is_on_disk(opener: Opener, state: Path) -> None:
    ledger, heard, done = opener(), [], threading.Event()

    def listener(payload: bytes) -> None:
        heard.append((payload, [stored_payload for _, stored_payload in read_events(state)]))
        done.set()

    ledger.listen(listener)
    ledger.record(fault())
    assert done.wait(WAIT_S)
    ((payload, on_disk),) = heard
    assert on_disk == [payload]


def test_an_event_that_could_not_be_read_back_is_refused_and_costs_the_others_nothing(opener: Opener, state: Path) -> None:
    ledger = opener()
    told = [ledger.record(event) for event in (fault(1), sorted_item("a", p=float("nan")), fault(2), Event())]
    with pytest.raises(LedgerError, match="cannot be stored"):
        told[1].result(WAIT_S)
    with pytest.raises(LedgerError, match="cannot be stored"):
        told[3].result(WAIT_S)
    assert [event.seq for event in stored(told[0], told[2])] == [1, 2]
    assert len(events_in(state)) == 2


def test_totals_count_per_bin_and_survive_a_restart(opener: Opener) -> None:
    ledger = opener()
    interrupted = ItemInterrupted(item="d", bin="paper", label="x", reason="stopped")
    told = [sorted_item("a"), sorted_item("b"), rejected_item("c"), Jam(item="d", bin="paper", waited_s=8.0), interrupted, fault()]
    stored(*(ledger.record(event) for event in told))
    totals = {"paper": BinTotals(sorted=2, interrupted=1, jams=1), "other": BinTotals(rejected=1)}
    assert ledger.totals() == totals
    ledger.close(WAIT_S)
    assert opener().totals() == totals


# Intents


def test_it_knows_the_item_before_its_start_and_passes_over_events_of_a_version_to_come(opener: Opener, state: Path) -> None:
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


def test_an_item_on_its_way_when_the_power_fails_is_recorded_as_interrupted_once(opener: Opener, state: Path, tmp_path: Path) -> None:
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


def test_an_item_sent_elsewhere_after_all_has_one_intent_with_the_last_bin(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener()
    ledger.intend("a", "paper", "cardboard")
    ledger.intend("a", "other", "cardboard").result(WAIT_S)
    after = power_cut(state, tmp_path / "after")
    opener(after).close(WAIT_S)
    assert [event.bin for event in events_in(after) if isinstance(event, ItemInterrupted)] == ["other"]


# Outbox


def test_the_outbox_gives_undelivered_events_in_order_and_forgets_delivered_ones_for_good(opener: Opener) -> None:
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


def test_a_delivery_that_a_power_cut_forgot_is_delivered_again(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener(acknowledge_after_s=3600.0)
    fill(ledger, 3)
    ledger.delivered([1, 2, 3])
    assert [seq for seq, _ in opener(power_cut(state, tmp_path / "after")).outbox(0, 9)] == [1, 2, 3]


def test_delivered_events_are_kept_up_to_a_bound_and_undelivered_ones_beyond_it(opener: Opener, state: Path) -> None:
    ledger = opener(keep=50, keep_undelivered=10_000)
    seqs = fill(ledger, 2 * BLOCK)
    ledger.delivered(seqs[5:])
    fill(ledger, BLOCK + 1)
    kept = [event.seq for event in events_in(state)]
    assert kept == [1, 2, 3, 4, 5, *range(2 * BLOCK + 1, 3 * BLOCK + 2)]
    assert ledger.dropped == 0


def test_undelivered_events_beyond_their_bound_are_given_up_oldest_first_counted_and_said(opener: Opener, caplog: pytest.LogCaptureFixture) -> None:
    ledger = opener(keep=10, keep_undelivered=100)
    fill(ledger, 2 * BLOCK + 1)
    assert ledger.dropped == 2 * BLOCK + 1 - 100
    assert [seq for seq, _ in ledger.outbox(0, 1000)] == list(range(2 * BLOCK + 1 - 99, 2 * BLOCK + 2))
    assert ledger.undelivered == 100
    assert "given up" in caplog.text
    ledger.close(WAIT_S)
    assert opener().dropped == 2 * BLOCK + 1 - 100


# Starts and stops


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


def test_a_stop_that_is_said_not_to_be_clean_is_counted_though_all_is_stored(opener: Opener, state: Path) -> None:
    ledger = opener()
    fill(ledger, 3)
    assert ledger.close(WAIT_S, "crash")
    assert ledger.close(WAIT_S)
    assert (again := opener(state)).restarts == again.crashes == 1
    assert again.totals() == ledger.totals()


def test_only_crashes_soon_after_a_start_make_a_row_and_neither_power_cuts_nor_good_running_add_to_it(
    opener: Opener, state: Path, tmp_path: Path
) -> None:
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


def test_one_process_at_a_time_has_the_ledger(opener: Opener, state: Path) -> None:
    ledger = opener()
    with pytest.raises(LedgerError, match="another sortbin uses this ledger"):
        opener()
    ledger.close(WAIT_S)
    assert opener().newest_seq == 0


def test_what_was_handed_over_before_closing_is_stored_and_what_comes_after_is_refused(opener: Opener, state: Path) -> None:
    ledger = opener()
    told = [ledger.record(fault(i)) for i in range(200)]
    assert ledger.close(WAIT_S)
    assert [event.seq for event in stored(*told)] == list(range(1, 201))
    for refused in (ledger.record(fault()), ledger.intend("a", "paper", "x")):
        with pytest.raises(LedgerError, match="closed"):
            refused.result(WAIT_S)
    assert len(events_in(state)) == 200
    assert not ledger.alive


def test_events_can_be_read_while_they_are_written(opener: Opener, state: Path) -> None:
    ledger = opener()
    told = [ledger.record(fault(i)) for i in range(WAITING)]
    read = [[event.seq for event in events_in(state)] for _ in range(5)]
    stored(*told)
    read.append([event.seq for event in events_in(state)])
    assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in read)
    assert len(read[-1]) == WAITING
    assert [seq for seq, _ in read_events(state, after_seq=WAITING - 2)] == [WAITING - 1, WAITING]


def test_reading_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"ledger\.sqlite3: not found"):
        list(read_events(tmp_path))
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(LedgerError, match="is damaged"):
        list(read_events(tmp_path))


# A disk that fails


@pytest.fixture
def full_disk(state: Path) -> Iterator[Callable[[], None]]:
    """Lets no file grow above the size that the ledger's journal has when called; the limit is lifted by `lift`, and at the end."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, ((state / f"{FILE}-wal").stat().st_size, before[1]))

    yield fill_up
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def lift() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_full_disk_refuses_events_until_there_is_space_and_none_is_half_stored(opener: Opener, state: Path, full_disk: Callable[[], None]) -> None:
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
    assert ledger.totals() == {"paper": BinTotals(sorted=1)}
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


def test_a_stuck_disk_fills_the_queue_and_then_refuses_without_waiting(opener: Opener, state: Path) -> None:
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


def test_a_folder_that_cannot_be_made_is_named(opener: Opener, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=str(tmp_path / "file")):
        opener(tmp_path / "file" / "state")


# A damaged database


def garbage(state: Path) -> None:
    (state / FILE).write_bytes(random.Random(0).randbytes(20_000))


def truncated(state: Path) -> None:
    os.truncate(state / FILE, (state / FILE).stat().st_size * 2 // 3)


def emptied(state: Path) -> None:
    os.truncate(state / FILE, 0)


def deleted(state: Path) -> None:
    (state / FILE).unlink()


def one_page_overwritten(state: Path) -> None:
    with (state / FILE).open("r+b") as file:
        file.seek(-3 * 4096, os.SEEK_END)
        file.write(b"\xa5" * 4096)


@pytest.mark.parametrize("damage", [garbage, truncated, emptied, deleted, one_page_overwritten])
def test_whatever_happens_to_the_database_no_number_comes_twice(opener: Opener, state: Path, damage: Callable[[Path], None]) -> None:
    ledger = opener()
    given_out = fill(ledger, BLOCK + 44)
    ledger.close(WAIT_S)
    damage(state)
    mended = opener()
    assert mended.warnings
    assert stored(mended.record(fault()))[0].seq > max(given_out)
    assert mended.close(WAIT_S)
    assert opener().warnings == []


@pytest.mark.parametrize("damage", [garbage, truncated, one_page_overwritten])
def test_a_damaged_database_is_kept_aside(opener: Opener, state: Path, damage: Callable[[Path], None]) -> None:
    ledger = opener()
    fill(ledger, 300)
    ledger.close(WAIT_S)
    damage(state)
    mended = opener()
    assert (state / "ledger-corrupt-1.sqlite3").is_file()
    assert "ledger-corrupt-1.sqlite3" in mended.warnings[0]
    assert mended.restarts == 1


def test_what_can_be_read_of_a_damaged_database_is_saved_and_published_once_more_only_where_it_has_to_be(opener: Opener, state: Path) -> None:
    ledger = opener()
    fill(ledger, 300)
    stored(*(ledger.record(sorted_item(str(i))) for i in range(100)))
    ledger.delivered(range(1, 351))
    ledger.close(WAIT_S)
    before = events_in(state)
    one_page_overwritten(state)
    mended = opener()
    saved = events_in(state)
    assert 200 < len(saved) < 400
    assert set(map(repr, saved)) < set(map(repr, before))
    assert [seq for seq, _ in mended.outbox(0, 1000)] == [event.seq for event in saved if event.seq > 350]
    assert mended.totals()["paper"].sorted == 100


def test_an_item_on_its_way_is_not_forgotten_with_a_damaged_database(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener()
    fill(ledger, 300)
    ledger.intend("a", "paper", "cardboard").result(WAIT_S)
    ledger.close(WAIT_S)
    one_page_overwritten(state)
    opener().close(WAIT_S)
    assert [event.item for event in events_in(state) if isinstance(event, ItemInterrupted)] == ["a"]


def test_numbers_go_on_far_above_when_even_the_reservation_is_lost(opener: Opener, state: Path) -> None:
    ledger = opener()
    fill(ledger, 10)
    ledger.close(WAIT_S)
    garbage(state)
    (state / NUMBERS).write_bytes(b"")
    first = opener()
    (event,) = stored(first.record(fault()))
    assert event.seq > NUMBERS_LOST
    first.close(WAIT_S)
    assert stored(opener().record(fault()))[0].seq == event.seq + 1


def test_of_many_damaged_databases_the_newest_are_kept(opener: Opener, state: Path) -> None:
    for _ in range(5):
        opener().close(WAIT_S)
        garbage(state)
    opener()
    assert sorted(path.name for path in state.glob("ledger-corrupt-*")) == [f"ledger-corrupt-{n}.sqlite3" for n in (3, 4, 5)]


def test_an_older_copy_of_the_database_put_back_repeats_no_number(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener()
    fill(ledger, 5)
    ledger.close(WAIT_S)
    shutil.copy(state / FILE, tmp_path / "backup")
    ledger = opener()
    given_out = fill(ledger, 2 * BLOCK)
    ledger.close(WAIT_S)
    shutil.copy(tmp_path / "backup", state / FILE)
    assert stored(opener().record(fault()))[0].seq > max(given_out)


def test_a_card_that_lost_its_newest_pages_in_a_power_cut_repeats_no_number(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener()
    fill(ledger, 5)
    after = power_cut(state, tmp_path / "after")
    given_out = fill(ledger, 100)
    shutil.copy(state / NUMBERS, after / NUMBERS)
    altered(after, "UPDATE note SET value = 'an earlier start of the kernel' WHERE name = 'kernel'")
    assert stored(opener(after).record(fault()))[0].seq > max(given_out)


def test_after_a_crash_of_the_daemon_alone_numbers_go_on_without_a_gap(opener: Opener, state: Path, tmp_path: Path) -> None:
    fill(opener(), 5)
    assert stored(opener(power_cut(state, tmp_path / "after")).record(fault()))[0].seq == 6


def test_another_programs_database_is_left_alone(opener: Opener, state: Path) -> None:
    state.mkdir()
    altered(state, "CREATE TABLE recipes (name TEXT)")
    before = (state / FILE).read_bytes()
    with pytest.raises(LedgerError, match="another program's database"):
        opener()
    assert (state / FILE).read_bytes() == before


def test_a_newer_format_is_left_alone(opener: Opener, state: Path) -> None:
    opener().close(WAIT_S)
    altered(state, "ALTER TABLE note ADD COLUMN since")
    altered(state, "PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="format 99, expected at most 1"):
        opener()
    assert not list(state.glob("ledger-corrupt-*"))


def written_back(state: Path) -> None:
    """Have everything in the database's own file, none of it in its journal."""
    db = sqlite3.connect(state / FILE, isolation_level=None)
    assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    db.close()


def page_of(state: Path, table: str) -> int:
    db = sqlite3.connect(state / FILE)
    (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    db.close()
    return int(page)


def overwritten(state: Path, page: int) -> None:
    with (state / FILE).open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)


def test_damage_met_in_writing_refuses_what_was_asked_and_is_mended_before_the_next(opener: Opener, state: Path) -> None:
    ledger = opener(keep=100)
    stored(*(ledger.record(sorted_item(str(i))) for i in range(200)))
    ledger.delivered(range(1, 201))
    fill(ledger, 2 * BLOCK)
    ledger.intend("a", "paper", "x").result(WAIT_S)
    written_back(state)
    overwritten(state, page_of(state, "note"))
    overwritten(state, page_of(state, "total"))
    with pytest.raises(LedgerError, match="is damaged: sortbin, while it runs"):
        ledger.record(sorted_item("b")).result(WAIT_S)
    (event,) = stored(ledger.record(sorted_item("a")))
    assert event.seq > 200 + 2 * BLOCK
    assert ledger.totals() == {"paper": BinTotals(sorted=201)}
    assert (state / "ledger-corrupt-1.sqlite3").exists()
    assert ledger.alive
    assert ledger.close(WAIT_S)
    again = opener()
    assert (again.warnings, again.restarts, again.totals()) == ([], 0, {"paper": BinTotals(sorted=201)})
    assert not [told for told in events_in(state) if isinstance(told, ItemInterrupted)]


def test_damage_met_in_reading_alone_is_mended_too(opener: Opener, state: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = opener()
    stored(*(ledger.record(sorted_item(str(i))) for i in range(200)))
    written_back(state)
    overwritten(state, 20)
    with pytest.raises(LedgerError, match="is damaged"):
        ledger.outbox(0, 1000)
    event = ledger.record(sorted_item("a")).result(WAIT_S)
    waiting = [seq for seq, _ in ledger.outbox(0, 1000)]
    assert waiting[-1] == event.seq
    assert 150 < len(waiting) < 201
    assert ledger.totals() == {"paper": BinTotals(sorted=201)}
    assert f"{len(waiting) - 1} events are saved" in caplog.text


def test_damage_that_cannot_be_mended_on_a_full_disk_is_mended_when_there_is_room(opener: Opener, state: Path, full_disk: Callable[[], None]) -> None:
    ledger = opener()
    fill(ledger, 300)
    written_back(state)
    overwritten(state, 20)
    full_disk()
    with pytest.raises(LedgerError, match="is damaged"):
        ledger.outbox(0, 1000)
    with pytest.raises(LedgerError, match=r"(full|space|damaged)"):
        ledger.record(fault()).result(WAIT_S)
    with pytest.raises(LedgerError, match=r"(full|space)"):
        ledger.record(fault()).result(WAIT_S)
    with pytest.raises(LedgerError, match="is damaged"):
        ledger.outbox(0, 1)
    assert not list(state.glob("ledger-corrupt-*"))
    lift()
    assert stored(ledger.record(fault()))[0].seq > 300
    assert len(ledger.outbox(0, 1000)) > 250


# Killed


KILLED = """
import os, sys
from pathlib import Path
from device.common.clock import Clock
from device.events import ItemRejected, ItemSorted
from device.ledger.ledger import Ledger

ledger = Ledger(Path(sys.argv[1]), "bin1", Clock(), acknowledge_after_s=0.001)
told = dict(label="x", p=0.9, probabilities={"x": 1.0}, frames=1, decided_s=0.1, moved_s=0.1, bundle="b")
for n in range(10_000):
    item = f"{os.getpid()}-{n}"
    ledger.intend(item, "paper", "x").result(20)
    print("intent", item, flush=True)
    end = ItemSorted(item=item, bin="paper", **told) if n % 2 else ItemRejected(item=item, bin="other", reason="unsure", **told)
    event = ledger.record(end).result(20)
    print("event", item, event.seq, flush=True)
    if n % 3 == 0:
        ledger.delivered([event.seq])
        print("delivered", item, event.seq, flush=True)
"""


def test_killed_at_any_moment_it_loses_no_committed_event_doubles_none_and_counts_right(opener: Opener, state: Path) -> None:
    rng = random.Random(7)
    said: list[list[str]] = []
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(state)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None
        for _ in range(rng.randrange(1, 25)):
            said.append(process.stdout.readline().split())
        process.kill()
        said += [words for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n") and (words := line.split())]
        process.wait(WAIT_S)
        process.stdout.close()
    ledger = opener()
    told = events_in(state)
    assert [event.seq for event in told] == list(range(1, len(told) + 1))
    ends = Counter(event.item for event in told if isinstance(event, ItemSorted | ItemRejected | ItemInterrupted))
    assert set(ends) >= {item for what, item, *_ in said if what == "intent"}
    assert set(ends.values()) == {1}
    committed = {int(seq): item for what, item, *rest in said if what == "event" for seq in rest}
    on_disk = {event.seq: event.item for event in told if isinstance(event, ItemSorted | ItemRejected)}
    assert committed.items() <= on_disk.items()
    counted = Counter((event.bin, type(event)) for event in told if isinstance(event, ItemSorted | ItemRejected | ItemInterrupted))
    totals = ledger.totals()
    assert totals["paper"] == BinTotals(sorted=counted["paper", ItemSorted], interrupted=counted["paper", ItemInterrupted])
    assert totals["other"] == BinTotals(rejected=counted["other", ItemRejected])
    delivered = {int(seq) for what, _, *rest in said if what == "delivered" for seq in rest}
    waiting = {seq for seq, _ in ledger.outbox(0, len(told))}
    assert waiting >= {event.seq for event in told} - delivered - {max(committed)}
    assert ledger.restarts == 6


@settings(max_examples=8)
@given(st.lists(st.sampled_from(["intend", "sort", "reject", "fault", "deliver", "close", "cut"]), max_size=16))
def test_whatever_the_order_of_work_stops_and_power_cuts_the_ledger_says_what_happened(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("state")
    ledger = Ledger(folder / "0", "bin1", Clock(), acknowledge_after_s=0.001)
    expected: list[tuple[str, str]] = []
    on_the_way: list[str] = []
    delivered: set[int] = set()
    cuts = 0
    for n, step in enumerate(steps):
        item = on_the_way[0] if on_the_way else f"new-{n}"
        match step:
            case "intend":
                ledger.intend(f"item-{n}", "paper", "x").result(WAIT_S)
                on_the_way.append(f"item-{n}")
            case "sort" | "reject":
                stored(ledger.record(sorted_item(item) if step == "sort" else rejected_item(item)))
                expected.append((f"item_{step}ed", item))
                on_the_way = on_the_way[1:]
            case "fault":
                stored(ledger.record(fault(n)))
                expected.append(("fault", f"no frame ({n})"))
            case "deliver":
                found = [seq for seq, _ in ledger.outbox(0, 2)]
                assert not delivered & set(found)
                ledger.delivered(found)
                delivered |= set(found)
                assert ledger.undelivered == len(expected) - len(delivered)
            case "close" | "cut":
                cuts += 1
                after = folder / str(cuts)
                if step == "close":
                    assert ledger.close(WAIT_S)
                    shutil.copytree(folder / str(cuts - 1), after)
                else:
                    power_cut(folder / str(cuts - 1), after)
                    ledger.close(WAIT_S)
                ledger = Ledger(after, "bin1", Clock(), acknowledge_after_s=0.001)
                expected += [("item_interrupted", item) for item in on_the_way]
                on_the_way = []
                delivered = {event.seq for event in events_in(after)} - {seq for seq, _ in ledger.outbox(0, 1000)}
    ledger.close(WAIT_S)
    told = [json.loads(payload) for _, payload in read_events(folder / str(cuts))]
    assert [(event["type"], event.get("item") or event["message"]) for event in told] == expected
    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))


def test_a_start_that_was_refused_leaves_what_is_known_of_crashes_as_it_was(opener: Opener) -> None:
    opener().close(WAIT_S)
    for _ in range(3):
        opener().close(WAIT_S, "crash")
    for _ in range(2):
        refused = opener()
        assert (refused.restarts, refused.crashes) == (3, 3)
        refused.close(WAIT_S, "not begun")
    opener().close(WAIT_S)
    refused = opener()
    refused.close(WAIT_S, "not begun")
    assert (refused.restarts, opener().restarts) == (0, 0)


def test_whoever_sees_an_event_finds_it_in_the_totals(opener: Opener) -> None:
    """At every call that the writing thread makes, for then another thread may look."""
    early: list[tuple[int, int]] = []
    looked: list[Ledger] = []

    def look(*_: object) -> None:
        for ledger in looked:
            newest, counted = ledger.newest_seq, sum(of_bin.sorted for of_bin in ledger.totals().values())
            if counted < newest:
                early.append((newest, counted))

    threading.setprofile(look)
    try:
        ledger = opener()
    finally:
        threading.setprofile(None)
    looked.append(ledger)
    stored(*(ledger.record(sorted_item(str(n))) for n in range(20)))
    looked.clear()
    assert early == []


@pytest.mark.parametrize("below", ["", "below"])
def test_a_file_in_place_of_the_folder_is_named(opener: Opener, tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / below
    with pytest.raises(LedgerError) as refused:
        opener(folder)
    assert str(refused.value) == f"{folder}: is no folder; expected device.state, a folder that this user can write to"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_root_begins_in_the_folder_of_another_user_is_theirs(opener: Opener, state: Path) -> None:
    state.mkdir()
    os.chown(state, 12345, 12346)
    ledger = opener()
    fill(ledger, 3)
    made = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in state.iterdir()}
    assert {FILE, f"{FILE}-wal", f"{FILE}-shm", "ledger.lock"} <= set(made)
    assert made.pop(NUMBERS) is not None, "replaced as a whole, which the folder's owner may do"
    assert set(made.values()) == {(12345, 12346)}
