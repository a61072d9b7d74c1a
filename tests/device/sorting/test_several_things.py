"""Two things that come together: to one bin, or where the rule pack says."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.events import ItemRejected, ItemSorted
from device.policy.rules import default_rules
from device.simulation.items import VirtualItem, shipped_items
from device.sorting.control_steps import SortingSettings
from device.vision.inference.bundle import default_bundle, read_bundle
from tests.device.virtual import Bench, BenchSetup

Benches = Callable[..., Bench]
SIDE_PX = 160


@pytest.fixture
def beside(tmp_path: Path) -> Callable[[str, str], VirtualItem]:
    """`beside("food-tin-00", "food-carton-01")`: two of the virtual bin's things, thrown in side by side."""

    def make(*names: str) -> VirtualItem:
        things = {thing.file.stem: thing for thing in shipped_items()}
        picture = np.zeros((SIDE_PX, round(2.3 * SIDE_PX), 4), np.uint8)
        for number, name in enumerate(names):
            rgb, alpha = things[name].picture()
            whole = np.dstack([rgb[..., ::-1], np.rint(alpha * 255).astype(np.uint8)])
            scale = SIDE_PX / max(whole.shape)
            small = cv2.resize(whole, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            left = round(1.3 * SIDE_PX) * number
            picture[: small.shape[0], left : left + small.shape[1]] = small
        cv2.imwrite(str(tmp_path / "both.png"), picture)
        return VirtualItem("both", None, tmp_path / "both.png", 28.0)

    return make


@pytest.mark.parametrize(
    ("pack", "into"), [("", "trash"), ('several = "least_cost"\n[cost]\nresidual = 5.0\n[cost.belongs_in.metal]\npaper = 0.1\n', "paper")]
)
def test_two_things_for_two_bins_go_where_the_pack_says(pack: str, into: str, beside: Callable[[str, str], VirtualItem], tmp_path: Path) -> None:
    rules = tmp_path / "pack.toml"
    top, tables = pack.partition("\n")[::2]
    text = default_rules().read_text(encoding="utf-8").partition("[cost]")[0].replace("[bins.paper]", f"{top}\n[bins.paper]")
    rules.write_text(f"{text}\n{tables}", encoding="utf-8")
    bin_ = Bench(read_bundle(default_bundle()), tmp_path / "state", [beside("food-tin-00", "food-carton-01")], BenchSetup(rules=rules))
    assert bin_.live(30, until=lambda: bool(bin_.recorded(ItemRejected)))
    (event,) = bin_.recorded(ItemRejected)
    assert (event.bin, event.reason, event.pieces, event.isolated) == (into, "several", 2, True)
    assert event.frames == SortingSettings().burst, "the burst does not end early"
    bin_.close()


def test_two_things_for_one_bin_go_there_together(beside: Callable[[str, str], VirtualItem], tmp_path: Path) -> None:
    bin_ = Bench(read_bundle(default_bundle()), tmp_path / "state", [beside("newspaper-00", "food-carton-00")])
    assert bin_.live(30, until=lambda: bool(bin_.recorded(ItemSorted)))
    (event,) = bin_.recorded(ItemSorted)
    assert (event.bin, event.pieces) == ("paper", 2)
    bin_.close()
