"""A damaged database: saved, set aside, and no number twice."""

import os
import random
import resource
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from device.events import ItemInterrupted
from device.ledger.database import NUMBERS, NUMBERS_LOST
from device.ledger.schema import FILE, LedgerError
from device.ledger.sequence_reservation import BLOCK
from tests.device.ledger.ledgers import WAIT_S, Opener, altered, events_in, fault, fill, power_cut, sorted_item, sorted_items, stored


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


def written_back(state: Path) -> None:
    """Move everything from the journal into the database file."""
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


def lift() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize("damage", [garbage, truncated, emptied, deleted, one_page_overwritten])
def test_no_damage_makes_a_number_come_twice(opener: Opener, state: Path, damage: Callable[[Path], None]) -> None:
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
def test_a_damaged_database_is_set_aside(opener: Opener, state: Path, damage: Callable[[Path], None]) -> None:
    ledger = opener()
    fill(ledger, 300)
    ledger.close(WAIT_S)
    damage(state)
    mended = opener()
    assert (state / "ledger-corrupt-1.sqlite3").is_file()
    assert "ledger-corrupt-1.sqlite3" in mended.warnings[0]
    assert mended.restarts == 1


def test_readable_events_of_a_damaged_database_are_saved(opener: Opener, state: Path) -> None:
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


def test_an_intent_in_a_damaged_database_is_saved(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener()
    fill(ledger, 300)
    ledger.intend("a", "paper", "cardboard").result(WAIT_S)
    ledger.close(WAIT_S)
    one_page_overwritten(state)
    opener().close(WAIT_S)
    assert [event.item for event in events_in(state) if isinstance(event, ItemInterrupted)] == ["a"]


def test_numbers_jump_far_up_when_the_reservation_is_lost_too(opener: Opener, state: Path) -> None:
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


def test_only_the_newest_damaged_databases_stay(opener: Opener, state: Path) -> None:
    for _ in range(5):
        opener().close(WAIT_S)
        garbage(state)
    opener()
    assert sorted(path.name for path in state.glob("ledger-corrupt-*")) == [f"ledger-corrupt-{n}.sqlite3" for n in (3, 4, 5)]


def test_a_restored_backup_repeats_no_number(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener()
    fill(ledger, 5)
    ledger.close(WAIT_S)
    shutil.copy(state / FILE, tmp_path / "backup")
    ledger = opener()
    given_out = fill(ledger, 2 * BLOCK)
    ledger.close(WAIT_S)
    shutil.copy(tmp_path / "backup", state / FILE)
    assert stored(opener().record(fault()))[0].seq > max(given_out)


def test_pages_lost_in_a_power_cut_repeat_no_number(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener()
    fill(ledger, 5)
    after = power_cut(state, tmp_path / "after")
    given_out = fill(ledger, 100)
    shutil.copy(state / NUMBERS, after / NUMBERS)
    altered(after, "UPDATE note SET value = 'an earlier start of the kernel' WHERE name = 'kernel'")
    assert stored(opener(after).record(fault()))[0].seq > max(given_out)


def test_numbers_have_no_gap_after_a_crash(opener: Opener, state: Path, tmp_path: Path) -> None:
    fill(opener(), 5)
    assert stored(opener(power_cut(state, tmp_path / "after")).record(fault()))[0].seq == 6


def test_a_database_of_another_program_is_not_changed(opener: Opener, state: Path) -> None:
    state.mkdir()
    altered(state, "CREATE TABLE recipes (name TEXT)")
    before = (state / FILE).read_bytes()
    with pytest.raises(LedgerError, match="another program's database"):
        opener()
    assert (state / FILE).read_bytes() == before


def test_a_database_of_a_newer_format_is_not_changed(opener: Opener, state: Path) -> None:
    opener().close(WAIT_S)
    altered(state, "ALTER TABLE note ADD COLUMN since")
    altered(state, "PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="format 99, expected at most 2"):
        opener()
    assert not list(state.glob("ledger-corrupt-*"))


def test_damage_met_in_writing_is_mended_before_the_next_request(opener: Opener, state: Path) -> None:
    ledger = opener(keep=100)
    stored(*(ledger.record(sorted_item(str(i))) for i in range(200)))
    ledger.delivered(range(1, 201))
    fill(ledger, 2 * BLOCK)
    ledger.intend("a", "paper", "x").result(WAIT_S)
    written_back(state)
    overwritten(state, page_of(state, "note"))
    overwritten(state, page_of(state, "tally"))
    with pytest.raises(LedgerError, match="is damaged: sortbin, while it runs"):
        ledger.record(sorted_item("b")).result(WAIT_S)
    (event,) = stored(ledger.record(sorted_item("a")))
    assert event.seq > 200 + 2 * BLOCK
    assert ledger.totals() == {"paper": sorted_items(201)}
    assert (state / "ledger-corrupt-1.sqlite3").exists()
    assert ledger.alive
    assert ledger.close(WAIT_S)
    again = opener()
    assert (again.warnings, again.restarts, again.totals()) == ([], 0, {"paper": sorted_items(201)})
    assert not [told for told in events_in(state) if isinstance(told, ItemInterrupted)]


def test_damage_met_in_reading_is_mended(opener: Opener, state: Path, caplog: pytest.LogCaptureFixture) -> None:
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
    assert ledger.totals() == {"paper": sorted_items(201)}
    assert f"{len(waiting) - 1} events are saved" in caplog.text


def test_damage_on_a_full_disk_is_mended_once_there_is_room(opener: Opener, state: Path, full_disk: Callable[[], None]) -> None:
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
