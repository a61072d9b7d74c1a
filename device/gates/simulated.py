"""A gate that exists in the program alone. It takes its time, jams and breaks, so that a virtual bin can go wrong as a real one does."""

import math
import threading
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, field

from device.gates import GateError, Position
from device.gates.settings import BinName, GateBase, require_bin_or_bins, require_places_apart

STEP_S = 0.002
TOLERANCE = 0.002
"""distance from the target, and speed, at which the gate has arrived"""


class SimulatedSettings(GateBase, frozen=True, kw_only=True, tag="simulated"):
    """A gate without hardware, for a virtual bin or a trial."""

    bin: BinName | None = None
    """the bin that it opens; a gate that serves several has `bins` instead"""
    bins: dict[BinName, Annotated[float, Meta(ge=-1, le=1)]] = field(default_factory=dict)
    """the place of each bin of a tilting flap or turntable, instead of `bin`: 0 is closed, -1 and 1 are the ends of its way"""
    travel_s: Annotated[float, Meta(ge=0.02, le=10)] = 0.45
    """time from closed to an end"""

    def __post_init__(self) -> None:
        require_bin_or_bins(self.bin, self.bins)
        require_places_apart(0.0, self.bins)

    @property
    def places(self) -> Mapping[str, float]:
        """The place of each bin, -1..1."""
        return self.bins if self.bin is None else {self.bin: 1.0}

    @property
    def serves(self) -> tuple[str, ...]:
        return tuple(self.places)

    @property
    def way_s(self) -> float:
        return self.travel_s

    @property
    def output(self) -> str:
        return ""

    def claim(self) -> "SimulatedGate":
        return SimulatedGate(self)


class SimulatedGate:
    """A flap with bounded acceleration: from rest to rest between 0 (closed) and 1 in `travel_s`, half of it speeding up, half braking.

    It has feedback: OPEN and CLOSED are where it is, not where it should be, and a move that takes more than twice `travel_s` plus half a
    second raises GateError. `jam`, `seize`, `break_wire` and `mend` inject faults, for tests. Any thread may call any method.
    """

    def __init__(self, settings: SimulatedSettings) -> None:
        self.bins = settings.serves
        self._name = f"gate {settings.name}"
        self._bin_at = settings.places
        self._acceleration = 4.0 / settings.travel_s**2
        self._deadline_after_s = 2 * settings.travel_s + 0.5
        self._position = Position.UNKNOWN
        self._target = self._place = self._speed = 0.0
        self._simulated_until_s: float | None = None
        self._began_s = 0.0
        self._lowest, self._highest = -1.0, 1.0
        self._broken = False
        self._lock = threading.Lock()

    @property
    def position(self) -> Position:
        return self._position

    @property
    def output(self) -> str:
        return ""

    def open(self, bin_: str, now_s: float) -> None:
        if self._position not in (Position.OPEN, Position.OPENING) or self._target != self._bin_at[bin_]:
            self._start(Position.OPENING, self._bin_at[bin_], now_s)

    def close(self, now_s: float) -> None:
        if self._position not in (Position.CLOSED, Position.CLOSING):
            self._start(Position.CLOSING, 0.0, now_s)

    def update(self, now_s: float) -> None:
        with self._lock:
            self._simulate(now_s)
            if self._position not in (Position.OPENING, Position.CLOSING):
                return
            self._refuse_if_broken()
            if abs(self._place - self._target) <= TOLERANCE and abs(self._speed) <= TOLERANCE:
                self._position = Position.OPEN if self._target else Position.CLOSED
            elif now_s - self._began_s > self._deadline_after_s:
                self._position = Position.UNKNOWN
                way = "open" if self._target else "close"
                opening = max(self._openings().values())
                raise GateError(f"{self._name}: did not {way} within {self._deadline_after_s:.1f} s, it stands {opening:.0%} open")

    def release(self) -> None:
        with self._lock:
            self._position = Position.UNKNOWN
            self._target, self._speed = self._place, 0.0

    def opening(self, now_s: float) -> float:
        """How far it is open, 0..1, over the bin where it is open farthest."""
        return max(self.openings(now_s).values())

    def openings(self, now_s: float) -> Mapping[str, float]:
        """How far it is open over each of its bins: 0 closed or at another bin, 1 at the bin's place."""
        with self._lock:
            self._simulate(now_s)
            return self._openings()

    def jam(self, at: float) -> None:
        """Put something in its way: it cannot pass the place `at`, -1..1, from the side where it now is."""
        with self._lock:
            if self._place <= at:
                self._highest = at
            else:
                self._lowest = at

    def seize(self) -> None:
        """Make it stick where it is."""
        with self._lock:
            self._lowest = self._highest = self._place

    def break_wire(self) -> None:
        """Make its drive answer no more; it stays where it is."""
        with self._lock:
            self._broken = True

    def mend(self) -> None:
        """End every injected fault."""
        with self._lock:
            self._lowest, self._highest, self._broken = -1.0, 1.0, False

    def _openings(self) -> dict[str, float]:
        shares = {name: self._place / at for name, at in self._bin_at.items()}
        return {name: max(0.0, min(share, 2 - share)) for name, share in shares.items()}

    def _start(self, position: Position, target: float, now_s: float) -> None:
        with self._lock:
            self._simulate(now_s)
            self._position = Position.UNKNOWN
            self._refuse_if_broken()
            self._position, self._target, self._began_s = position, target, now_s

    def _refuse_if_broken(self) -> None:
        if self._broken:
            self._position = Position.UNKNOWN
            raise GateError(f"{self._name}: its drive does not answer")

    def _simulate(self, now_s: float) -> None:
        """Simulate up to `now_s` in small steps, however often it is called."""
        since_s = now_s if self._simulated_until_s is None else self._simulated_until_s
        steps = math.floor((now_s - since_s) / STEP_S + 1e-6)
        for _ in range(steps):
            if self._at_rest():
                break
            self._step()
        self._simulated_until_s = max(since_s, since_s + steps * STEP_S)

    def _at_rest(self) -> bool:
        return self._broken or (self._speed == 0.0 and self._place == self._target)

    def _step(self) -> None:
        """Speed up towards the target for as long as there is room to brake (the time-optimal drive of a double integrator)."""
        left = self._target - self._place
        fastest = math.copysign(math.sqrt(2 * self._acceleration * abs(left)), left)
        change = self._acceleration * STEP_S
        self._speed = min(max(fastest, self._speed - change), self._speed + change)
        after = self._place + self._speed * STEP_S
        if abs(self._target - after) <= TOLERANCE and abs(self._speed) <= 2 * math.sqrt(2 * self._acceleration * TOLERANCE):
            after, self._speed = self._target, 0.0
        self._place = min(max(after, self._lowest), self._highest)
        if self._place != after:
            self._speed = 0.0
