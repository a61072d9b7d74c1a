import contextlib
import os
import random
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from device.common.clock import Clock
from device.events import AnyEvent, BinEmptied, CommandAccepted, ItemInterrupted, ItemSorted, decode
from device.ledger.accepted_commands import CommandAnswer
from device.ledger.ledger import Ledger
from device.ledger.reader import read_counts, read_events
from device.ledger.report import group_counts
from device.ledger.salvage import SET_ASIDE, LastKnown, save, swap
from device.ledger.schema import FILE, LedgerError
from device.ledger.sequence_reservation import BLOCK
from device.ledger.totals import BinTotals
from tests.device.ledger.ledgers import PAGE, damaged

WAIT_S = 20.0
KEEP = 200


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed ledger of 600 items: about 300 are still stored, the newest 60 are undelivered, one more is on its way.

    They fell on ten days; the bin was emptied before the last one, and two commands were accepted, of which one was answered.
    """
    state = tmp_path_factory.mktemp("sound") / "state"
    wall_s = [1_770_000_000.0]
    ledger = Ledger(state, "bin1", Clock(wall_s=lambda: wall_s[0]), keep=KEEP)
    for first in range(0, 600, 60):
        wall_s[0] += 86_400.0
        if first == 540:
            ledger.record(BinEmptied(bin="glass", by="command", items=540)).result(WAIT_S)
        for told in [ledger.record(item(f"{n}")) for n in range(first, first + 60)]:
            told.result(WAIT_S)
        if first < 540:
            ledger.delivered(range(first + 1, first + 61))
    for name in "12":
        assert ledger.accept_command(CommandAccepted(command="pause", id=name)).result(WAIT_S) is None
    ledger.answer_command(CommandAnswer(id="1", ok=True, code="done", message="")).result(WAIT_S)
    ledger.intend("on its way", "paper", "x").result(WAIT_S)
    assert ledger.close(WAIT_S)
    return state


@pytest.fixture
def state(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "state")
    return tmp_path / "state"


def opened(state: Path) -> Ledger:
    return Ledger(state, "bin1", Clock())


def item(name: str) -> ItemSorted:
    return ItemSorted(item=name, bin="glass", label="x", p=0.9, probabilities={"x": 1.0}, frames=1, decided_s=0.1, moved_s=0.1, bundle="b")


def events_in(state: Path) -> list[AnyEvent]:
    return [decode(payload) for _, payload in read_events(state)]


def databases(state: Path) -> list[str]:
    return sorted(path.name for path in state.glob("*.sqlite3"))


def page_of(state: Path, table: str) -> int:
    with contextlib.closing(sqlite3.connect(state / FILE)) as db:
        return int(db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0])


def leaf_of_events(state: Path) -> int:
    """A page with events."""
    content = (state / FILE).read_bytes()
    return (
        next(n for n in range(9, len(content) // PAGE) if content[n * PAGE] == 13 and content.count(b'"item_sorted"', n * PAGE, (n + 1) * PAGE)) + 1
    )


def overwritten(state: Path, page: int, content: bytes = b"\xa5" * PAGE) -> None:
    with (state / FILE).open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(content)


def sound_in_the_end(state: Path) -> Ledger:
    """Check what holds after any damage. Returns the ledger, opened again."""
    ledger = opened(state)
    assert ledger.record(item("new")).result(WAIT_S).seq > 600
    assert len(ledger.outbox(0, 10_000)) == ledger.undelivered
    assert ledger.close(WAIT_S)
    numbers = [seq for seq, _ in read_events(state)]
    assert numbers == sorted(set(numbers))
    again = opened(state)
    assert again.warnings == []
    assert again.totals()["glass"].sorted > 0
    return again


# What is saved


@pytest.mark.parametrize("table", ["outbox", "event leaf", "intent", "sqlite_sequence", "first page", "day", "emptied", "command"])
def test_days_emptyings_and_commands_survive_damage(state: Path, table: str) -> None:
    """What the damaged table itself said is known from the events, as far as these are stored."""
    before = days_in(state)
    last_emptied = [event.time for event in events_in(state) if isinstance(event, BinEmptied)]
    overwritten(state, {"first page": 1, "event leaf": leaf_of_events(state)}.get(table) or page_of(state, table))
    ledger = opened(state)
    assert ledger.warnings
    after = days_in(state)
    if table == "day":
        assert len(after) > 2
        assert {day: min(n, before[day]) for day, n in after.items()} == after
        assert [after[day] for day in sorted(after)[1:]] == [60] * (len(after) - 1)
    else:
        assert after == before
    since_emptied = ledger.since_emptied()["glass"]
    assert (since_emptied.totals.sorted, [since_emptied.time]) == (60, last_emptied)
    assert [code_of(ledger, name) for name in "12"] == ["interrupted" if table == "command" else "done", "interrupted"]
    ledger.close(WAIT_S)


def test_since_is_later_where_the_totals_are_lost(state: Path) -> None:
    first = events_in(state)[0]
    overwritten(state, page_of(state, "tally"))
    ledger = opened(state)
    assert 0 < ledger.totals()["glass"].sorted < 600
    assert ledger.since == first.time
    ledger.close(WAIT_S)


def test_a_ledger_of_which_nothing_is_left_begins_anew(state: Path) -> None:
    (state / FILE).write_bytes(random.Random(0).randbytes(20_000))
    ledger = Ledger(state, "bin1", Clock(wall_s=lambda: 1_800_000_000.0))
    assert ledger.since.startswith("2027-01-15T08:00:00")
    assert days_in(state) == {}
    assert code_of(ledger, "1") == ""
    ledger.close(WAIT_S)


def days_in(state: Path) -> dict[str, int]:
    return {day: of_day.sorted for (day,), of_day in group_counts(read_counts(state), ["day"]) if of_day.sorted}


def code_of(ledger: Ledger, command_id: str) -> str:
    answer = ledger.accept_command(CommandAccepted(command="pause", id=command_id)).result(WAIT_S)
    return "" if answer is None else answer.code


@pytest.mark.parametrize("table", ["outbox", "event leaf", "intent", "sqlite_sequence", "note"])
def test_totals_of_deleted_events_survive_damage_elsewhere(state: Path, table: str) -> None:
    overwritten(state, leaf_of_events(state) if table == "event leaf" else page_of(state, table))
    ledger = opened(state)
    assert ledger.warnings
    assert ledger.totals()["glass"].sorted == 600
    ledger.close(WAIT_S)


def test_the_dropped_count_survives_damage(tmp_path: Path) -> None:
    state = tmp_path / "state"
    ledger = Ledger(state, "bin1", Clock(), keep=10, keep_undelivered=100)
    for first in range(0, 2 * BLOCK + 1, 100):
        for told in [ledger.record(item(f"{n}")) for n in range(first, first + 100)]:
            told.result(WAIT_S)
    dropped = ledger.dropped
    assert dropped > 100
    ledger.close(WAIT_S)
    overwritten(state, page_of(state, "intent"))
    mended = opened(state)
    assert mended.warnings
    assert mended.dropped == dropped
    mended.close(WAIT_S)


@pytest.mark.parametrize("table", ["outbox", "event leaf"])
def test_a_mended_ledger_keeps_its_install_name(state: Path, table: str) -> None:
    first = opened(state)
    first.close(WAIT_S)
    overwritten(state, leaf_of_events(state) if table == "event leaf" else page_of(state, table))
    mended = opened(state)
    assert mended.warnings
    assert mended.install == first.install
    mended.close(WAIT_S)


def test_impossible_counts_are_not_saved(state: Path) -> None:
    with contextlib.closing(sqlite3.connect(state / FILE)) as db:
        db.execute("UPDATE tally SET n = 1000000000")
        rows = [("glass", "stolen", 5, 0), ("paper", "jams", -5, 0), (b"\xff", "jams", 5, 0), ("glass", "hazards", 5, 5_000_001)]
        db.executemany("INSERT INTO tally VALUES (?, ?, '', '', ?, ?, 0, 0, 0, 0)", rows)
        db.execute("UPDATE note SET value = x'ff' WHERE name = 'clean'")
        db.commit()
    before = sum(isinstance(event, ItemSorted) for event in events_in(state))
    ledger = opened(state)
    assert ledger.totals() == {"glass": BinTotals(sorted=before, contamination=before / 10, labels={"x": before}), "paper": BinTotals(interrupted=1)}
    ledger.close(WAIT_S)


def test_events_between_two_damaged_pages_are_saved(state: Path) -> None:
    content = (state / FILE).read_bytes()
    leaves = [n + 1 for n in range(9, len(content) // PAGE) if content[n * PAGE] == 13 and b'"item_sorted"' in content[n * PAGE : (n + 1) * PAGE]]
    before = events_in(state)
    for page in leaves[::3]:
        overwritten(state, page)
    assert save(state / FILE, LastKnown(10_000)) > len(before) / 2


@pytest.mark.parametrize("damage", ["zeros", "noise", "a shorter file"])
def test_a_lost_first_page_or_end_loses_only_its_own_events(state: Path, damage: str) -> None:
    before = events_in(state)
    if damage == "a shorter file":
        os.truncate(state / FILE, (state / FILE).stat().st_size - PAGE)
    else:
        overwritten(state, 1, bytes(PAGE) if damage == "zeros" else random.Random(1).randbytes(PAGE))
    ledger = opened(state)
    assert ledger.warnings
    assert ledger.totals()["glass"] == BinTotals(sorted=600, contamination=60.0, labels={"x": 600})
    ledger.close(WAIT_S)
    after = events_in(state)
    lost = set(map(repr, before)) - set(map(repr, after))
    assert len(lost) < (PAGE / 150 if damage == "a shorter file" else 1)
    assert isinstance(after[-1], ItemInterrupted)
    assert databases(state) == ["ledger-corrupt-1.sqlite3", FILE]


@pytest.mark.parametrize("name", ["tally", "note", "event", "outbox"])
def test_tables_with_wrong_values_are_mended(state: Path, name: str) -> None:
    spoilt = {
        "tally": "UPDATE tally SET n = 'many'",
        "note": "DELETE FROM note",
        "event": "UPDATE event SET seq = seq + 1000000",
        "outbox": "DELETE FROM sqlite_sequence",
    }
    with contextlib.closing(sqlite3.connect(state / FILE)) as db:
        db.execute(spoilt[name])
        db.commit()
    ledger = opened(state)
    assert "was damaged" in ledger.warnings[0]
    assert "\n" not in ledger.warnings[0]
    ledger.close(WAIT_S)
    sound_in_the_end(state).close(WAIT_S)


# Any damage


@pytest.mark.parametrize("seed", range(8))
def test_any_damage_to_the_file_is_mended(sound: Path, tmp_path: Path, seed: int) -> None:
    rng, content = random.Random(seed), (sound / FILE).read_bytes()
    for n in range(12):
        state = tmp_path / str(n)
        shutil.copytree(sound, state)
        (state / FILE).write_bytes(damaged(content, rng))
        sound_in_the_end(state).close(WAIT_S)
        shutil.rmtree(state)


@pytest.mark.parametrize("seed", range(2))
def test_any_damage_to_the_journal_is_mended(sound: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    shutil.copytree(sound, tmp_path / "running")
    ledger = opened(tmp_path / "running")
    for told in [ledger.record(item(f"late {n}")) for n in range(60)]:
        told.result(WAIT_S)
    for n in range(12):
        state = tmp_path / str(n)
        state.mkdir()
        for name in (FILE, f"{FILE}-wal", "ledger.seq"):
            shutil.copy(tmp_path / "running" / name, state / name)
        (state / f"{FILE}-wal").write_bytes(damaged((state / f"{FILE}-wal").read_bytes(), rng))
        sound_in_the_end(state).close(WAIT_S)
    ledger.close(WAIT_S)


# A kill at any moment


def killed_after(calls: int, work: Callable[[], object]) -> bool:
    """Do `work` in a child process that is killed at its `calls`-th rename, removal or opening of a file. Whether it was killed."""
    child = os.fork()
    if child == 0:
        left = [calls]

        def count(event: str, _: object) -> None:
            if event in ("os.rename", "os.remove", "open"):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), 9)

        sys.addaudithook(count)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["a leaf of events", "the first page"])
@pytest.mark.parametrize("with_journal", [False, True])
def test_a_kill_at_any_moment_of_the_salvage_loses_nothing(sound: Path, tmp_path: Path, where: str, with_journal: bool) -> None:
    running = tmp_path / "running"
    shutil.copytree(sound, running)
    if with_journal:
        ledger = opened(running)
        for told in [ledger.record(item(f"late {n}")) for n in range(20)]:
            told.result(WAIT_S)
        state = tmp_path / "damaged"
        state.mkdir()
        for name in (FILE, f"{FILE}-wal", "ledger.seq"):
            shutil.copy(running / name, state / name)
        ledger.close(WAIT_S)
    else:
        state = running
    overwritten(state, leaf_of_events(state) if where == "a leaf of events" else 1)
    whole = tmp_path / "whole"
    shutil.copytree(state, whole)
    mended = opened(whole)
    totals, undelivered = mended.totals(), [seq for seq, _ in mended.outbox(0, 1000)]
    mended.close(WAIT_S)
    events = {event.seq: repr(event) for event in events_in(whole) if isinstance(event, ItemSorted)}
    moments = 0
    while True:
        cut = tmp_path / f"cut {moments}"
        shutil.copytree(state, cut)
        if not killed_after(moments, lambda cut=cut: salvaged(cut)):
            break
        again = opened(cut)
        assert again.totals() == totals
        assert [seq for seq, _ in again.outbox(0, 1000)] == undelivered
        assert {event.seq: repr(event) for event in events_in(cut) if isinstance(event, ItemSorted)} == events
        again.close(WAIT_S)
        assert databases(cut) == ["ledger-corrupt-1.sqlite3", FILE]
        moments += 1
    assert moments > 8


def salvaged(state: Path) -> None:
    file = state / FILE
    if swap(file) is None:
        save(file, LastKnown(int((state / "ledger.seq").read_text())))
        swap(file)


def test_a_new_database_never_uses_the_old_journal(sound: Path, tmp_path: Path) -> None:
    """The damaged one's journal is sound: SQLite would write it over the new one's pages."""
    state = tmp_path / "state"
    shutil.copytree(sound, state)
    journal = state / f"{FILE}-wal"
    with contextlib.closing(sqlite3.connect(state / FILE, isolation_level=None)) as db:
        db.execute("UPDATE tally SET n = 601")
        shutil.copy(journal, tmp_path / "wal")
    shutil.copy(tmp_path / "wal", journal)
    save(state / FILE, LastKnown(768))
    aside = swap(state / FILE)
    assert aside is not None
    assert not journal.exists()
    assert (state / f"{aside.name}-wal").read_bytes() == (tmp_path / "wal").read_bytes()
    with contextlib.closing(sqlite3.connect(state / FILE)) as db:
        assert set(db.execute("SELECT n FROM tally")) == {(601,)}


def test_nothing_changes_where_nothing_can_be_saved(state: Path) -> None:
    overwritten(state, leaf_of_events(state))
    before = {path.name: path.read_bytes() for path in state.iterdir()}
    (state / "ledger.new.sqlite3").mkdir()
    with pytest.raises(LedgerError):
        opened(state)
    (state / "ledger.new.sqlite3").rmdir()
    assert {name: content for name, content in before.items() if (state / name).read_bytes() != content} == {}
    ledger = opened(state)
    assert ledger.totals()["glass"].sorted == 600
    ledger.close(WAIT_S)


def test_an_interrupted_swap_keeps_the_newest_damaged_ones(state: Path) -> None:
    file = state / FILE
    for n in range(1, SET_ASIDE + 1):
        (state / f"ledger-corrupt-{n}.sqlite3").write_bytes(b"old")
    save(file, LastKnown(768))
    file.rename(state / f"ledger-corrupt-{SET_ASIDE + 1}.sqlite3")
    assert swap(file) == state / f"ledger-corrupt-{SET_ASIDE + 1}.sqlite3"
    assert swap(file) is None
    assert databases(state)[:-1] == [f"ledger-corrupt-{n}.sqlite3" for n in range(2, SET_ASIDE + 2)]


def test_a_locked_database_is_not_damaged(state: Path) -> None:
    with contextlib.closing(sqlite3.connect(state / FILE, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            save(state / FILE, LastKnown(768))
    assert sorted(path.name for path in state.iterdir()) == ["ledger.lock", "ledger.seq", FILE]
