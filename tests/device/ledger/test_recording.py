"""Events are stored, numbered, counted and read."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from device.events import Event, Fault, ItemInterrupted, Jam, decode
from device.ledger.database import NUMBERS
from device.ledger.ledger import WAITING, Ledger
from device.ledger.reader import read_events
from device.ledger.schema import FILE, LedgerError
from device.ledger.totals import BinTotals
from tests.device.ledger.ledgers import WAIT_S, Opener, altered, events_in, fault, fill, rejected_item, sorted_item, sorted_items, stored


def test_a_stored_event_has_seq_device_and_times(opener: Opener, state: Path) -> None:
    ledger = opener()
    first, second = stored(ledger.record(fault(1)), ledger.record(fault(2)))
    assert (first.seq, second.seq, first.device) == (1, 2, "bin1")
    assert first.boot == second.boot != ""
    assert first.time.endswith("Z")
    assert events_in(state) == [first, second]


def test_numbers_follow_the_order_of_calls_over_restarts(opener: Opener, state: Path) -> None:
    for start in range(3):
        ledger = opener()
        fill(ledger, 100)
        assert ledger.newest_seq == 100 * (start + 1)
        assert ledger.close(WAIT_S)
    told = events_in(state)
    assert [event.seq for event in told] == list(range(1, 301))
    assert [event.message for event in told if isinstance(event, Fault)] == [f"no frame ({i})" for i in range(100)] * 3


def test_the_install_name_survives_restarts_and_crashes(opener: Opener, state: Path) -> None:
    ledger = opener()
    (first,) = stored(ledger.record(fault()))
    assert first.install == ledger.install != ""
    ledger.close(WAIT_S, "crash")
    (second,) = stored(opener().record(fault()))
    assert second.install == first.install


def test_a_copied_ledger_gets_a_new_install_name(opener: Opener, state: Path, tmp_path: Path) -> None:
    ledger = opener()
    stored(ledger.record(fault()))
    ledger.close(WAIT_S)
    copy = Path(shutil.copytree(state, tmp_path / "copy"))
    (ours,), (theirs,) = stored(opener().record(fault())), stored(opener(copy).record(fault()))
    assert ours.seq == theirs.seq
    assert ours.install != theirs.install
    assert [event.install for event in events_in(copy)] == [ours.install, theirs.install]


def test_a_new_ledger_gets_a_new_install_name(opener: Opener, state: Path) -> None:
    first = opener()
    first.close(WAIT_S)
    shutil.rmtree(state)
    assert opener().install != first.install


def test_a_ledger_without_install_name_is_read_and_gets_one(opener: Opener, state: Path) -> None:
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


def test_the_listener_is_called_once_the_event_is_on_disk(opener: Opener, state: Path) -> None:
    ledger, heard, done = opener(), [], threading.Event()

    def listener(payload: bytes) -> None:
        heard.append((payload, [stored_payload for _, stored_payload in read_events(state)]))
        done.set()

    ledger.listen(listener)
    ledger.record(fault())
    assert done.wait(WAIT_S)
    ((payload, on_disk),) = heard
    assert on_disk == [payload]


def test_an_unreadable_event_is_refused_and_others_are_stored(opener: Opener, state: Path) -> None:
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
    totals = {"paper": sorted_items(2, interrupted=1, jams=1), "other": BinTotals(rejected=1, reasons={"unsure": 1})}
    assert ledger.totals() == totals
    ledger.close(WAIT_S)
    assert opener().totals() == totals


def test_a_visible_number_is_counted_in_the_totals(opener: Opener) -> None:
    """Checks at every call of the writing thread, when another thread could read."""
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


def test_events_can_be_read_while_they_are_written(opener: Opener, state: Path) -> None:
    ledger = opener()
    told = [ledger.record(fault(i)) for i in range(WAITING)]
    read = [[event.seq for event in events_in(state)] for _ in range(5)]
    stored(*told)
    read.append([event.seq for event in events_in(state)])
    assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in read)
    assert len(read[-1]) == WAITING
    assert [seq for seq, _ in read_events(state, after_seq=WAITING - 2)] == [WAITING - 1, WAITING]


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"ledger\.sqlite3: not found"):
        list(read_events(tmp_path))
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(LedgerError, match="is damaged"):
        list(read_events(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_files_made_by_root_belong_to_the_owner_of_the_folder(opener: Opener, state: Path) -> None:
    state.mkdir()
    os.chown(state, 12345, 12346)
    ledger = opener()
    fill(ledger, 3)
    made = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in state.iterdir()}
    assert {FILE, f"{FILE}-wal", f"{FILE}-shm", "ledger.lock"} <= set(made)
    assert made.pop(NUMBERS) is not None, "replaced as a whole, which the folder's owner may do"
    assert set(made.values()) == {(12345, 12346)}


@pytest.mark.parametrize("below", ["", "below"])
def test_a_file_in_place_of_the_folder_is_named(opener: Opener, tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / below
    with pytest.raises(LedgerError) as refused:
        opener(folder)
    assert str(refused.value) == f"{folder}: is no folder; expected device.state, a folder that this user can write to"


def test_a_folder_that_cannot_be_made_is_named(opener: Opener, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=str(tmp_path / "file")):
        opener(tmp_path / "file" / "state")
