"""A flap on a hobby servo. The kernel makes the pulses: those made by a program jitter, and a servo follows every jitter."""

from pathlib import Path

from device.gates import GateError, Position
from device.gates.pwm import PWM_CLASS, PwmChannel
from device.gates.settings import LONGEST_US, SHORTEST_US, ServoSettings

LONGEST_STEP_S = 0.1


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
