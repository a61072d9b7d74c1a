"""A thread that reads a sensor which fails, hangs, comes back and is closed."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from device.sensors import LevelReading
from device.sensors import sensor_reader as module
from device.sensors.sensor_reader import HANG_S, MOST_ABANDONED, SensorThread
from device.sensors.simulated import SensorFaults, SimulatedLevelSettings, SimulatedSensor, VirtualLevel

WITHIN_S = 10.0


def eventually(true: Callable[[], bool]) -> bool:
    until_s = time.monotonic() + WITHIN_S
    while not true() and time.monotonic() < until_s:
        time.sleep(0.005)
    return true()


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[SensorFaults]:
    """Pauses between attempts are short here."""
    monkeypatch.setattr(module, "PAUSE_S", (0.01, 0.02))
    faults = SensorFaults()
    yield faults
    faults.hangs = False
    faults.released.set()


class World:
    """A thread over a simulated sensor, and how often it was opened."""

    def __init__(self, faults: SensorFaults) -> None:
        self.faults, self.opened = faults, 0
        self.level = VirtualLevel(0.25)
        self.settings = SimulatedLevelSettings(bin="paper", noise_cm=0.0)
        self.thread = SensorThread(self.settings.name, self.open, 0.01)

    def open(self) -> SimulatedSensor:
        self.opened += 1
        return SimulatedSensor(self.settings, lambda: self.level, self.faults)

    def newest(self) -> LevelReading | None:
        return self.thread.newest


@pytest.fixture
def world(faults: SensorFaults) -> Iterator[World]:
    world = World(faults)
    yield world
    world.thread.close()


def test_the_newest_reading_is_kept(world: World) -> None:
    assert eventually(lambda: world.newest() is not None)
    world.level = VirtualLevel(0.75)
    assert eventually(lambda: (newest := world.newest()) is not None and newest.percent == 75)


def test_a_sensor_that_failed_is_opened_again(world: World, faults: SensorFaults, caplog: pytest.LogCaptureFixture) -> None:
    assert eventually(lambda: world.newest() is not None)
    faults.dead = True
    assert eventually(lambda: world.thread.error == "level paper (simulated): does not answer" and world.opened > 5)
    before = world.newest()
    faults.dead = False
    assert eventually(lambda: world.thread.error == "" and world.newest() is not before)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == ["level paper (simulated): does not answer"]


def test_a_bug_in_a_driver_is_an_error_like_any_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedSensor, "read", lambda _: 1 / 0)
    assert eventually(lambda: world.thread.error == "level paper (simulated): ZeroDivisionError: division by zero")


class Hanging:
    """A sensor whose readings do not come back until `released`. inside: how many hang now."""

    def __init__(self) -> None:
        self.opened = self.inside = 0
        self.released = threading.Event()

    def open(self) -> "Hanging":
        self.opened += 1
        return self

    def read(self) -> LevelReading:
        self.inside += 1
        self.released.wait()
        self.inside -= 1
        return LevelReading(time.monotonic(), percent=10.0)

    def close(self) -> None:
        return None


def test_threads_that_hang_are_abandoned_and_not_without_end() -> None:
    sensor = Hanging()
    thread = SensorThread("level paper (tof)", sensor.open, 0.01)
    for hanging in range(1, MOST_ABANDONED + 2):
        assert eventually(lambda hanging=hanging: sensor.inside == hanging)
        thread.poll(time.monotonic() + HANG_S - 1)
        assert sensor.opened == hanging, "it is not late yet"
        thread.poll(time.monotonic() + HANG_S + 1)
    for _ in range(20):
        thread.poll(time.monotonic() + HANG_S + 1)
    assert sensor.opened == MOST_ABANDONED + 1
    assert thread.error == f"level paper (tof): its driver has not answered for {HANG_S:g} s; switch the bin off and on"
    sensor.released.set()
    assert eventually(lambda: thread.error == "" and thread.newest is not None)
    thread.close()
    assert eventually(lambda: sensor.inside == 0)


def test_closing_does_not_wait_for_a_driver_that_hangs(world: World, faults: SensorFaults) -> None:
    faults.hangs = True
    assert eventually(lambda: world.opened == 1)
    world.thread.close()
    world.thread.close()
    faults.hangs = False
    faults.released.set()
    assert eventually(lambda: not any(thread.name == "level" for thread in threading.enumerate()))
