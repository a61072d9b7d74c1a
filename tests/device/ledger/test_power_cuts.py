"""Kills and power cuts at any moment."""

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.common.clock import Clock
from device.events import ItemInterrupted, ItemRejected, ItemSorted
from device.ledger.ledger import Ledger
from device.ledger.reader import read_events
from device.ledger.totals import BinTotals
from tests.device.ledger.ledgers import ROOT, WAIT_S, Opener, events_in, fault, power_cut, rejected_item, sorted_item, stored

pytestmark = pytest.mark.slow

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


def test_a_kill_at_any_moment_loses_and_doubles_no_event(opener: Opener, state: Path) -> None:
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
    n_sorted, n_rejected = counted["paper", ItemSorted], counted["other", ItemRejected]
    of_paper = BinTotals(sorted=n_sorted, interrupted=counted["paper", ItemInterrupted], contamination=n_sorted / 10, labels={"x": n_sorted})
    assert totals["paper"] == of_paper
    assert totals["other"] == BinTotals(rejected=n_rejected, reasons={"unsure": n_rejected})
    delivered = {int(seq) for what, _, *rest in said if what == "delivered" for seq in rest}
    waiting = {seq for seq, _ in ledger.outbox(0, len(told))}
    assert waiting >= {event.seq for event in told} - delivered - {max(committed)}
    assert ledger.restarts == 6


@settings(max_examples=8)
@given(st.lists(st.sampled_from(["intend", "sort", "reject", "fault", "deliver", "close", "cut"]), max_size=16))
def test_any_order_of_requests_stops_and_power_cuts_is_recorded(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
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
