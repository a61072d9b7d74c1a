"""A gate that exists in the program alone. It takes its time, jams and breaks, so that a virtual bin can go wrong as a real one does."""

import math
import threading
from typing import Annotated

from msgspec import Meta

from device.gates import GateError, Position
from device.gates.settings import GateBase

STEP_S = 0.002
THERE = 0.002


class SimulatedSettings(GateBase, frozen=True, kw_only=True, tag="simulated"):
    """A gate that exists in the program alone, for a virtual bin or a trial without hardware."""

    travel_s: Annotated[float, Meta(ge=0.02, le=10)] = 0.45
    """time for the whole way"""

    @property
    def way_s(self) -> float:
        """From the command until the flap counts as arrived, seconds."""
        return self.travel_s

    @property
    def output(self) -> str:
        return ""

    def claim(self) -> "SimulatedGate":
        return SimulatedGate(self.bin, travel_s=self.travel_s)


class SimulatedGate:
    """A flap driven with bounded acceleration: from rest to rest over the whole way in `travel_s`, half of it speeding up, half braking.

    It has feedback: OPEN and CLOSED are where it is, not where it should be, and a move that takes more than twice `travel_s` plus half a
    second raises GateError. Any thread may call any method.
    """

    def __init__(self, bin_: str, *, travel_s: float = 0.45) -> None:
        self._name = f"gate {bin_}"
        self._acceleration = 4.0 / travel_s**2
        self._deadline_after_s = 2 * travel_s + 0.5
        self._position = Position.UNKNOWN
        self._target = self._opening = self._speed = 0.0
        self._lived_until_s: float | None = None
        self._began_s = 0.0
        self._lowest, self._highest = 0.0, 1.0
        self._broken = False
        self._lock = threading.Lock()

    @property
    def position(self) -> Position:
        return self._position

    @property
    def output(self) -> str:
        return ""

    def open(self, now_s: float) -> None:
        if self._position not in (Position.OPEN, Position.OPENING):
            self._start(Position.OPENING, 1.0, now_s)

    def close(self, now_s: float) -> None:
        if self._position not in (Position.CLOSED, Position.CLOSING):
            self._start(Position.CLOSING, 0.0, now_s)

    def update(self, now_s: float) -> None:
        with self._lock:
            self._live(now_s)
            if self._position not in (Position.OPENING, Position.CLOSING):
                return
            self._refuse_if_broken()
            if abs(self._opening - self._target) <= THERE and abs(self._speed) <= THERE:
                self._position = Position.OPEN if self._target else Position.CLOSED
            elif now_s - self._began_s > self._deadline_after_s:
                self._position = Position.UNKNOWN
                way = "open" if self._target else "close"
                raise GateError(f"{self._name}: did not {way} within {self._deadline_after_s:.1f} s, it stands {self._opening:.0%} open")

    def release(self) -> None:
        with self._lock:
            self._position = Position.UNKNOWN
            self._target, self._speed = self._opening, 0.0

    def opening(self, now_s: float) -> float:
        """How far the flap is open, 0..1."""
        with self._lock:
            self._live(now_s)
            return self._opening

    def jam(self, at: float) -> None:
        """Something is in the way: the flap cannot pass the opening `at`, 0..1, from the side where it now is."""
        with self._lock:
            if self._opening <= at:
                self._highest = at
            else:
                self._lowest = at

    def seize(self) -> None:
        """The flap sticks where it is."""
        with self._lock:
            self._lowest = self._highest = self._opening

    def break_wire(self) -> None:
        """The drive answers no more, and the flap stays where it is."""
        with self._lock:
            self._broken = True

    def mend(self) -> None:
        """Nothing is in the way any more, and the drive answers."""
        with self._lock:
            self._lowest, self._highest, self._broken = 0.0, 1.0, False

    def _start(self, position: Position, target: float, now_s: float) -> None:
        with self._lock:
            self._live(now_s)
            self._position = Position.UNKNOWN
            self._refuse_if_broken()
            self._position, self._target, self._began_s = position, target, now_s

    def _refuse_if_broken(self) -> None:
        if self._broken:
            self._position = Position.UNKNOWN
            raise GateError(f"{self._name}: its drive does not answer")

    def _live(self, now_s: float) -> None:
        """Let time pass in small steps, whoever asks and however often."""
        since_s = now_s if self._lived_until_s is None else self._lived_until_s
        steps = math.floor((now_s - since_s) / STEP_S + 1e-6)
        for _ in range(steps):
            if self._at_rest():
                break
            self._step()
        self._lived_until_s = max(since_s, since_s + steps * STEP_S)

    def _at_rest(self) -> bool:
        return self._broken or (self._speed == 0.0 and self._opening == self._target)

    def _step(self) -> None:
        """Speed up towards the target for as long as there is room to brake (the time-optimal drive of a double integrator)."""
        left = self._target - self._opening
        fastest = math.copysign(math.sqrt(2 * self._acceleration * abs(left)), left)
        change = self._acceleration * STEP_S
        self._speed = min(max(fastest, self._speed - change), self._speed + change)
        after = self._opening + self._speed * STEP_S
        if abs(self._target - after) <= THERE and abs(self._speed) <= 2 * math.sqrt(2 * self._acceleration * THERE):
            after, self._speed = self._target, 0.0
        self._opening = min(max(after, self._lowest), self._highest)
        if self._opening != after:
            self._speed = 0.0
