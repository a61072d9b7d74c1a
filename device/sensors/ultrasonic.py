"""An ultrasonic sensor with a trigger and an echo line, such as the HC-SR04: the kernel notes when its echo begins and ends."""

import math
import statistics
import time
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta

from device.common.gpio_chip import ClaimedLine, GpioError, LineName, claim_line, gpiod_missing, require_number_with_chip
from device.sensors import CountItems, LevelReading, SensorError
from device.sensors.settings import RangingBase

TRIGGER_S = 20e-6
"""length of the trigger pulse; the data sheet of the HC-SR04 asks for 10 us at least"""
ECHO_WAIT_S = 0.1
"""longest wait for both edges of an echo; without an object the HC-SR04 ends its pulse after 38 ms, some clones after 66 ms"""
LONGEST_ECHO_S = 0.030
"""longer pulses mean that nothing came back: 4 m, the range of the HC-SR04, takes 23 ms"""
PAUSE_S = 0.06
"""from ping to ping, until the last echo has died away: the data sheet's measurement cycle"""


class UltrasonicSettings(RangingBase, frozen=True, kw_only=True, tag="ultrasonic"):
    """An HC-SR04 or one of its kind above the bin. Its echo line carries 5 V: see docs/wiring.md."""

    trigger: Annotated[str, Meta(min_length=1)]
    """line of the trigger: its name as `gpioinfo` shows it, "GPIO5" on a Pi; or its number, with `chip`"""
    echo: Annotated[str, Meta(min_length=1)]
    """line of the echo, in the same way"""
    chip: str = ""
    """device file of the GPIO chip of both lines, such as "/dev/gpiochip0"; empty: whichever chip has lines of these names"""
    pings: Annotated[int, Meta(ge=1, le=25)] = 7
    """pings a reading; their median counts, and more than half of them must come back"""
    temperature_c: Annotated[float, Meta(ge=-40, le=60)] = 20.0
    """of the air in the bin, which the speed of sound depends on: 10 degrees are 1.7 %"""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number_with_chip(self.trigger, self.chip)
        require_number_with_chip(self.echo, self.chip)
        if self.trigger == self.echo:
            raise ValueError(f"Expected trigger and echo on two lines, found {self.echo} for both")

    @property
    def lines(self) -> tuple[str, ...]:
        of_chip = f" of {self.chip}" if self.chip else ""
        return (f"line {self.trigger}{of_chip}", f"line {self.echo}{of_chip}")

    def open(self, count_items: CountItems) -> "Ultrasonic":
        return Ultrasonic(self)


def speed_of_sound_m_s(temperature_c: float) -> float:
    """In dry air: that of an ideal gas, 331.3 m/s at 0 degrees Celsius."""
    return 331.3 * math.sqrt(1 + temperature_c / 273.15)


class Ultrasonic:
    """Claims both lines. The length of the echo comes from the kernel's time stamps of its edges, so it does not matter when the program runs.

    sleep: how to wait between pings. libgpiod is imported only when such a sensor is chosen.
    """

    def __init__(self, settings: UltrasonicSettings, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._settings, self._sleep = settings, sleep
        self._trigger, self._echo = _claim(settings)

    def read(self) -> LevelReading:
        settings = self._settings
        try:
            echoes_s = [echo_s for _ in range(settings.pings) if (echo_s := self._ping()) is not None]
        except OSError as error:
            raise SensorError(f"{settings.name}: cannot use its lines: {error.strerror}") from error
        if 2 * len(echoes_s) <= settings.pings:
            came = f"{len(echoes_s)} of {settings.pings} pings came back"
            raise SensorError(f"{settings.name}: {came}: is it wired, has it 5 V, and nothing soft below it?")
        distance_cm = 50 * statistics.median(echoes_s) * speed_of_sound_m_s(settings.temperature_c)
        return settings.reading(time.monotonic(), distance_cm)

    def close(self) -> None:
        for line in (self._trigger, self._echo):
            line.release()

    def _ping(self) -> float | None:
        """Length of the echo in seconds; None where none came back in time."""
        from gpiod.line import Value

        self._sleep(PAUSE_S)
        echo, trigger = self._echo.request, self._trigger.request
        while echo.wait_edge_events(0):  # of a late echo of the ping before
            echo.read_edge_events()
        trigger.set_value(self._trigger.offset, Value.ACTIVE)
        self._sleep(TRIGGER_S)
        trigger.set_value(self._trigger.offset, Value.INACTIVE)
        began_ns: int | None = None
        until_s = time.monotonic() + ECHO_WAIT_S
        while (left_s := until_s - time.monotonic()) > 0 and echo.wait_edge_events(left_s):
            for event in echo.read_edge_events():
                if event.event_type is event.Type.RISING_EDGE:
                    began_ns = event.timestamp_ns
                elif began_ns is not None:
                    echo_s = (event.timestamp_ns - began_ns) / 1e9
                    return echo_s if 0 < echo_s <= LONGEST_ECHO_S else None
        return None


def _claim(settings: UltrasonicSettings) -> tuple[ClaimedLine, ClaimedLine]:
    try:
        import gpiod
        from gpiod.line import Clock, Direction, Edge, Value

        output = gpiod.LineSettings(direction=Direction.OUTPUT, output_value=Value.INACTIVE)
        edges = gpiod.LineSettings(direction=Direction.INPUT, edge_detection=Edge.BOTH, event_clock=Clock.MONOTONIC)
    except Exception as error:  # a package that is missing, outdated or built for another system may raise anything
        raise SensorError(str(gpiod_missing(settings.name, error))) from error
    try:
        trigger = claim_line(LineName(settings.name, settings.trigger, settings.chip), output)
        try:
            return trigger, claim_line(LineName(settings.name, settings.echo, settings.chip), edges)
        except GpioError:
            trigger.release()
            raise
    except GpioError as error:
        raise SensorError(str(error)) from error
