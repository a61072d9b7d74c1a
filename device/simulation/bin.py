"""The virtual bin: items appear on the tray, lie still, and fall when a gate below them opens far enough."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from device.cameras import EndOfFrames, Frame
from device.gates.simulated import SimulatedGate
from device.simulation.items import VirtualItem
from device.simulation.tray_renderer import Pose, TrayRenderer
from device.vision.inference.preprocess import Pixels

SLIP_OPENING = 0.6
"""how far a gate has to be open for an item to slip, 0..1"""
FALL_S = 0.35
ARRIVE_S = 0.25
EXPOSURE_RANGE = (1 / 32, 32.0)
"""multiples of its usual exposure that the virtual camera can be asked for"""
CONTROL_DELAY = 3
"""frames that still come at the old exposure after another one was asked for"""
HAND_S = 3.0
"""a hand takes an item out so long after it came"""


@dataclass(frozen=True)
class FallenItem:
    """An item that has fallen into a bin."""

    item: VirtualItem
    bin: str
    at_s: float = field(default=0.0, compare=False)
    """when, monotonic seconds"""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What happens at a virtual bin, and when."""

    seed: int = 0
    """seed of the light, the noise and where items lie"""
    first_after_s: float = 1.5
    """from `may_begin` to the first item"""
    gap_s: float = 0.5
    """from an empty tray and closed gates to the next item"""
    may_begin: Callable[[], bool] = lambda: True
    """whether items may come"""
    sticks: Callable[[VirtualItem], bool] = lambda _: False
    """whether an item never falls"""
    hand_comes: Callable[[], bool] = lambda: False
    """whether a hand takes out what lies there"""
    back_lit: float = 1.0
    """how many times as much light comes from behind an item as falls on its front, see TrayRenderer"""
    on_fallen: Callable[[FallenItem], None] = lambda _: None
    """called when an item has fallen into a bin"""


class VirtualBin:
    """Physics of one bin under a clock that its user reads: `picture(now_s)` shows the tray at that time. Any thread may call any method."""

    def __init__(self, gates: Iterable[SimulatedGate], items: Iterable[VirtualItem], scenario: Scenario = Scenario()) -> None:
        self._gates, self._items, self._scenario = tuple(gates), iter(items), scenario
        self._rng = np.random.default_rng(scenario.seed)
        self._tray = TrayRenderer(self._rng, scenario.back_lit)
        self._pause_s = scenario.first_after_s
        self._next_at_s: float | None = None
        self._item: VirtualItem | None = None
        self._rest = Pose(0.5, 0.5, 0.0)
        self._arrived_s = self._fell_s = 0.0
        self._falls_into: str | None = None
        self._exposure_drift = 0.0
        self._lock = threading.Lock()
        self._empty_since_s: float | None = None
        """since when there are no more items"""

    def is_over(self, now_s: float) -> bool:
        """Whether the last item has been gone for a second."""
        return self._empty_since_s is not None and now_s - self._empty_since_s > 1.0

    def take_away(self) -> None:
        """Take the item off the tray at once, as a hand does. Tests call it."""
        with self._lock:
            self._remove_item()

    def picture(self, now_s: float, exposure: float = 1.0) -> Pixels:
        """The camera's view at `now_s`, H x W x 3 uint8 RGB. Time must not go back. exposure: of the camera, as a multiple of its usual one."""
        with self._lock:
            self._simulate(now_s)
            self._exposure_drift = 0.995 * self._exposure_drift + float(self._rng.normal(0, 0.003))
            exposure *= 1 + 0.03 * np.sin(now_s / 7.0) + self._exposure_drift
            if self._item is None:
                return self._tray.picture(None, 0.0, exposure)
            arrived = min(1.0, (now_s - self._arrived_s) / ARRIVE_S)
            fallen = 0.0 if self._falls_into is None else min(1.0, (now_s - self._fell_s) / FALL_S)
            rest = self._rest
            pose = rest if arrived >= 1 else Pose(rest.x, rest.y - 0.5 * (1 - arrived) ** 2, rest.angle_deg + 25 * (1 - arrived))
            return self._tray.picture(pose, fallen, exposure)

    def _simulate(self, now_s: float) -> None:
        if self._item is None:
            self._maybe_arrive(now_s)
        elif self._falls_into is None:
            self._maybe_slip(self._item, now_s)
        elif now_s - self._fell_s >= FALL_S:
            fallen = FallenItem(self._item, self._falls_into, now_s)
            self._remove_item()
            self._scenario.on_fallen(fallen)

    def _remove_item(self) -> None:
        self._item, self._next_at_s = None, None

    def _maybe_arrive(self, now_s: float) -> None:
        if any(gate.opening(now_s) > 0 for gate in self._gates) or not self._scenario.may_begin():
            return
        if self._next_at_s is None:
            self._next_at_s = now_s + self._pause_s
            self._pause_s = self._scenario.gap_s
        if now_s < self._next_at_s:
            return
        item = next(self._items, None)
        if item is None:
            self._empty_since_s = now_s if self._empty_since_s is None else self._empty_since_s
            return
        self._tray.lay(item)
        self._item, self._falls_into, self._arrived_s = item, None, now_s
        jitter = self._rng.uniform(-0.07, 0.07, 2) if item.size_cm else np.zeros(2)
        angle_deg = float(self._rng.uniform(-35, 35)) if item.size_cm else 0.0
        self._rest = Pose(0.5 + float(jitter[0]), 0.5 + float(jitter[1]), angle_deg)

    def _maybe_slip(self, item: VirtualItem, now_s: float) -> None:
        if self._scenario.hand_comes() and now_s - self._arrived_s > HAND_S:
            self._remove_item()
            return
        if self._scenario.sticks(item):
            return
        for gate in self._gates:
            for name, opening in gate.openings(now_s).items():
                if opening >= SLIP_OPENING:
                    self._falls_into, self._fell_s = name, now_s
                    return


class DelayedExposure:
    """The exposure of a virtual camera's frames: what was asked for holds from the frame CONTROL_DELAY later on, as with a real sensor."""

    def __init__(self) -> None:
        self.range: tuple[float, float] | None = EXPOSURE_RANGE
        self._coming = deque([1.0] * (CONTROL_DELAY + 1), maxlen=CONTROL_DELAY + 1)
        self._asked, self._frames = 1.0, 0

    def ask(self, exposure: float, frames: int = 0) -> float:
        """Ask for a multiple of the usual exposure, 1.0, and return what the camera is asked for. frames: so many, 0: until asked again."""
        least, most = self.range or (1.0, 1.0)
        self._frames = frames
        self._asked = min(max(exposure, least), most)
        return self._asked

    def next_frame(self) -> float:
        """The exposure of the next frame."""
        self._coming.append(self._asked)
        self._frames -= 1
        if self._frames == 0:
            self._asked = 1.0
        return self._coming[0]


class VirtualCamera:
    """A camera over a virtual bin, `fps` frames a second of a real clock. Raises EndOfFrames a second after the last item has gone."""

    tells_exposure = True

    def __init__(self, bin_: VirtualBin, clock: Callable[[], float], fps: float = 20.0) -> None:
        self._bin, self._clock, self._period_s = bin_, clock, 1.0 / fps
        self._number = self.damaged = 0
        self._due_s = clock()
        self._closed = threading.Event()
        self._exposure = DelayedExposure()
        self.exposure_range = self._exposure.range

    def set_exposure(self, exposure: float) -> None:
        """See AdjustableSource."""
        self._exposure.ask(exposure)

    def read(self, wait_s: float) -> Frame:
        """The next frame, after at most one period. Raises EndOfFrames a second after the last item."""
        self._closed.wait(min(wait_s, max(0.0, self._due_s - self._clock())))
        now_s = self._clock()
        if self._bin.is_over(now_s):
            raise EndOfFrames
        self._due_s = max(self._due_s + self._period_s, now_s)
        self._number += 1
        exposure = self._exposure.next_frame()
        return Frame(self._bin.picture(now_s, exposure), self._number, now_s, exposure)

    def close(self) -> None:
        self._closed.set()
