"""Helpers for tests of the ledger: example events, and copies of a folder as a power cut leaves it."""

import contextlib
import random
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from device.events import AnyEvent, Fault, ItemRejected, ItemSorted, decode
from device.ledger.database import NUMBERS
from device.ledger.ledger import WAITING, Ledger
from device.ledger.reader import read_events
from device.ledger.schema import FILE
from device.ledger.totals import BinTotals

WAIT_S = 20.0
PAGE = 4096
ROOT = Path(__file__).parents[3]

Opener = Callable[..., Ledger]


def fault(n: int = 0) -> Fault:
    return Fault(fault="camera", message=f"no frame ({n})")


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


def sorted_items(n: int, **others: int) -> BinTotals:
    """Totals of a bin that n of `sorted_item` went into."""
    return BinTotals(sorted=n, contamination=n * 30_000 / 1_000_000, labels={"cardboard": n}, **others)


def rejected_item(item: str, to_bin: str = "other") -> ItemRejected:
    known = {field: getattr(sorted_item(item, to_bin), field) for field in ("label", "p", "probabilities", "frames", "decided_s", "moved_s")}
    return ItemRejected(item=item, bin=to_bin, bundle="b", reason="unsure", **known)


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
    """Copy what is on disk now, as an honest disk holds it after a power cut.

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


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Damage a file in one of the ways that happen on memory cards."""
    spoilt, pages = bytearray(content), len(content) // PAGE
    page = rng.choice([rng.randrange(pages), rng.randrange(min(8, pages))]) * PAGE
    match rng.randrange(6):
        case 0:
            spoilt[page : page + PAGE] = bytes(PAGE)
        case 1:
            spoilt[page : page + PAGE] = rng.randbytes(PAGE)
        case 2:
            for _ in range(rng.choice([1, 5, 50])):
                spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        case 3:
            del spoilt[rng.randrange(len(spoilt)) :]
        case 4:
            for _ in range(rng.choice([1, 3, 20])):
                spoilt[page + rng.randrange(PAGE)] = rng.randrange(256)
        case _:
            for _ in range(3):
                spoilt[page + rng.randrange(16 if page else 100)] = rng.randrange(256)
    return bytes(spoilt)
