"""What several sensors of a bin say together: which of them counts, what a failure leaves, and which events are told."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from device.events import BinEmptied, BinFull, Event
from device.sensors import CountItems, ItemCount, LevelReading, SensorError
from device.sensors.beam import BeamSettings
from device.sensors.estimate import Estimate, EstimateSettings
from device.sensors.levels import BinLevel, Levels, WiredSensor
from device.sensors.sensor_reader import InlineReader
from device.sensors.settings import LevelBase
from device.sensors.simulated import SensorFaults, SimulatedLevelSettings, SimulatedSensor, VirtualLevel

BINS = ("paper", "glass", "trash")
RANGING = SimulatedLevelSettings(bin="paper", interval_s=1.0, noise_cm=0.3, good_for_s=30)
OTHER_RANGING = SimulatedLevelSettings(bin="paper", interval_s=1.0, noise_cm=0.0, good_for_s=30)
OVER_THE_LOWER_HALF = SimulatedLevelSettings(bin="paper", interval_s=1.0, noise_cm=0.0, good_for_s=30, seed=2)
"""a sensor over a place where half as much lies"""
BEAM = BeamSettings(bin="paper", line="GPIO23", good_for_s=30)
ESTIMATE = EstimateSettings(bin="paper", capacity_l=10.0, item_l=1.0, items_l={"glass": 2.0}, interval_s=1.0, good_for_s=30)


@dataclass
class World:
    """What the sensors of one set of bins see. Time passes only in `live`."""

    now_s: float = 1000.0
    share: float = 0.0
    beam: bool | None = None
    beam_works: bool = True
    passed_s: float | None = None
    counts: dict[str, ItemCount] = field(default_factory=dict)
    faults: SensorFaults = field(default_factory=SensorFaults)
    events: list[Event] = field(default_factory=list)
    levels: Levels | None = None

    def wire(self, settings: LevelBase) -> WiredSensor:
        def open_sensor(count_items: CountItems) -> Any:
            if isinstance(settings, EstimateSettings):
                return Estimate(settings, count_items, now_s=lambda: self.now_s)
            if isinstance(settings, SimulatedLevelSettings):
                return SimulatedSensor(
                    settings, lambda: VirtualLevel(self.share / (2 if settings is OVER_THE_LOWER_HALF else 1)), self.faults, now_s=lambda: self.now_s
                )
            return self

        return WiredSensor(settings, open_sensor)

    def read(self) -> LevelReading:
        """The beam's."""
        if not self.beam_works:
            raise SensorError("level paper (beam): cannot read its line")
        return LevelReading(self.now_s, full=self.beam, blocked=bool(self.beam), passed_s=self.passed_s)

    def close(self) -> None:
        """The beam's."""

    def open(self, *settings: LevelBase, full_before: tuple[str, ...] = ()) -> Levels:
        def start(sensor: WiredSensor, count_items: CountItems) -> InlineReader:
            return InlineReader(sensor.settings.name, lambda: sensor.open(count_items), sensor.settings.pace_s)

        self.levels = Levels([self.wire(each) for each in settings], BINS, self.count_items, full_before, start=start)
        return self.levels

    def count_items(self) -> Mapping[str, ItemCount]:
        return self.counts

    def live(self, seconds: float) -> BinLevel:
        assert self.levels is not None
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += 0.25
            self.events += self.levels.update(self.now_s)
        return self.levels.status["paper"]

    def told(self) -> list[str]:
        return [
            f"full {event.source}" if isinstance(event, BinFull) else f"emptied {event.by}"
            for event in self.events
            if isinstance(event, BinFull | BinEmptied)
        ]


@pytest.fixture
def world() -> World:
    return World()


def test_a_bin_without_a_sensor_is_unknown_and_never_closed(world: World) -> None:
    levels = world.open(RANGING, full_before=("glass",))
    world.live(5)
    assert levels.status["glass"] == BinLevel(percent=None, full=None, source="", measured_s=None, error="")
    assert levels.full == frozenset()


def test_a_bin_becomes_full_once_and_is_open_again_once_it_was_emptied(world: World) -> None:
    levels = world.open(RANGING)
    for share in (0.0, 0.5, 0.85, 0.95, 0.85, 0.7, 0.88, 0.93):
        world.share = share
        world.live(10)
    assert world.told() == ["full simulated"]
    assert levels.full == {"paper"} and levels.status["paper"].full
    world.counts["paper"] = ItemCount("", {"paper": 30}, 2)
    world.share = 0.05
    level = world.live(10)
    assert world.told() == ["full simulated", "emptied sensor"]
    assert world.events[-1] == BinEmptied(bin="paper", by="sensor", items=32)
    assert levels.full == frozenset() and level.full is False
    assert level.percent is not None and abs(level.percent - 5) <= 2 and level.measured_s is not None


def test_a_stray_echo_closes_no_bin(world: World) -> None:
    world.open(RANGING)
    world.share = 0.2
    world.live(10)
    world.share = 1.0
    world.live(1)
    world.share = 0.2
    world.live(10)
    assert world.told() == []


def test_spikes_in_three_of_a_hundred_readings_open_and_close_nothing(world: World) -> None:
    world.faults.spikes = 0.03
    world.open(SimulatedLevelSettings(bin="paper", interval_s=1.0, seed=4))
    world.share = 0.97
    world.live(600)
    assert world.told() == ["full simulated"]


@pytest.mark.parametrize("fault", ["no_echo", "dead", "out_of_range"])
def test_a_sensor_that_fails_leaves_the_level_unknown_and_says_why(fault: str, world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.open(RANGING)
    world.share = 0.4
    assert world.live(10).error == ""
    setattr(world.faults, fault, True)
    level = world.live(200)
    assert (level.percent, level.full, level.source) == (None, False, "")
    assert level.error.startswith("level paper (simulated): ")
    assert len(caplog.records) == 1
    setattr(world.faults, fault, False)
    level = world.live(70)
    assert (level.error, level.source) == ("", "simulated")


def test_a_full_bin_whose_sensor_fails_stays_closed_until_it_is_emptied(world: World) -> None:
    levels = world.open(RANGING, ESTIMATE)
    world.share = 1.0
    world.live(10)
    world.faults.dead = True
    world.live(100)
    assert levels.full == {"paper"} and world.told() == ["full simulated"]
    levels.emptied("paper")
    world.live(1)
    assert levels.full == frozenset() and world.told() == ["full simulated", "emptied command"]


def test_an_emptied_bin_that_a_sensor_still_calls_full_is_full_again(world: World) -> None:
    levels = world.open(RANGING)
    world.share = 1.0
    world.live(10)
    levels.emptied("paper")
    world.events += levels.update(world.now_s)
    assert levels.full == frozenset()
    world.live(1.5)
    assert levels.full == frozenset(), "one reading is not enough"
    world.live(10)
    assert world.told() == ["full simulated", "emptied command", "full simulated"]


def test_what_a_sensor_said_before_the_emptying_does_not_count(world: World) -> None:
    levels = world.open(BEAM)
    world.beam = True
    world.live(2)
    levels.emptied("paper")
    world.events += levels.update(world.now_s)
    assert world.told() == ["full beam", "emptied command"]
    assert levels.status["paper"] == BinLevel(None, False, "", None, "")


def test_what_was_full_before_a_restart_stays_so_until_a_sensor_speaks(world: World) -> None:
    world.faults.dead = True
    levels = world.open(RANGING, full_before=("paper",))
    assert levels.full == {"paper"}
    level = world.live(30)
    assert (level.percent, level.full, level.source) == (None, True, "remembered")
    world.faults.dead = False
    world.share = 0.75
    level = world.live(70)
    assert (level.percent, level.full) == (75, True), "within the band"
    world.share = 0.1
    world.live(10)
    assert world.told() == ["emptied sensor"]


def test_a_sensor_that_measures_counts_before_an_estimate(world: World) -> None:
    world.counts["paper"] = ItemCount("", {"paper": 9})
    levels = world.open(ESTIMATE, RANGING)
    world.share = 0.2
    level = world.live(10)
    assert (level.percent, level.source) == (pytest.approx(20, abs=2), "simulated")
    assert levels.full == frozenset()
    world.faults.dead = True
    level = world.live(60)
    assert (level.percent, level.source) == (90, "estimate")
    assert world.told() == ["full estimate"]


def test_the_fullest_of_two_sensors_counts(world: World) -> None:
    world.open(OVER_THE_LOWER_HALF, OTHER_RANGING, OVER_THE_LOWER_HALF)
    world.share = 0.8
    assert world.live(10).percent == 80


def test_an_estimate_counts_the_volume_of_each_label(world: World) -> None:
    world.counts["paper"] = ItemCount("", {"paper": 2, "glass": 2}, 1)
    world.open(ESTIMATE)
    level = world.live(3)
    assert (level.percent, level.full, level.source) == (70, False, "estimate")


def test_an_estimate_starts_anew_only_once_the_ledger_counts_anew(world: World) -> None:
    world.counts["paper"] = ItemCount("", {"paper": 12})
    levels = world.open(ESTIMATE)
    world.live(5)
    levels.emptied("paper")
    level = world.live(60)
    assert (level.percent, level.full) == (None, False), "the ledger has not stored it yet"
    world.counts["paper"] = ItemCount("2026-01-01T00:00:00Z", {"paper": 1})
    level = world.live(5)
    assert (level.percent, level.full) == (10, False)
    assert world.told() == ["full estimate", "emptied command"]


def test_a_larger_capacity_opens_an_estimated_bin_without_an_event(world: World) -> None:
    world.counts["paper"] = ItemCount("", {"paper": 2})
    levels = world.open(ESTIMATE, full_before=("paper",))
    world.live(3)
    assert levels.full == frozenset() and world.told() == []


def test_a_blocked_beam_makes_a_bin_full_whatever_the_others_say(world: World) -> None:
    levels = world.open(OTHER_RANGING, BEAM)
    world.share, world.beam = 0.3, True
    level = world.live(5)
    assert (level.percent, level.full, level.source) == (30, True, "simulated")
    world.beam = False
    world.live(5)
    assert world.told() == ["full beam", "emptied sensor"] and levels.full == frozenset()


def test_a_beam_alone_says_full_without_a_percentage(world: World) -> None:
    world.open(BEAM)
    assert world.live(2) == BinLevel(None, None, "beam", world.now_s, "")
    world.beam = True
    level = world.live(2)
    assert (level.percent, level.full, level.source) == (None, True, "beam")
    assert world.events == [BinFull(bin="paper", percent=None, source="beam")]


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (lambda world: None, False),
        (lambda world: setattr(world, "passed_s", world.now_s - 0.1), True),
        (lambda world: setattr(world, "passed_s", world.now_s - 60), False),
        (lambda world: setattr(world, "beam", True), None),
        (lambda world: setattr(world, "beam_works", False), None),
    ],
    ids=["nothing passed", "it passed", "an earlier one passed", "covered", "broken"],
)
def test_a_beam_confirms_denies_or_cannot_say(change: Callable[[World], None], answer: bool | None, world: World) -> None:
    levels = world.open(BeamSettings(bin="paper", line="GPIO23", confirm=True))
    world.live(2)
    change(world)
    world.now_s += 0.06
    assert levels.saw_fall("paper", world.now_s - 1.0, world.now_s) is answer
    assert levels.saw_fall("glass", world.now_s - 1.0, world.now_s) is None
    assert levels.confirms("paper") and not levels.confirms("glass")


def test_a_beam_that_has_said_nothing_for_a_while_cannot_say() -> None:
    """As where its thread hangs in a driver."""
    reader = InlineReader("level paper (beam)", lambda: World(now_s=1000.0), math.inf)
    levels = Levels([World().wire(BeamSettings(bin="paper", line="GPIO23", confirm=True))], BINS, dict, start=lambda *_: reader)
    assert levels.saw_fall("paper", 999.0, 1001.0) is False
    assert levels.saw_fall("paper", 999.0, 1004.0) is None


def test_a_beam_that_sees_nothing_of_five_items_is_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    levels = world.open(BeamSettings(bin="paper", line="GPIO23", confirm=True))
    for confirmed in (False, False, False, True, *[False] * 9):
        levels.note_drop("paper", confirmed)
    assert [record.getMessage() for record in caplog.records] == ["level paper (beam): saw nothing of the last 5 items that fell: is it aligned?"]


def test_a_stuck_sensor_keeps_its_level(world: World) -> None:
    world.open(RANGING)
    world.share = 0.5
    world.live(10)
    world.faults.stuck = True
    world.share = 1.0
    assert world.live(60).percent == pytest.approx(50, abs=2)


def test_emptying_a_bin_without_a_sensor_is_told_too(world: World) -> None:
    levels = world.open(RANGING)
    world.counts["glass"] = ItemCount("", {"glass": 3})
    levels.emptied("glass")
    assert levels.update(world.now_s) == [BinEmptied(bin="glass", by="command", items=3)]
    assert levels.status["glass"].full is None
    with pytest.raises(KeyError):
        levels.emptied("compost")
