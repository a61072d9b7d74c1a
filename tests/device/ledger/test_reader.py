import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.cli import main
from device.common.clock import Clock
from device.events import Fault, Jam
from device.ledger.ledger import Ledger
from device.ledger.reader import PAGE, read_counts, read_events
from device.ledger.schema import FILE, LedgerError
from device.ledger.tallies import Amount, Counted

WAIT_S = 20.0
NOBODY = 65534
ROOT = Path(__file__).parents[3]


@pytest.fixture
def state() -> Iterator[Path]:
    """A folder that every user may enter, like /var/lib."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder / "state"
    if (folder / "state").exists():
        (folder / "state").chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def ledger(state: Path) -> Iterator[Ledger]:
    opened = Ledger(state, "bin1", Clock())
    fill(opened, 20)
    yield opened
    opened.close(WAIT_S)


def fill(ledger: Ledger, n: int) -> None:
    for first in range(0, n, 100):
        for told in [ledger.record(Fault(fault="camera", message=f"{i}")) for i in range(first, min(first + 100, n))]:
            told.result(WAIT_S)


@contextlib.contextmanager
def another_user(state: Path) -> Iterator[None]:
    """As another user, who may read but not write `state`."""
    for path in (*state.iterdir(), state):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)
        for path in (state, *state.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)


def numbers(state: Path, said: list[str], after_seq: int = 0) -> list[int]:
    return [seq for seq, _ in read_events(state, after_seq, said.append)]


def test_a_paused_reader_does_not_hold_up_the_journal(ledger: Ledger, state: Path) -> None:
    fill(ledger, 2 * PAGE)
    reading = read_events(state)
    assert next(reading)[0] == 1
    fill(ledger, 300)
    db = sqlite3.connect(state / FILE)
    busy, in_journal, written_back = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    db.close()
    assert (busy, in_journal, written_back) == (0, 0, 0)
    fill(ledger, 100)
    assert [seq for seq, _ in reading] == list(range(2, 2 * PAGE + 421))


@pytest.mark.parametrize("n", [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE])
def test_every_event_of_many_pages_is_read_once(state: Path, n: int) -> None:
    ledger = Ledger(state, "bin1", Clock())
    fill(ledger, n)
    assert numbers(state, []) == list(range(1, n + 1))
    ledger.close(WAIT_S)


def test_another_user_reads_the_newest_while_the_daemon_writes(ledger: Ledger, state: Path) -> None:
    said: list[str] = []
    with another_user(state):
        assert numbers(state, said) == list(range(1, 21))
    assert said == []
    fill(ledger, 5)
    assert numbers(state, said, 20) == [21, 22, 23, 24, 25]


def test_a_closed_ledger_is_read_on_a_read_only_disk(ledger: Ledger, state: Path) -> None:
    ledger.close(WAIT_S)
    before, said = sorted(path.name for path in state.iterdir()), list[str]()
    with another_user(state):
        assert numbers(state, said) == list(range(1, 21))
    assert said == []
    assert sorted(path.name for path in state.iterdir()) == before


def test_counts_are_read_beside_a_writer_and_on_a_read_only_disk(ledger: Ledger, state: Path) -> None:
    ledger.record(Jam(item="a", bin="paper", waited_s=8.0)).result(WAIT_S)
    wanted = {Counted("paper", "jams"): Amount(1)}
    with another_user(state):
        assert list(read_counts(state).days.values()) == [wanted]
    ledger.close(WAIT_S)
    with another_user(state):
        assert list(read_counts(state).days.values()) == [wanted]


def test_an_empty_ledger_has_no_events(state: Path) -> None:
    state.mkdir()
    (state / FILE).touch()
    assert numbers(state, []) == []


@pytest.mark.parametrize("mode", [0o444, 0])
def test_an_unreadable_journal_is_warned_of_once(ledger: Ledger, state: Path, capsys: pytest.CaptureFixture[str], mode: int) -> None:
    after = state.parent / "after"
    after.mkdir()
    db = sqlite3.connect(state / FILE)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    fill(ledger, 5)
    for name in (FILE, f"{FILE}-wal"):
        shutil.copy(state / name, after / name)
    with another_user(after):
        os.seteuid(os.getuid())
        (after / f"{FILE}-wal").chmod(mode)
        os.seteuid(NOBODY if os.getuid() == 0 else os.getuid())
        assert main(["events", "--state", str(after)]) == 0
        assert main(["events", "--state", str(after)]) == 0
    told = capsys.readouterr()
    assert [int(line.split()[0]) for line in told.out.splitlines()] == 2 * list(range(1, 21))
    assert told.err.count("the newest events may be missing") == told.err.count("\n") == 1


def test_a_forbidden_folder_is_named_in_one_line(ledger: Ledger, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.close(WAIT_S)
    with another_user(state):
        os.seteuid(os.getuid())
        state.chmod(0)
        os.seteuid(NOBODY if os.getuid() == 0 else os.getuid())
        assert main(["events", "--state", str(state)]) == 2
        with pytest.raises(LedgerError, match=r"ledger\.sqlite3: may not be read by this user"):
            list(read_events(state))
    said = capsys.readouterr().err
    assert said.startswith(f"sortbin events: {state / FILE}: may not be read")
    assert said.count("\n") == 1


@pytest.mark.parametrize("number", ["99999999999999999999", "-1", "x", "1.5", "9" * 5000])
def test_an_impossible_number_is_refused(state: Path, number: str) -> None:
    command = [sys.executable, "-m", "device.cli", "events", "--state", str(state), f"--since={number}"]
    refused = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert refused.returncode == 2
    assert "--since" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr


def test_an_event_that_is_not_utf_8_is_shown_escaped(ledger: Ledger, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.close(WAIT_S)
    db = sqlite3.connect(state / FILE)
    db.execute("UPDATE event SET payload = ? WHERE seq = 7", (b'{"type":"jam","item":"\xff"}',))
    db.execute("UPDATE event SET payload = 'text' WHERE seq = 8")
    db.execute("UPDATE event SET payload = 9 WHERE seq = 9")
    db.commit()
    db.close()
    for how in ([], ["--json"]):
        assert main(["events", "--state", str(state), *how]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 20
