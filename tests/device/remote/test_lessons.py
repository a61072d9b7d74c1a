"""Lessons from afar: fitted in a process of its own, stored for the next start, refused where the rule pack has no bin."""

from collections.abc import Callable
from pathlib import Path

import pytest

from device.adaptation.fewshot_head_store import head_files, read_head
from device.events import ItemSorted
from device.vision.inference.bundle import Bundle
from tests.device.commands.conftest import bundle as bundle
from tests.device.remote.conftest import RemoteBench

pytestmark = pytest.mark.slow


def test_what_is_taught_is_stored_and_forgotten(remote: Callable[..., RemoteBench], bundle: Bundle, tmp_path: Path) -> None:
    bin_, state = remote("glass", "metal", bundle=bundle), tmp_path / "state"
    assert bin_.answer("teach", {"label": "plastic"}, "0").code == "out_of_range", "no item came yet"
    bin_.bench.throws = True
    assert bin_.live(60, lambda: len(bin_.bench.recorded(ItemSorted)) == 2)
    first = bin_.bench.recorded(ItemSorted)[0]
    assert isinstance(first, ItemSorted)
    taught = bin_.answer("teach", {"label": "plastic", "item": first.item}, "1")
    assert taught.ok and taught.message.startswith("taught: plastic 1") and taught.message.endswith("in use after a restart"), taught
    assert bin_.answer("teach", {"label": "plastic", "item": first.item}, "2").message == "plastic: this item was taught already"
    assert bin_.answer("teach", {"label": "paper"}, "3").message.startswith("taught: plastic 1, paper 1")
    unknown = bin_.answer("teach", {"label": "battery"}, "4")
    assert (unknown.code, "no bin for the label battery" in unknown.message) == ("failed", True)
    head = read_head(state, bundle)
    assert head is not None and head.examples.counts() == {"plastic": 1, "paper": 1}
    assert bin_.answer("forget", {"label": "glass"}, "5").message == "glass: was not taught; taught are plastic, paper"
    assert bin_.answer("forget", {"label": "plastic"}, "6").message == "forgotten; taught are: paper 1; in use after a restart"
    assert bin_.answer("forget", {"label": "paper"}, "7").message == "forgotten; taught are: nothing; in use after a restart"
    assert head_files(state) == []
