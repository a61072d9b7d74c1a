"""A virtual bin whose settings file has tilting flaps, each of which serves two bins."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from device.events import Cleared, Fault, ItemInterrupted, ItemSorted, Jam
from device.gates import Position
from device.gates.simulated import SimulatedSettings
from device.hardware import HardwareError, check_gates
from device.policy.rules import default_rules, read_rules
from device.settings import read_settings
from device.vision.inference.bundle import Bundle
from device.vision.inference.preprocess import Pixels
from tests.device.virtual import Bench, BenchSetup, photos

SETTINGS = """
[device]
id = "bin-1"
[camera]
kind = "v4l2"
[[gate]]
kind = "simulated"
bins = { paper = -1, glass = 1 }
[[gate]]
kind = "simulated"
bins = { metal = -0.8, plastic = 1.0 }
[[gate]]
kind = "simulated"
bin = "trash"
"""
LABELS = ("cardboard", "glass", "metal", "paper", "plastic", "trash")

Benches = Callable[..., Bench]


@pytest.fixture
def bench(tiny_bundle: Bundle, tmp_path: Path, painted: Callable[..., Pixels]) -> Iterator[Benches]:
    """`bench("glass", "paper")`: a bin with these settings, into which these labels are thrown one after the other."""
    opened: list[Bench] = []
    file = tmp_path / "sortbin.toml"
    file.write_text(SETTINGS, encoding="utf-8")
    gates = [gate for gate in read_settings(file).gate if isinstance(gate, SimulatedSettings)]

    def make(*labels: str, **more: Any) -> Bench:
        opened.append(Bench(tiny_bundle, tmp_path / "state", photos(tmp_path, painted, labels), BenchSetup(gates=gates, **more)))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def test_each_item_falls_into_its_bin(bench: Benches) -> None:
    labels = ("glass", "paper", "metal", "cardboard", "plastic", "glass", "trash")
    bin_ = bench(*labels)
    assert bin_.live(80, until=lambda: len(bin_.recorded(ItemSorted)) == len(labels))
    assert [event.label for event in bin_.recorded(ItemSorted)] == list(labels)
    assert [landed.bin for landed in bin_.landed] == ["glass", "paper", "metal", "paper", "plastic", "glass", "trash"]
    assert [event.bin for event in bin_.recorded(ItemSorted)] == [landed.bin for landed in bin_.landed]


@pytest.mark.parametrize("trouble", ["seize", "break_wire"])
def test_a_broken_flap_is_a_fault_until_it_works(bench: Benches, trouble: str) -> None:
    bin_ = bench("glass", "paper")
    flap = bin_.gates["glass"]
    assert flap is bin_.gates["paper"]
    assert bin_.live(10, until=lambda: bin_.sorter.mode == "sorting")
    getattr(flap, trouble)()
    assert bin_.live(30, until=lambda: bin_.sorter.mode == "fault")
    (fault,) = bin_.recorded(Fault)
    assert fault.fault == "gate"
    assert fault.message.count("gate paper/glass") == 1
    flap.mend()
    assert bin_.live(60, until=lambda: len(bin_.recorded(ItemSorted)) == 2)
    assert [landed.bin for landed in bin_.landed] == ["glass", "paper"]
    assert [event.fault for event in bin_.recorded(Cleared)] == ["gate"]
    assert not bin_.recorded(ItemInterrupted)


def test_an_item_that_does_not_fall_is_a_jam_and_the_flap_closes(bench: Benches) -> None:
    bin_ = bench("glass", sticks=lambda item: item.label == "glass")
    assert bin_.live(60, until=lambda: bool(bin_.recorded(Jam)))
    (jam,) = bin_.recorded(Jam)
    assert jam.bin == "glass"
    assert bin_.opened == {"glass"}
    assert bin_.gates["glass"].position is Position.CLOSED


def test_gates_and_rule_pack_have_to_name_the_same_bins(tmp_path: Path) -> None:
    rules = read_rules(default_rules(), LABELS)
    file = tmp_path / "sortbin.toml"
    file.write_text(SETTINGS, encoding="utf-8")
    check_gates(read_settings(file), rules)
    file.write_text(SETTINGS.replace("glass = 1 ", "glass = 1, tin = 0.5 "), encoding="utf-8")
    with pytest.raises(HardwareError, match='bin = "tin" is not a bin of rule pack trashnet'):
        check_gates(read_settings(file), rules)
    file.write_text(SETTINGS.replace(", glass = 1 ", " "), encoding="utf-8")
    with pytest.raises(HardwareError, match='no \\[\\[gate\\]\\] with bin = "glass"'):
        check_gates(read_settings(file), rules)
