"""A light barrier on a digital input: blocked for so long means full; and, by option, each item that falls breaks it."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Literal

from msgspec import Meta

from device.common.gpio_chip import ClaimedLine, GpioError, LineName, claim_line, gpiod_missing, require_number_with_chip
from device.sensors import CountItems, LevelReading, SensorError
from device.sensors.settings import LevelBase

PACE_S = 0.05
"""least time between two readings: an input that nothing is wired to sees hundreds of edges a second"""
WAIT_S = 1.0
"""longest wait for an edge until a reading is given all the same"""


class BeamSettings(LevelBase, frozen=True, kw_only=True, tag="beam"):
    """A light barrier or photo sensor across the mouth of the bin, on a digital input."""

    line: Annotated[str, Meta(min_length=1)]
    """name of the line as `gpioinfo` shows it, "GPIO23" on a Pi; or its number, with `chip`"""
    chip: str = ""
    """device file of the GPIO chip, such as "/dev/gpiochip0"; empty: whichever chip has a line of that name"""
    blocked_low: bool = True
    """true for receivers that pull the line low while the beam is blocked"""
    pull: Literal["up", "down", "none"] = "up"
    """the Pi's own resistor on the line; "up" suits a receiver with an open collector"""
    blocked_s: Annotated[float, Meta(ge=1, le=3600)] = 20.0
    """blocked for so long means full, free for so long means not full"""
    confirm: bool = False
    """whether each item that falls breaks it, so that it confirms each drop"""

    def __post_init__(self) -> None:
        require_number_with_chip(self.line, self.chip)

    @property
    def lines(self) -> tuple[str, ...]:
        return (f"line {self.line}" + (f" of {self.chip}" if self.chip else ""),)

    @property
    def confirms(self) -> bool:
        return self.confirm

    @property
    def pace_s(self) -> float:
        return PACE_S

    def open(self, count_items: CountItems) -> "Beam":
        return Beam(self)


class Beam:
    """Waits for edges of its line, which the kernel notes with their time, so that no item falls past between two looks.

    now_s: the clock that the kernel stamps edges with, CLOCK_MONOTONIC. libgpiod is imported only when a beam is chosen.
    """

    def __init__(self, settings: BeamSettings, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._now_s = settings, now_s
        self._claimed = _claim_input(settings)
        self._offset = self._claimed.offset
        self._passed_s: float | None = None
        self._full: bool | None = None
        try:
            self._blocked = self._is_blocked()
        except SensorError:
            self.close()
            raise
        self._since_s = now_s()

    def read(self) -> LevelReading:
        request = self._claimed.request
        try:
            if request.wait_edge_events(WAIT_S):
                for event in request.read_edge_events():
                    self._note(event.event_type is event.Type.RISING_EDGE, event.timestamp_ns / 1e9)
        except OSError as error:
            raise SensorError(f"{self._settings.name}: cannot read its line: {error.strerror}") from error
        now_s = self._now_s()
        blocked = self._is_blocked()
        if blocked != self._blocked:  # an edge that the kernel dropped because too many waited
            self._note(blocked, now_s)
        if now_s - self._since_s >= self._settings.blocked_s:
            self._full = self._blocked
        return LevelReading(now_s, full=self._full, blocked=self._blocked, passed_s=self._passed_s)

    def close(self) -> None:
        self._claimed.release()

    def _note(self, blocked: bool, at_s: float) -> None:
        if blocked:
            self._passed_s = at_s
        if blocked != self._blocked:
            self._blocked, self._since_s = blocked, at_s

    def _is_blocked(self) -> bool:
        from gpiod.line import Value

        try:
            return self._claimed.request.get_value(self._offset) is Value.ACTIVE
        except OSError as error:
            raise SensorError(f"{self._settings.name}: cannot read its line: {error.strerror}") from error


def _claim_input(settings: BeamSettings) -> ClaimedLine:
    try:
        import gpiod
        from gpiod.line import Bias, Clock, Direction, Edge

        bias = {"up": Bias.PULL_UP, "down": Bias.PULL_DOWN, "none": Bias.DISABLED}[settings.pull]
        wanted = gpiod.LineSettings(
            direction=Direction.INPUT,
            edge_detection=Edge.BOTH,
            bias=bias,
            active_low=settings.blocked_low,
            debounce_period=timedelta(milliseconds=1),
            event_clock=Clock.MONOTONIC,
        )
    except Exception as error:  # a package that is missing, outdated or built for another system may raise anything
        raise SensorError(str(gpiod_missing(settings.name, error))) from error
    try:
        return claim_line(LineName(settings.name, settings.line, settings.chip), wanted)
    except GpioError as error:
        raise SensorError(str(error)) from error
