"""The virtual bin: items appear on the tray, lie still, and fall when a gate below them opens far enough."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from device.cameras import EndOfFrames, Frame
from device.gates.simulated import SimulatedGate
from device.simulation.items import VirtualItem
from device.simulation.tray_renderer import Pose, TrayRenderer
from device.vision.inference.preprocess import Pixels

WIDE_ENOUGH = 0.6
"""how far a gate has to be open for an item to slip, 0..1"""
FALL_S = 0.35
ARRIVE_S = 0.25
HAND_S = 3.0


@dataclass(frozen=True)
class Landed:
    """An item that has fallen into a bin."""

    thing: VirtualItem
    bin: str


class VirtualBin:
    """Physics of one bin under a clock that its user reads: `picture(now_s)` shows the tray at that time.

    Items come from `things`, each `gap_s` after the tray became empty and every gate closed, the first `first_after_s` after `may_begin` said so;
    a thing that `sticks` does not fall. A thing for which a `hand_comes` is taken out HAND_S after it came.
    """

    def __init__(
        self,
        gates: Iterable[SimulatedGate],
        things: Iterable[VirtualItem],
        *,
        seed: int = 0,
        gap_s: float = 0.5,
        first_after_s: float = 1.5,
        may_begin: Callable[[], bool] = lambda: True,
        landed: Callable[[Landed], None] = lambda _: None,
        sticks: Callable[[VirtualItem], bool] = lambda _: False,
        hand_comes: Callable[[], bool] = lambda: False,
    ) -> None:
        self._gates, self._things, self._landed = tuple(gates), iter(things), landed
        self._rng = np.random.default_rng(seed)
        self._sticks, self._hand_comes = sticks, hand_comes
        self._tray = TrayRenderer(self._rng)
        self._gap_s, self._first_after_s, self._may_begin = gap_s, first_after_s, may_begin
        self._next_at_s: float | None = None
        self._thing: VirtualItem | None = None
        self._rest = Pose(0.5, 0.5, 0.0)
        self._arrived_s = self._fell_s = 0.0
        self._into: str | None = None
        self._drift = 0.0
        self._lock = threading.Lock()
        self._last_gone_s: float | None = None

    @property
    def lying(self) -> VirtualItem | None:
        """The item on the tray or on its way through, None when there is none."""
        return self._thing

    def over(self, now_s: float) -> bool:
        """Whether the last item has been gone for a second."""
        return self._last_gone_s is not None and now_s - self._last_gone_s > 1.0

    def take_away(self) -> None:
        """A hand takes the item off the tray."""
        with self._lock:
            self._thing, self._next_at_s = None, None

    def picture(self, now_s: float) -> Pixels:
        """The camera's view at `now_s`, H x W x 3 uint8 RGB. Time must not go back."""
        with self._lock:
            self._live(now_s)
            self._drift = 0.995 * self._drift + float(self._rng.normal(0, 0.003))
            exposure = 1 + 0.03 * np.sin(now_s / 7.0) + self._drift
            if self._thing is None:
                return self._tray.picture(None, 0.0, exposure)
            came = min(1.0, (now_s - self._arrived_s) / ARRIVE_S)
            fallen = 0.0 if self._into is None else min(1.0, (now_s - self._fell_s) / FALL_S)
            rest = self._rest
            pose = rest if came >= 1 else Pose(rest.x, rest.y - 0.5 * (1 - came) ** 2, rest.angle_deg + 25 * (1 - came))
            return self._tray.picture(pose, fallen, exposure)

    def _live(self, now_s: float) -> None:
        if self._thing is None:
            self._maybe_arrive(now_s)
        elif self._into is None:
            self._maybe_slip(now_s)
        elif now_s - self._fell_s >= FALL_S:
            thing, self._thing = self._thing, None
            self._next_at_s = None
            self._landed(Landed(thing, self._into))

    def _maybe_arrive(self, now_s: float) -> None:
        if any(gate.opening(now_s) > 0 for gate in self._gates) or not self._may_begin():
            return
        if self._next_at_s is None:
            self._next_at_s = now_s + self._first_after_s
            self._first_after_s = self._gap_s
        if now_s < self._next_at_s:
            return
        thing = next(self._things, None)
        if thing is None:
            self._last_gone_s = now_s if self._last_gone_s is None else self._last_gone_s
            return
        self._tray.lay(thing)
        self._thing, self._into, self._arrived_s = thing, None, now_s
        jitter = self._rng.uniform(-0.07, 0.07, 2) if thing.size_cm else np.zeros(2)
        angle_deg = float(self._rng.uniform(-35, 35)) if thing.size_cm else 0.0
        self._rest = Pose(0.5 + float(jitter[0]), 0.5 + float(jitter[1]), angle_deg)

    def _maybe_slip(self, now_s: float) -> None:
        if self._hand_comes() and now_s - self._arrived_s > HAND_S:
            self._thing, self._next_at_s = None, None
        if self._thing is None or self._sticks(self._thing):
            return
        for gate in self._gates:
            for name, opening in gate.openings(now_s).items():
                if opening >= WIDE_ENOUGH:
                    self._into, self._fell_s = name, now_s
                    return


class VirtualCamera:
    """A camera over a virtual bin, `fps` frames a second of a real clock. Raises EndOfFrames a second after the last item has gone."""

    def __init__(self, bin_: VirtualBin, clock: Callable[[], float], fps: float = 20.0) -> None:
        self._bin, self._clock, self._period_s = bin_, clock, 1.0 / fps
        self._number = self.damaged = 0
        self._due_s = clock()
        self._closed = threading.Event()

    def read(self, wait_s: float) -> Frame:
        """The next frame, after at most one period."""
        self._closed.wait(min(wait_s, max(0.0, self._due_s - self._clock())))
        now_s = self._clock()
        if self._bin.over(now_s):
            raise EndOfFrames
        self._due_s = max(self._due_s + self._period_s, now_s)
        self._number += 1
        return Frame(self._bin.picture(now_s), self._number, now_s)

    def close(self) -> None:
        self._closed.set()
