"""A flap on a hobby servo. The kernel makes the pulses: those made by a program jitter, and a servo follows every jitter."""

from pathlib import Path
from typing import Annotated, Self

from msgspec import Meta, structs

from device.gates import GateError, Position
from device.gates.pwm import PWM_CLASS, PwmChannel
from device.gates.settings import GateBase

LONGEST_STEP_S = 0.1
SHORTEST_US, LONGEST_US = 400.0, 2700.0
Pulse = Annotated[float, Meta(ge=SHORTEST_US, le=LONGEST_US)]


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

    @property
    def output(self) -> str:
        return f"channel {self.channel} of PWM chip {self.chip if self.chip != '' else 'of the header'}"

    @property
    def description(self) -> str:
        return f"{self.output}, {self.closed_us:g} us closed, {self.open_us:g} us open"

    def claim(self) -> "ServoGate":
        return ServoGate(self)

    def slowed(self, travel_s: float) -> Self:
        return structs.replace(self, travel_s=max(self.travel_s, travel_s))

    def at_pulse(self, pulse_us: float) -> Self:
        other_us = self.closed_us if self.closed_us != pulse_us else self.open_us
        return structs.replace(self, closed_us=other_us, open_us=pulse_us)


class ServoGate:
    """Moves the pulse evenly from end to end in `travel_s`, so that the servo neither jumps nor draws its stall current.

    A servo does not tell where it is: it counts as arrived `settle_s` after its pulse. Where it stands at the start the kernel knows from
    the run before; if it does not, the first move goes at the servo's own speed. Pulses go on while the flap is open, which holds it
    against what lies on it, and stop `detach_s` after it has closed.
    """

    def __init__(self, settings: ServoSettings, *, root: Path = PWM_CLASS) -> None:
        self._closed_us, self._open_us = settings.closed_us, settings.open_us
        self._travel_s, self._settle_s, self._detach_s = settings.travel_s, settings.settle_s, settings.detach_s
        self._position = Position.UNKNOWN
        self._on = False
        self._moved_s = self._arrives_s = 0.0
        self._channel = PwmChannel(f"gate {settings.bin}", settings.chip, settings.channel, settings.period_us, root=root)
        try:
            pulse_us = self._channel.pulse_us
        except GateError:
            self._channel.release()
            raise
        self._pulse_us = pulse_us if SHORTEST_US <= pulse_us <= LONGEST_US else None

    @property
    def position(self) -> Position:
        return self._position

    @property
    def output(self) -> str:
        return self._channel.output

    def open(self, now_s: float) -> None:
        if self._position not in (Position.OPEN, Position.OPENING):
            self._start(Position.OPENING, self._open_us, now_s)

    def close(self, now_s: float) -> None:
        if self._position not in (Position.CLOSED, Position.CLOSING):
            self._start(Position.CLOSING, self._closed_us, now_s)

    def update(self, now_s: float) -> None:
        try:
            match self._position:
                case Position.OPENING if self._arrived(self._open_us, now_s):
                    self._position = Position.OPEN
                case Position.CLOSING if self._arrived(self._closed_us, now_s):
                    self._position = Position.CLOSED
                case Position.CLOSED if self._on and now_s - self._arrives_s >= self._detach_s:
                    self._channel.off()
                    self._on = False
        except GateError:
            self._position = Position.UNKNOWN
            raise

    def release(self) -> None:
        self._position = Position.UNKNOWN
        self._on = False
        self._channel.release()

    def _start(self, position: Position, target_us: float, now_s: float) -> None:
        self._position = Position.UNKNOWN
        start_us = target_us if self._pulse_us is None else self._pulse_us
        self._send(start_us)
        self._channel.on()
        self._on = True
        self._position = position
        self._moved_s = now_s
        # With the pulse at its end already, the flap may still be anywhere: it gets the time for the whole way.
        self._arrives_s = now_s + self._settle_s + (self._travel_s if start_us == target_us else 0.0)

    def _arrived(self, target_us: float, now_s: float) -> bool:
        """Move the pulse on. After a pause of the control loop it goes on from where it was instead of making up for the time in a jump."""
        step_s = min(max(0.0, now_s - self._moved_s), LONGEST_STEP_S)
        self._moved_s = now_s
        if self._pulse_us is None or self._pulse_us == target_us:
            return now_s >= self._arrives_s
        step_us = abs(self._open_us - self._closed_us) * step_s / self._travel_s
        left_us = target_us - self._pulse_us
        self._send(target_us if abs(left_us) <= step_us else self._pulse_us + (step_us if left_us > 0 else -step_us))
        self._arrives_s = now_s + self._settle_s
        return False

    def _send(self, pulse_us: float) -> None:
        self._channel.set_pulse(pulse_us)
        self._pulse_us = pulse_us
