"""A gate on a hobby servo. The kernel makes the pulses: those made by a program jitter, and a servo follows every jitter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from msgspec import Meta, field, structs

from device.gates import GateError, Position
from device.gates.pwm import PWM_CLASS, PwmChannel, PwmWiring
from device.gates.settings import BinName, GateBase, require_bin_or_bins, require_places_apart

LONGEST_STEP_S = 0.1
SHORTEST_US, LONGEST_US = 400.0, 2700.0
Pulse = Annotated[float, Meta(ge=SHORTEST_US, le=LONGEST_US)]


class ServoSettings(GateBase, frozen=True, kw_only=True, tag="servo"):
    """A hobby servo on a hardware PWM channel of the kernel, /sys/class/pwm. A PCA9685 board appears there too, with its overlay."""

    bin: BinName | None = None
    """the bin that it opens; a servo that serves several has `bins` instead"""
    chip: Annotated[int, Meta(ge=0)] | str = ""
    """name of the device behind the chip, as "1-0040" for a PCA9685, or N for pwmchipN, which kernels renumber; empty: that of a Pi's header"""
    channel: Annotated[int, Meta(ge=0, le=15)]
    """channel of that chip"""
    closed_us: Pulse
    """length of the pulse that closes the gate, microseconds; find it with `sortbin gate BIN --pulse`"""
    open_us: Pulse | None = None
    """length of the pulse that opens it over `bin`; may be the shorter one"""
    bins: dict[BinName, Pulse] = field(default_factory=dict)
    """the pulse for each bin of a tilting flap or turntable, instead of `bin` and `open_us`"""
    period_us: Annotated[float, Meta(ge=3000, le=25000)] = 20000
    """from pulse to pulse; 20 ms suits every servo"""
    travel_s: Annotated[float, Meta(ge=0.1, le=10)] = 0.6
    """time from closed to open, of the farthest bin where there are several; the pulse moves evenly, so this sets the speed"""
    settle_s: Annotated[float, Meta(ge=0, le=2)] = 0.15
    """time that the servo lags behind its pulse"""
    detach_s: Annotated[float, Meta(ge=0, le=60)] = 0.5
    """how long pulses go on after the gate has closed; then they stop, and with them jitter, hum and heat"""

    def __post_init__(self) -> None:
        require_bin_or_bins(self.bin, self.bins)
        if self.bins and self.open_us is not None:
            raise ValueError("open_us: expected the pulse of each bin in bins, and no open_us")
        if not self.bins and self.open_us is None:
            raise ValueError("Object missing required field `open_us`")
        if self.closed_us == self.open_us:
            raise ValueError(f"Expected closed_us and open_us to differ, found {self.open_us:g} for both")
        require_places_apart(self.closed_us, self.pulses_us)

    @property
    def pulses_us(self) -> Mapping[str, float]:
        """The pulse that opens it over each bin, microseconds."""
        return self.bins if self.bin is None or self.open_us is None else {self.bin: self.open_us}

    @property
    def serves(self) -> tuple[str, ...]:
        return tuple(self.pulses_us)

    @property
    def way_s(self) -> float:
        return self.travel_s + self.settle_s

    @property
    def output(self) -> str:
        return f"channel {self.channel} of PWM chip {self.chip if self.chip != '' else 'of the header'}"

    def describe(self, bin_: str) -> str:
        return f"{self.output}, {self.closed_us:g} us closed, {self.pulses_us[bin_]:g} us open"

    def warning(self) -> str:
        for name, pulse_us in self.pulses_us.items():
            for passed, passed_us in self.pulses_us.items():
                if self.closed_us < passed_us < pulse_us or pulse_us < passed_us < self.closed_us:
                    return f"on its way to {name} it passes {passed}, where an item may fall too early; expected closed_us between the two pulses"
        return ""

    def claim(self) -> "ServoGate":
        return ServoGate(self)

    def slowed(self, travel_s: float) -> Self:
        return structs.replace(self, travel_s=max(self.travel_s, travel_s))

    def at_pulse(self, bin_: str, pulse_us: float) -> Self:
        closed_us = self.closed_us if self.closed_us != pulse_us else self.pulses_us[bin_]
        return structs.replace(self, bin=bin_, bins={}, closed_us=closed_us, open_us=pulse_us)


class ServoGate:
    """Moves the pulse evenly from end to end in `travel_s`, so that the servo neither jumps nor draws its stall current.

    A servo does not report its position: it counts as arrived `settle_s` after its pulse. The kernel remembers the last pulse of the run before,
    from which the first move starts; if it does not, the first move goes at the servo's own speed. Pulses go on while the gate is open, which
    holds it against the item's weight, and stop `detach_s` after it has closed.
    """

    def __init__(self, settings: ServoSettings, *, root: Path = PWM_CLASS) -> None:
        self.bins = settings.serves
        self._open_us, self._closed_us = settings.pulses_us, settings.closed_us
        self._settle_s, self._detach_s = settings.settle_s, settings.detach_s
        ends_us = (self._closed_us, *self._open_us.values())
        self._us_per_s = max(abs(pulse_us - self._closed_us) for pulse_us in ends_us) / settings.travel_s
        self._whole_way_s = (max(ends_us) - min(ends_us)) / self._us_per_s
        self._position = Position.UNKNOWN
        self._target_us = self._closed_us
        self._on = False
        self._moved_s = self._arrives_s = 0.0
        self._channel = PwmChannel(f"gate {settings.name}", PwmWiring(settings.chip, settings.channel, settings.period_us), root=root)
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

    def open(self, bin_: str, now_s: float) -> None:
        if self._position not in (Position.OPEN, Position.OPENING) or self._target_us != self._open_us[bin_]:
            self._start(Position.OPENING, self._open_us[bin_], now_s)

    def close(self, now_s: float) -> None:
        if self._position not in (Position.CLOSED, Position.CLOSING):
            self._start(Position.CLOSING, self._closed_us, now_s)

    def update(self, now_s: float) -> None:
        try:
            match self._position:
                case Position.OPENING if self._arrived(now_s):
                    self._position = Position.OPEN
                case Position.CLOSING if self._arrived(now_s):
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
        self._position, self._target_us = position, target_us
        self._moved_s = now_s
        # With the pulse at its end already, the servo may still be anywhere: it gets the time for the whole way.
        self._arrives_s = now_s + self._settle_s + (self._whole_way_s if start_us == target_us else 0.0)

    def _arrived(self, now_s: float) -> bool:
        """Move the pulse on. After a pause of the control loop it goes on from where it was instead of making up for the time in a jump."""
        step_s = min(max(0.0, now_s - self._moved_s), LONGEST_STEP_S)
        self._moved_s = now_s
        if self._pulse_us is None or self._pulse_us == self._target_us:
            return now_s >= self._arrives_s
        step_us = self._us_per_s * step_s
        left_us = self._target_us - self._pulse_us
        self._send(self._target_us if abs(left_us) <= step_us else self._pulse_us + (step_us if left_us > 0 else -step_us))
        self._arrives_s = now_s + self._settle_s
        return False

    def _send(self, pulse_us: float) -> None:
        self._channel.set_pulse(pulse_us)
        self._pulse_us = pulse_us
