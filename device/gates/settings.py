"""What a user sets of the gates: one table `[[gate]]` for each bin. Its key `kind` says what moves the flap."""

from typing import Annotated

from msgspec import Meta, Struct

SHORTEST_US, LONGEST_US = 400.0, 2700.0
Pulse = Annotated[float, Meta(ge=SHORTEST_US, le=LONGEST_US)]


class GateBase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every gate has."""

    bin: Annotated[str, Meta(min_length=1)]
    """name of the bin below it, as the rule pack spells it"""


class ServoSettings(GateBase, frozen=True, kw_only=True, tag="servo"):
    """A hobby servo on a hardware PWM channel of the kernel, /sys/class/pwm. A PCA9685 board appears there too, with its overlay."""

    chip: Annotated[int, Meta(ge=0)] | str = ""
    """name of the device behind the chip, as "1-0040" for a PCA9685, or N for pwmchipN, which kernels renumber; empty: that of a Pi's header"""
    channel: Annotated[int, Meta(ge=0, le=15)]
    """channel of that chip"""
    closed_us: Pulse
    """length of the pulse that closes the flap, microseconds; find it with `sortbin gate BIN --pulse`"""
    open_us: Pulse
    """length of the pulse that opens it; may be the shorter one"""
    period_us: Annotated[float, Meta(ge=3000, le=25000)] = 20000
    """from pulse to pulse; 20 ms suits every servo"""
    travel_s: Annotated[float, Meta(ge=0.1, le=10)] = 0.6
    """time for the whole way; the pulse is moved along evenly, so this is the flap's speed"""
    settle_s: Annotated[float, Meta(ge=0, le=2)] = 0.15
    """time that the servo lags behind its pulse"""
    detach_s: Annotated[float, Meta(ge=0, le=60)] = 0.5
    """how long pulses go on after the flap has closed; then they stop, and with them jitter, hum and heat"""

    @property
    def way_s(self) -> float:
        """From the command until the flap counts as arrived, seconds."""
        return self.travel_s + self.settle_s

    def __post_init__(self) -> None:
        if self.closed_us == self.open_us:
            raise ValueError(f"Expected closed_us and open_us to differ, found {self.open_us:g} for both")


class LineSettings(GateBase, frozen=True, kw_only=True, tag="line"):
    """A digital output: a relay, a solenoid, the input of a motor driver. Active opens."""

    line: Annotated[str, Meta(min_length=1)]
    """name of the line as `gpioinfo` shows it, "GPIO17" on a Pi; or its number, with `chip`"""
    chip: str = ""
    """device file of the GPIO chip, such as "/dev/gpiochip0"; empty: whichever chip has a line of that name"""
    active_low: bool = False
    """true for relay boards that switch on when their input is pulled low"""
    travel_s: Annotated[float, Meta(ge=0.02, le=30)] = 0.5
    """time for the whole way"""
    max_on_s: Annotated[float, Meta(ge=0.1, le=600)] = 10.0
    """longest time the output may stay active: a solenoid burns out when held"""

    @property
    def way_s(self) -> float:
        """From the command until the flap counts as arrived, seconds."""
        return self.travel_s

    def __post_init__(self) -> None:
        if self.line.isdecimal() and not self.chip:
            raise ValueError(f'Expected `chip` beside the line number {self.line}, such as "/dev/gpiochip0"')
        if self.max_on_s <= self.travel_s:
            raise ValueError(f"Expected max_on_s above travel_s, found {self.max_on_s:g} and {self.travel_s:g}")


class SimulatedSettings(GateBase, frozen=True, kw_only=True, tag="simulated"):
    """A gate that exists in the program alone, for a virtual bin or a trial without hardware."""

    travel_s: Annotated[float, Meta(ge=0.02, le=10)] = 0.45
    """time for the whole way"""

    @property
    def way_s(self) -> float:
        """From the command until the flap counts as arrived, seconds."""
        return self.travel_s


GateSettings = ServoSettings | LineSettings | SimulatedSettings
