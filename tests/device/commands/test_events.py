import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.cli import main
from device.commands.events import line
from device.common.clock import Clock
from device.events import Cleared, Event, Fault, ItemInterrupted, ItemRejected, ItemSorted, Jam, Started
from device.ledger.ledger import Ledger
from device.ledger.reader import read_events
from device.ledger.schema import FILE

WAIT_S = 20.0
ROOT = Path(__file__).parents[3]
JUDGED = {
    "item": "a",
    "label": "纸",
    "p": 0.9731,
    "probabilities": {"纸": 1.0},
    "frames": 2,
    "decided_s": 0.4,
    "moved_s": 1.2,
    "bundle": "b",
}
EVENTS: list[Event] = [
    Started(version="0.1.0", bundle="trashnet", runtime="ai-edge-litert", restarts=2),
    ItemSorted(**JUDGED, bin="可回收物"),
    ItemRejected(**JUDGED, bin="other", reason="unsure"),
    ItemInterrupted(item="a", bin="paper", label="纸", reason="restart"),
    Jam(item="a", bin="paper", waited_s=8.0),
    Fault(fault="camera", message="no frame for 3 s"),
    Cleared(fault="camera", lasted_s=12.4),
]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "state", "bin1", Clock(synced=lambda: False))
    for stored in [opened.record(event) for event in EVENTS]:
        stored.result(WAIT_S)
    yield opened
    opened.close(WAIT_S)


def test_each_event_is_one_line_with_a_summary(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "--state", str(ledger.file.parent)]) == 0
    lines = capsys.readouterr().out.splitlines()
    summaries = [line.split("~", 1)[1].split() for line in lines]
    assert [int(line.split()[0]) for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    assert [" ".join(words) for words in summaries] == [
        "started sortbin 0.1.0, trashnet on ai-edge-litert, restart 2 without a clean stop",
        "item_sorted 纸 97.3% -> 可回收物",
        "item_rejected 纸 97.3% -> other (unsure)",
        "item_interrupted 纸 -> paper, arrival not confirmed (restart)",
        "jam at the gate of paper, after 8.0 s",
        "fault camera: no frame for 3 s",
        "cleared camera, after 12 s",
    ]


def test_json_equals_the_journal_and_since_skips_older_events(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "--state", str(ledger.file.parent), "--json", "--since", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.encode() for line in lines] == [payload for _, payload in ledger.outbox(5, 10)]
    assert [json.loads(line)["seq"] for line in lines] == [6, 7]


def test_an_event_type_of_a_newer_version_stays_json() -> None:
    payload = b'{"type":"teleported","seq":7}'
    assert line(7, payload).split(maxsplit=1) == ["7", payload.decode()]


@pytest.mark.parametrize("content", [None, b"no database"])
def test_a_missing_or_damaged_ledger_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None) -> None:
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    assert main(["events", "--state", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"sortbin events: {tmp_path / FILE}: ")
    assert message.count("\n") == 1


def test_follow_prints_new_events_until_interrupted(ledger: Ledger) -> None:
    command = [sys.executable, "-m", "device.cli", "events", "--state", str(ledger.file.parent), "--follow", "--since", "6"]
    heeds = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests may ignore it, and children inherit that
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment, preexec_fn=heeds)
    assert process.stdout is not None
    assert "cleared" in process.stdout.readline()
    ledger.record(Fault(fault="jam", message="stuck")).result(WAIT_S)
    assert "jam: stuck" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(WAIT_S) == 130
    process.stdout.close()


def test_reading_a_closed_ledger_leaves_no_files_behind(ledger: Ledger) -> None:
    assert ledger.close(WAIT_S)
    folder = ledger.file.parent
    before = sorted(path.name for path in folder.iterdir())
    assert len(list(read_events(folder))) == len(EVENTS)
    assert sorted(path.name for path in folder.iterdir()) == before
