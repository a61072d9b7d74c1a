"""An ultrasonic sensor, with gpiod's own types and a fake chip on which a model of an HC-SR04 answers the trigger."""

import errno
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from device.sensors import SensorError
from device.sensors.ultrasonic import Ultrasonic, UltrasonicSettings, speed_of_sound_m_s

AT_20_DEGREES_M_S = 343.2


class Echoes:
    """Answers each trigger pulse with an echo of the next of these lengths, in seconds; None: no echo; 0: its end is lost."""

    def __init__(self, gpio: Any, lengths_s: list[float | None]) -> None:
        self.gpio, self.lengths_s, self.pings = gpio, lengths_s, 0
        gpio.on_output = self.output_changed

    def output_changed(self, line: str, level: bool) -> None:
        if line == "GPIO5" and not level:
            length_s = self.lengths_s[self.pings % len(self.lengths_s)]
            self.pings += 1
            if length_s is not None:
                began_s = 100.0 + self.pings
                self.gpio.set_input("GPIO6", True, began_s)
                if length_s:
                    self.gpio.set_input("GPIO6", False, began_s + length_s)


def echo_s(distance_cm: float) -> float:
    return 2 * distance_cm / 100 / AT_20_DEGREES_M_S


@pytest.fixture
def sensor(gpio: Any, chip: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ultrasonic]:
    monkeypatch.setattr("device.sensors.ultrasonic.ECHO_WAIT_S", 0.01)

    def make(**keys: Any) -> Ultrasonic:
        settings = UltrasonicSettings(**({"bin": "paper", "trigger": "GPIO5", "echo": "GPIO6", "chip": chip, "empty_cm": 60, "full_cm": 10} | keys))
        return Ultrasonic(settings, sleep=lambda _: None)

    return make


def test_the_distance_comes_from_the_time_stamps_of_both_edges(gpio: Any, sensor: Callable[..., Ultrasonic]) -> None:
    Echoes(gpio, [echo_s(35)])
    reading = sensor().read()
    assert reading.distance_cm == pytest.approx(35, abs=0.1)
    assert reading.percent == pytest.approx(50, abs=0.5)


def test_the_median_of_the_pings_counts(gpio: Any, sensor: Callable[..., Ultrasonic]) -> None:
    echoes = Echoes(gpio, [echo_s(35), echo_s(4), echo_s(36), None, echo_s(34)])
    assert sensor(pings=5).read().distance_cm == pytest.approx(34.5, abs=0.1)
    assert echoes.pings == 5


@pytest.mark.parametrize("lost", [None, 0.0, 0.038], ids=["no echo", "no end", "the pulse of no object"])
def test_pings_that_do_not_come_back_are_said(lost: float | None, gpio: Any, sensor: Callable[..., Ultrasonic]) -> None:
    Echoes(gpio, [echo_s(35), lost, lost])
    with pytest.raises(SensorError, match=r"^level paper \(ultrasonic\): 1 of 3 pings came back: is it wired"):
        sensor(pings=3).read()


def test_warm_air_carries_sound_faster(gpio: Any, sensor: Callable[..., Ultrasonic]) -> None:
    assert speed_of_sound_m_s(0) == 331.3
    assert speed_of_sound_m_s(20) == pytest.approx(AT_20_DEGREES_M_S, abs=0.1)
    Echoes(gpio, [echo_s(35)])
    assert sensor(temperature_c=40.0).read().distance_cm == pytest.approx(35 * speed_of_sound_m_s(40) / AT_20_DEGREES_M_S, abs=0.05)


def test_a_distance_beyond_the_empty_bin_is_no_level(gpio: Any, sensor: Callable[..., Ultrasonic]) -> None:
    Echoes(gpio, [echo_s(90)])
    with pytest.raises(SensorError, match="measures 90 cm, and the empty bin has 60 cm: is the bin in its place"):
        sensor().read()


def test_a_little_beyond_the_empty_bin_is_empty(gpio: Any, sensor: Callable[..., Ultrasonic]) -> None:
    Echoes(gpio, [echo_s(62)])
    assert sensor().read().percent == 0


def test_a_late_echo_of_the_ping_before_is_not_taken_for_this_one(gpio: Any, sensor: Callable[..., Ultrasonic]) -> None:
    opened = sensor(pings=1)
    gpio.set_input("GPIO6", True, 50.0)
    gpio.set_input("GPIO6", False, 50.0 + echo_s(12))
    Echoes(gpio, [echo_s(40)])
    assert opened.read().distance_cm == pytest.approx(40, abs=0.1)


def test_lines_are_given_back_also_where_only_one_can_be_claimed(gpio: Any, sensor: Callable[..., Ultrasonic]) -> None:
    opened = sensor()
    assert gpio.taken == {"GPIO5", "GPIO6"}
    opened.close()
    opened.close()
    assert gpio.taken == set()
    gpio.taken.add("GPIO6")
    with pytest.raises(SensorError, match=r"level paper \(ultrasonic\): cannot claim line GPIO6 .*is it in use"):
        sensor()
    assert gpio.taken == {"GPIO6"}


def test_a_chip_that_fails_is_an_error_of_the_sensor(gpio: Any, sensor: Callable[..., Ultrasonic]) -> None:
    opened = sensor()
    gpio.error = OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(SensorError, match="cannot use its lines: Input/output error"):
        opened.read()


def test_a_missing_gpiod_is_one_line(sensor: Callable[..., Ultrasonic], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiod", None)
    with pytest.raises(SensorError, match=r"level paper \(ultrasonic\): gpiod cannot be imported .*install it with `pip install gpiod`"):
        sensor()
