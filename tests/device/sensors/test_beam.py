"""A light barrier, with gpiod's own types and a fake chip whose edges carry the kernel's times."""

import errno
import inspect
import os
from typing import Any

import gpiod
import pytest

from device.sensors import SensorError
from device.sensors.beam import Beam, BeamSettings

REAL_CHIP, REAL_REQUEST = gpiod.Chip, gpiod.LineRequest


class Clock:
    """The clock of both the beam and the kernel's time stamps."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr("device.sensors.beam.WAIT_S", 0.0)
    return Clock()


def beam(chip: str, clock: Clock, **keys: Any) -> Beam:
    return Beam(BeamSettings(**({"bin": "paper", "line": "GPIO23", "chip": chip, "blocked_s": 20.0} | keys)), now_s=clock)


def test_the_fake_gpiod_has_the_signatures_of_the_real_one(gpio: Any, chip: str) -> None:
    request = gpiod.Chip(chip).request_lines({17: gpiod.LineSettings()})
    for fake, real, names in (
        (gpiod.Chip, REAL_CHIP, ("__init__", "__enter__", "__exit__", "line_offset_from_id", "request_lines")),
        (type(request), REAL_REQUEST, ("set_value", "get_value", "wait_edge_events", "read_edge_events", "release")),
    ):
        assert fake is not real
        for name in names:
            assert list(inspect.signature(getattr(fake, name)).parameters) == list(inspect.signature(getattr(real, name)).parameters), name


def test_it_is_full_once_it_was_blocked_long_enough_and_free_likewise(gpio: Any, chip: str, clock: Clock) -> None:
    opened = beam(chip, clock)
    assert opened.read().full is None
    clock.now_s += 20
    assert opened.read().full is False
    gpio.set_input("GPIO23", False, clock.now_s)
    clock.now_s += 19
    assert (opened.read().full, opened.read().blocked) == (False, True)
    clock.now_s += 1
    assert opened.read().full is True
    gpio.set_input("GPIO23", True, clock.now_s)
    clock.now_s += 19
    assert (opened.read().full, opened.read().blocked) == (True, False)
    clock.now_s += 1
    assert opened.read().full is False


def test_a_blink_that_nobody_looked_at_is_noted_with_its_time(gpio: Any, chip: str, clock: Clock) -> None:
    opened = beam(chip, clock)
    gpio.set_input("GPIO23", False, 1000.10)
    gpio.set_input("GPIO23", True, 1000.13)
    clock.now_s += 0.5
    reading = opened.read()
    assert (reading.passed_s, reading.blocked) == (1000.10, False)


def test_items_that_fall_past_do_not_add_up_to_full(gpio: Any, chip: str, clock: Clock) -> None:
    opened = beam(chip, clock)
    for _ in range(30):
        gpio.set_input("GPIO23", False, clock.now_s)
        clock.now_s += 5
        gpio.set_input("GPIO23", True, clock.now_s)
        assert not opened.read().full


def test_a_receiver_may_be_high_while_the_beam_is_blocked(gpio: Any, chip: str, clock: Clock) -> None:
    gpio.level["GPIO23"] = False
    opened = beam(chip, clock, blocked_low=False, pull="down")
    assert not opened.read().blocked
    gpio.set_input("GPIO23", True, clock.now_s)
    assert opened.read().blocked
    assert gpio.settings["GPIO23"].bias is gpiod.line.Bias.PULL_DOWN


def test_an_edge_that_was_lost_is_found_by_the_level(gpio: Any, chip: str, clock: Clock) -> None:
    opened = beam(chip, clock)
    gpio.level["GPIO23"] = False
    reading = opened.read()
    assert (reading.blocked, reading.passed_s) == (True, clock.now_s)


def test_a_chip_that_is_gone_is_an_error_and_closing_it_is_not(gpio: Any, chip: str, clock: Clock) -> None:
    opened = beam(chip, clock)
    gpio.error = OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    with pytest.raises(SensorError, match=r"level paper \(beam\): cannot read its line: No such device"):
        opened.read()
    opened.close()
    with pytest.raises(SensorError, match="cannot read its line"):
        beam(chip, clock)
    assert gpio.taken == set()
