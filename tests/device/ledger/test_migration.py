"""A ledger of an earlier version is brought up to date at its first start."""

import contextlib
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from device.common.clock import Clock
from device.events import CommandAccepted, ItemSorted, Started, decode
from device.ledger import schema
from device.ledger.accepted_commands import CommandAnswer
from device.ledger.ledger import Ledger
from device.ledger.reader import read_counts, read_events, read_ledger_state
from device.ledger.report import group_counts
from device.ledger.schema import FILE, LedgerError
from device.ledger.totals import BinTotals, totals_by_bin
from tests.device.ledger.ledgers import PAGE, WAIT_S, Opener, altered, damaged, events_in, fault, fill, rejected_item, sorted_item, stored

PAUSE = CommandAccepted(command="pause", id="1")
DONE = CommandAnswer(id="1", ok=True, code="done", message="")


def of_format_1(state: Path) -> None:
    """Turn a closed ledger into one of format 1, in which the tables have the pages that format 1 gave them."""
    old = state / "old"
    with contextlib.closing(sqlite3.connect(old, isolation_level=None)) as db:
        for statement in schema.SCHEMAS[1]:
            db.execute(statement)
        db.execute("ATTACH ? AS now", (str(state / FILE),))
        for table in ("event", "outbox", "intent"):
            db.execute(f"INSERT INTO {table} SELECT * FROM now.{table}")
        db.execute("DELETE FROM sqlite_sequence")
        db.execute("INSERT INTO sqlite_sequence SELECT * FROM now.sqlite_sequence")
        db.execute("INSERT INTO note SELECT * FROM now.note WHERE name NOT IN ('since', 'day', 'starts', 'total_restarts', 'layout')")
        db.execute("INSERT INTO total SELECT bin, kind, sum(n) FROM now.tally GROUP BY bin, kind")
        db.execute("PRAGMA application_id = 0x534F5254")
        db.execute("PRAGMA user_version = 1")
    for path in state.glob(f"{FILE}*"):
        path.unlink()
    old.rename(state / FILE)


@pytest.fixture
def old(opener: Opener, state: Path) -> Path:
    """A ledger of format 1: of 300 sorted items the last 100 are stored, and 20 rejected ones; two starts were unclean."""
    ledger = opener(keep=122)
    for first in range(0, 300, 100):
        stored(*(ledger.record(sorted_item(f"{n}")) for n in range(first, first + 100)))
        ledger.delivered(range(1, first + 101))
    stored(*(ledger.record(rejected_item(f"r{n}")) for n in range(20)))
    stored(*(ledger.record(Started(version="0.1.0", bundle="b", runtime="r", restarts=n)) for n in (1, 2)))
    ledger.intend("on its way", "glass", "x").result(WAIT_S)
    ledger.close(WAIT_S)
    altered(state, "DELETE FROM event WHERE seq <= 200")
    of_format_1(state)
    return state


def test_totals_stay_and_stored_events_give_labels_and_days(opener: Opener, old: Path) -> None:
    ledger = opener()
    assert ledger.warnings == []
    totals = ledger.totals()
    assert totals["paper"] == BinTotals(sorted=300, contamination=3.0, labels={"cardboard": 100})
    assert totals["other"] == BinTotals(rejected=20, reasons={"unsure": 20})
    assert totals["glass"].interrupted == 1
    assert ledger.since == ""
    assert (ledger.total_restarts, ledger.last_restart) == (2, "stopped")
    assert sum(of_day.sorted for _, of_day in group_counts(read_counts(old), ["day"])) == 100
    stored(ledger.record(sorted_item("new")))
    ledger.close(WAIT_S)
    assert opener().totals()["paper"] == BinTotals(sorted=301, contamination=3.03, labels={"cardboard": 101})


def test_a_whole_old_ledger_knows_when_it_began(opener: Opener, state: Path) -> None:
    ledger = opener()
    first, *_ = stored(*(ledger.record(sorted_item(f"{n}")) for n in range(3)))
    ledger.close(WAIT_S)
    of_format_1(state)
    again = opener()
    assert again.since == first.time
    assert again.totals() == ledger.totals()


def test_an_old_ledger_is_read_before_it_is_migrated(old: Path) -> None:
    kept, _ = read_ledger_state(old)
    assert totals_by_bin(kept.tallies)["paper"] == BinTotals(sorted=300)
    with pytest.raises(LedgerError, match=r"ledger\.sqlite3: has no counts by day yet: an earlier version wrote it"):
        read_counts(old)


def test_a_migration_that_fails_changes_nothing(opener: Opener, old: Path, full_disk: Callable[[], None]) -> None:
    before = [payload for _, payload in read_events(old)]
    (old / f"{FILE}-wal").touch()
    full_disk()
    with pytest.raises(LedgerError, match=r"(full|space)"):
        opener()
    with contextlib.closing(sqlite3.connect(f"{(old / FILE).as_uri()}?mode=ro", uri=True)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert [payload for _, payload in read_events(old)] == before


def test_an_earlier_version_refuses_a_migrated_ledger_with_a_line(opener: Opener, old: Path) -> None:
    """What version 0.1.0 looks at: the number of the format, and whether all tables are its own."""
    opener().close(WAIT_S)
    with contextlib.closing(sqlite3.connect(old / FILE)) as db:
        assert db.execute("PRAGMA user_version").fetchone() > (1,)
        assert not set(schema.SCHEMAS[1]) <= {sql for (sql,) in db.execute("SELECT sql FROM sqlite_master")}


@pytest.mark.parametrize("migrated", [False, True])
@pytest.mark.parametrize("damage", ["first page", "a shorter file", "note", "tally", "event"])
def test_a_damaged_ledger_is_mended_before_and_after_migration(opener: Opener, old: Path, migrated: bool, damage: str) -> None:
    if migrated:
        ledger = opener()
        assert ledger.accept_command(PAUSE).result(WAIT_S) is None
        ledger.answer_command(DONE).result(WAIT_S)
        ledger.close(WAIT_S)
    with contextlib.closing(sqlite3.connect(old / FILE)) as db:
        pages = dict(db.execute("SELECT name, rootpage FROM sqlite_master"))
    size = (old / FILE).stat().st_size
    with (old / FILE).open("r+b") as file:
        if damage == "a shorter file":
            file.truncate(size - 3 * PAGE if migrated else size - PAGE)
        else:
            page = {"first page": 1, "tally": pages["tally" if migrated else "total"]}.get(damage) or pages[damage]
            file.seek((page - 1) * PAGE)
            file.write(b"\xa5" * PAGE)
    mended = opener()
    assert mended.warnings
    totals = mended.totals()
    if migrated and damage != "a shorter file":
        assert mended.accept_command(PAUSE).result(WAIT_S) == DONE
    mended.close(WAIT_S)
    assert opener().warnings == []
    if damage in ("tally", "a shorter file") and migrated:
        stored_items = sum(isinstance(event, ItemSorted) for event in events_in(old))
        assert totals["paper"].sorted >= stored_items > 50
    elif damage == "tally":
        assert totals["paper"] == BinTotals(sorted=100, contamination=3.0, labels={"cardboard": 100})
    else:
        assert totals["paper"].sorted == 300
        assert totals["other"].rejected == 20
        assert totals["other"].reasons == {"unsure": 20} or damage in ("event", "a shorter file")


@pytest.mark.parametrize("seed", range(2))
def test_any_damage_to_a_migrated_ledger_is_mended(opener: Opener, old: Path, tmp_path: Path, seed: int) -> None:
    opener().close(WAIT_S)
    rng, content = random.Random(seed), (old / FILE).read_bytes()
    for n in range(8):
        copy = shutil.copytree(old, tmp_path / str(n))
        (copy / FILE).write_bytes(damaged(content, rng))
        mended = opener(copy)
        assert stored(mended.record(sorted_item("new")))[0].seq > 320
        assert mended.totals()["paper"].sorted > 0
        mended.close(WAIT_S)
        again = opener(copy)
        assert again.warnings == []
        again.close(WAIT_S)


def test_a_migrated_ledger_goes_on_as_any_other(opener: Opener, old: Path, tmp_path: Path) -> None:
    ledger = opener()
    fill(ledger, 600)
    numbers = [seq for seq, _ in read_events(old)]
    ledger.close(WAIT_S)
    copy = shutil.copytree(old, tmp_path / "copy")
    again = Ledger(copy, "bin1", Clock())
    assert [seq for seq, _ in again.outbox(0, 1000)][-1] == numbers[-1]
    assert decode(again.outbox(numbers[-1] - 1, 1)[0][1]).seq == numbers[-1]
    assert stored(again.record(fault()))[0].seq == numbers[-1] + 1
    again.close(WAIT_S)
