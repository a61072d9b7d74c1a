"""The lines that the demo prints."""

import io
import threading
from pathlib import Path

from device.events import AnyEvent, BinEmptied, BinFull, Hazard, ItemSorted
from device.policy.rules import find_rules, read_rules
from device.simulation.bin import FallenItem
from device.simulation.items import VirtualItem
from device.simulation.narrator import Narrator

LABELS = ("cardboard", "glass", "metal", "paper", "plastic", "trash")


def item(label: str, into: str) -> ItemSorted:
    return ItemSorted(item="a", bin=into, label=label, p=0.98, probabilities={label: 1.0}, frames=1, bundle="b", decided_s=0.8, moved_s=1.0)


def said_of(*events: AnyEvent) -> list[str]:
    out = io.StringIO()
    narrator = Narrator(out, threading.Event(), None)
    narrator.begin([], read_rules(find_rules("recyclable"), LABELS))
    for event in events:
        if isinstance(event, ItemSorted):
            item = VirtualItem("a-cardboard-parcel", "cardboard", Path("parcel.png"), 10.0)
            narrator.item_fell(FallenItem(item, event.bin))
        narrator.on_stored(event)
    narrator.finish()
    return out.getvalue().splitlines()


def test_columns_stay_apart_and_cut_text_ends_with_an_ellipsis() -> None:
    _, head, row, *_ = said_of(item("a-very-long-label", "recyclable"))
    assert row.split() == ["1", "a-cardboard-parcel", "(cardb…", "a-very-long…", "98", "%", "recyclable", "right", "0.8", "s", "1.0", "s"]
    assert len(head) == len(row)
    assert row.index("recyclable") == head.index("bin")


def test_the_summary_counts_items_and_held_hazards() -> None:
    held = Hazard(item="b", bin="", label="metal", p=0.9)
    sums = [line for line in said_of(item("cardboard", "recyclable"), held, held) if " rejected" in line]
    assert len(sums) == 1
    assert sums[0].startswith("1 item in ") and sums[0].endswith("; 2 more held as a hazard, for a hand to take out")
    sums = [line for line in said_of(item("cardboard", "recyclable"), item("glass", "recyclable")) if " rejected" in line]
    assert sums[0].startswith("2 items in ") and "hazard" not in sums[0]


def test_full_and_emptied_bins_are_told() -> None:
    said = said_of(BinFull(bin="recyclable", percent=95.0, source="simulated"), BinEmptied(bin="recyclable", by="sensor", items=1))
    assert "      recyclable is full: its items go to the residual bin until it is emptied" in said
    assert "      recyclable was emptied, of 1 item" in said
