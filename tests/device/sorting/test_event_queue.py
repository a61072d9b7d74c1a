"""The event queue: order, retries after a full disk, and events that can never be stored."""

import concurrent.futures
import contextlib
import logging
import resource
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from device.common.clock import Clock
from device.events import AnyEvent, Event, Fault, Jam, decode
from device.ledger.ledger import Ledger
from device.ledger.reader import read_events
from device.ledger.schema import FILE, LedgerError
from device.sorting.event_queue import EventQueue
from device.sorting.faults import SortingFault

WAIT_S = 20.0


class Disk:
    """The ledger of a bin, and a switch that makes its disk full."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.ledger, self.full = Ledger(folder, "bin1", clock), False
        self.on_stored: list[AnyEvent] = []

    def record(self, event: Event) -> "Future[AnyEvent]":
        if self.full:
            refused: Future[AnyEvent] = Future()
            refused.set_exception(LedgerError("no space left"))
            return refused
        stored = self.ledger.record(event)
        concurrent.futures.wait([stored], WAIT_S)
        return stored

    def stamped(self, event: Event) -> Event:
        return self.ledger.stamped(event)

    def intend(self, item: str, to_bin: str, label: str) -> "Future[None]":
        return self.ledger.intend(item, to_bin, label)

    @property
    def waited_s(self) -> list[float]:
        return [event.waited_s for _, payload in read_events(self.ledger.file.parent) if isinstance(event := decode(payload), Jam)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    opened = Disk(tmp_path / "state", Clock())
    yield opened
    opened.ledger.close(WAIT_S)


def jam(waited_s: float) -> Jam:
    return Jam(item="a", bin="paper", waited_s=waited_s)


def test_refused_events_are_a_fault_and_stored_in_order_later(disk: Disk) -> None:
    queue = EventQueue(disk, disk.on_stored.append)
    queue.put(jam(1.0))
    disk.full = True
    queue.put(jam(2.0))
    queue.put(jam(3.0))
    with pytest.raises(SortingFault, match="no space left") as fault:
        queue.check()
    assert fault.value.name == "ledger"
    assert not queue.all_stored()
    disk.full = False
    queue.retry_refused()
    assert queue.all_stored()
    queue.check()
    assert disk.waited_s == [1.0, 2.0, 3.0]


def test_an_event_stored_later_keeps_its_time(tmp_path: Path) -> None:
    now = [100.0]
    disk = Disk(tmp_path, Clock(now_s=lambda: now[0], wall_s=lambda: now[0]))
    queue = EventQueue(disk, disk.on_stored.append)
    now[0], disk.full = 103.0, True
    queue.put(jam(1.0))
    now[0], disk.full = 150.0, False
    queue.retry_refused()
    assert queue.all_stored()
    ((_, payload),) = read_events(tmp_path)
    stored = decode(payload)
    assert (stored.uptime_s, stored.time, stored.seq) == (3.0, "1970-01-01T00:01:43.000Z", 1)
    disk.ledger.close(WAIT_S)


def test_a_full_disk_is_logged_once_until_there_is_room(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    ledger = disk.ledger
    queue = EventQueue(disk, disk.on_stored.append)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    queue.put(jam(1.0))
    try:
        for _ in range(2):
            resource.setrlimit(resource.RLIMIT_FSIZE, (ledger.file.with_name(f"{FILE}-wal").stat().st_size, before[1]))
            for _ in range(5):
                queue.put(jam(2.0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, before[1]))
            queue.put(jam(3.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    ledger.close(WAIT_S)
    assert [event.waited_s for event in disk.on_stored if isinstance(event, Jam)] == [1.0, 3.0, 3.0]
    assert [record.levelname for record in caplog.records if "could not be stored" in record.message] == ["ERROR"] * 2


@pytest.mark.parametrize("nonsense", [jam(float("nan")), jam(float("inf")), Fault(fault="camera", message="\ud800")], ids=["nan", "inf", "surrogate"])
def test_an_event_that_no_ledger_can_hold_is_logged_and_dropped(disk: Disk, nonsense: Event, caplog: pytest.LogCaptureFixture) -> None:
    queue = EventQueue(disk, disk.on_stored.append)
    for event in (jam(1.0), nonsense, jam(2.0)):
        queue.put(event)
    queue.check()
    assert queue.all_stored()
    assert disk.waited_s == [1.0, 2.0]
    (logged,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"event {nonsense.__struct_config__.tag} is dropped" in logged.getMessage()


def test_a_dropped_event_does_not_block_refused_ones(disk: Disk) -> None:
    queue = EventQueue(disk, disk.on_stored.append)
    disk.full = True
    queue.put(jam(1.0))
    disk.full = False
    queue.put(jam(float("nan")))
    queue.put(jam(2.0))
    with pytest.raises(SortingFault, match="no space left"):
        queue.check()
    queue.retry_refused()
    assert queue.all_stored()
    assert sorted(disk.waited_s) == [1.0, 2.0]


def test_a_damaged_ledger_is_a_fault_and_loses_no_event(disk: Disk) -> None:
    queue = EventQueue(disk, disk.on_stored.append)
    queue.put(jam(1.0))
    file = disk.ledger.file
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'tally'").fetchone()
    with file.open("r+b") as pages:
        pages.seek((page - 1) * 4096)
        pages.write(b"\xa5" * 4096)
    queue.put(jam(2.0))
    with pytest.raises(SortingFault, match="is damaged") as fault:
        queue.check()
    assert fault.value.name == "ledger"
    queue.retry_refused()
    assert queue.all_stored()
    assert disk.waited_s == [1.0, 2.0]
    assert disk.ledger.totals()["paper"].jams == 2
