"""Fixtures: a ledger's folder, opened ledgers, a full disk."""

import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from device.common.clock import Clock
from device.ledger.ledger import Ledger
from device.ledger.schema import FILE
from tests.device.ledger.ledgers import WAIT_S, Opener


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def opener(state: Path) -> Iterator[Opener]:
    """Opens ledgers in `state`; closes them at the end."""
    opened: list[Ledger] = []

    def open_ledger(folder: Path = state, clock: Clock | None = None, **settings: Any) -> Ledger:
        opened.append(Ledger(folder, "bin1", clock or Clock(), **settings))
        return opened[-1]

    yield open_ledger
    for ledger in opened:
        ledger.close(WAIT_S)


@pytest.fixture
def full_disk(state: Path) -> Iterator[Callable[[], None]]:
    """Call it: no file can grow above the present size of the ledger's journal, until `lift` or the end of the test."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, ((state / f"{FILE}-wal").stat().st_size, before[1]))

    yield fill_up
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
