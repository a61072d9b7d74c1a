"""A gate on one digital output of the GPIO character device: active opens it, inactive lets it close."""

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from device.common.gpio_chip import DEVICES, ClaimedLine, GpioError, LineName, claim_line, gpiod_missing, require_number_with_chip
from device.gates import GateError, Position
from device.gates.settings import BinName, GateBase

if TYPE_CHECKING:
    import gpiod

log = logging.getLogger(__name__)


class LineSettings(GateBase, frozen=True, kw_only=True, tag="line"):
    """A digital output: a relay, a solenoid, the input of a motor driver. Active opens."""

    bin: BinName
    """the bin that it opens"""
    line: Annotated[str, Meta(min_length=1)]
    """name of the line as `gpioinfo` shows it, "GPIO17" on a Pi; or its number, with `chip`"""
    chip: str = ""
    """device file of the GPIO chip, such as "/dev/gpiochip0"; empty: whichever chip has a line of that name"""
    active_low: bool = False
    """true for relay boards that switch on when their input is pulled low"""
    travel_s: Annotated[float, Meta(ge=0.02, le=30)] = 0.5
    """time from closed to open"""
    max_on_s: Annotated[float, Meta(ge=0.1, le=600)] = 10.0
    """longest time the output may stay active: a solenoid burns out when held"""

    @property
    def serves(self) -> tuple[str, ...]:
        return (self.bin,)

    @property
    def way_s(self) -> float:
        return self.travel_s

    def __post_init__(self) -> None:
        require_number_with_chip(self.line, self.chip)
        if self.max_on_s <= self.travel_s:
            raise ValueError(f"Expected max_on_s above travel_s, found {self.max_on_s:g} and {self.travel_s:g}")

    @property
    def output(self) -> str:
        return f"line {self.line}" + (f" of {self.chip}" if self.chip else "")

    def describe(self, bin_: str) -> str:
        return self.line + (f" of {self.chip}" if self.chip else "") + (", active low" if self.active_low else "")

    def claim(self) -> "LineGate":
        return LineGate(self)


class LineGate:
    """Claims the line as an output, inactive at first; the kernel refuses it to other processes meanwhile.

    A line does not report its position: the gate counts as arrived after `travel_s`. After `max_on_s` active, the line is switched off and
    `update` raises GateError, whatever was commanded. libgpiod is imported only when such a gate is chosen.
    """

    def __init__(self, settings: LineSettings, *, devices: Path = DEVICES) -> None:
        self.bins = settings.serves
        self._name = f"gate {settings.name}"
        self._travel_s, self._max_on_s = settings.travel_s, settings.max_on_s
        self._position = Position.UNKNOWN
        self._since_s = 0.0
        self._on_since_s: float | None = None
        claimed = _claim(self._name, settings, devices)
        self.output, self._offset = claimed.where, claimed.offset
        self._request: gpiod.LineRequest | None = claimed.request

    @property
    def position(self) -> Position:
        return self._position

    def open(self, bin_: str, now_s: float) -> None:
        if self._position in (Position.OPEN, Position.OPENING):
            return
        self._set(active=True)
        self._position = Position.OPENING
        self._since_s = now_s
        self._on_since_s = now_s if self._on_since_s is None else self._on_since_s

    def close(self, now_s: float) -> None:
        if self._position in (Position.CLOSED, Position.CLOSING):
            return
        self._set(active=False)
        self._position = Position.CLOSING
        self._since_s = now_s
        self._on_since_s = None

    def update(self, now_s: float) -> None:
        if self._on_since_s is not None and now_s - self._on_since_s >= self._max_on_s:
            self.close(now_s)
            raise GateError(f"{self._name}: was open for max_on_s, {self._max_on_s:g} s, and has been switched off")
        if now_s - self._since_s >= self._travel_s:
            if self._position is Position.OPENING:
                self._position = Position.OPEN
            elif self._position is Position.CLOSING:
                self._position = Position.CLOSED

    def release(self) -> None:
        self._position = Position.UNKNOWN
        self._on_since_s = None
        request, self._request = self._request, None
        if request is None:
            return
        try:
            self._write(request, active=False)
        except GateError as error:
            log.error("%s; it may still be active", error)
        with contextlib.suppress(OSError):
            request.release()

    def _set(self, *, active: bool) -> None:
        self._position = Position.UNKNOWN
        if self._request is None:
            raise GateError(f"{self._name}: its line has been released")
        self._write(self._request, active=active)

    def _write(self, request: "gpiod.LineRequest", *, active: bool) -> None:
        from gpiod.line import Value

        try:
            request.set_value(self._offset, Value.ACTIVE if active else Value.INACTIVE)
        except OSError as error:
            raise GateError(f"{self._name}: cannot set its line: {error.strerror}") from error


def _claim(user: str, settings: LineSettings, devices: Path) -> ClaimedLine:
    try:
        import gpiod
        from gpiod.line import Direction, Value

        output = gpiod.LineSettings(direction=Direction.OUTPUT, active_low=settings.active_low, output_value=Value.INACTIVE)
    except Exception as error:  # a package that is missing, outdated or built for another system may raise anything
        raise GateError(str(gpiod_missing(user, error))) from error
    try:
        return claim_line(LineName(user, settings.line, settings.chip, devices), output)
    except GpioError as error:
        raise GateError(str(error)) from error
