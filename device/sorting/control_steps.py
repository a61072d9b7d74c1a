"""The steps that the sorter's story is made of: a call of the control loop each, with a frame or gates that move, and faults that end it."""

import contextlib
from collections.abc import Callable, Generator
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from device.cameras import FIRST_FRAME_S, Frame
from device.gates import GateError
from device.gates.gates import Gates
from device.sorting.faults import Failure


class SortingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long each step of an item's life may take, and how many looks it gets."""

    burst: Annotated[int, Meta(ge=1, le=50)] = 5
    """most frames an item is judged by"""
    decided_above: Annotated[float, Meta(gt=0, le=1)] = 0.97
    """probability of the best bin at which the burst ends early"""
    drop_s: Annotated[float, Meta(ge=0.5, le=10)] = 4.0
    """time from the gate's opening until the tray has to be empty; then the gate closes and tries again"""
    tries: Annotated[int, Meta(ge=1, le=5)] = 2
    """openings before an item counts as jammed"""
    gate_s: Annotated[float, Meta(ge=0.2, le=30)] = 3.0
    """most time a gate may take to open or to close"""
    commit_s: Annotated[float, Meta(ge=0.5, le=30)] = 5.0
    """most time the ledger may take to store an intent"""
    stale_s: Annotated[float, Meta(ge=0.5, le=60)] = 3.0
    """age of the newest frame at which the camera counts as lost"""
    retry_s: Annotated[float, Meta(ge=1, le=600)] = 10.0
    """pause between attempts to recover from a fault"""


class Tick(NamedTuple):
    """One call of the control loop: monotonic seconds, the newest frame unless it was seen before, and why there is none, where that is known."""

    now_s: float
    frame: Frame | None
    no_frame_because: str = ""


class ControlSteps:
    """Waits for the next tick, frame or gate, and watches camera, gates and ledger meanwhile.

    check_events: raises Failure when the ledger refused an event.
    """

    def __init__(self, settings: SortingSettings, gates: Gates, check_events: Callable[[], None]) -> None:
        self._settings, self._gates, self._check_events = settings, gates, check_events
        self._frame_seen_s: float | None = None
        self._saw_any = False

    def next(self) -> Generator[None, Tick, Tick]:
        """One step. Raises Failure when the camera has been silent too long or an event could not be stored, GateError from the gates."""
        tick = yield
        self._gates.update(tick.now_s)
        self._saw_any = self._saw_any or tick.frame is not None
        stale_s = self._settings.stale_s if self._saw_any or tick.no_frame_because else max(self._settings.stale_s, FIRST_FRAME_S)
        if tick.frame is not None or self._frame_seen_s is None:
            self._frame_seen_s = tick.now_s
        elif tick.now_s - self._frame_seen_s > stale_s:
            raise Failure("camera", tick.no_frame_because or f"no frame for {stale_s:g} s: is the camera plugged in?")
        self._check_events()
        return tick

    def next_frame(self) -> Generator[None, Tick, tuple[float, Frame]]:
        """ControlSteps until there is a frame that was not seen before, and the time. Raises what `next` raises."""
        while True:
            tick = yield from self.next()
            if tick.frame is not None:
                return tick.now_s, tick.frame

    def excuse_the_camera(self) -> None:
        """Count the camera's silence from the next step on."""
        self._frame_seen_s = None

    def close(self, name: str, reaches_in: Callable[[Tick], bool]) -> Generator[None, Tick, bool]:
        """Close the gate of a bin. False where something reached in before it was closed: then it opens again.

        Raises Failure when it takes too long.
        """
        tick = yield from self.next()
        self._gates.close(name, tick.now_s)
        began_s = tick.now_s
        while not self._gates.all_closed:
            tick = yield from self.next()
            if reaches_in(tick):
                self._gates.open(name, tick.now_s)
                return False
            self._refuse_to_wait(tick, began_s, self._settings.gate_s)
        return True

    def keep_open(self, now_s: float) -> None:
        """What is open stays so for now, however long it has been."""
        self._gates.keep_open(now_s)

    def close_all(self) -> Generator[None, Tick, None]:
        """Bring every gate home, wherever it stands. Raises Failure when that takes too long."""
        tick = yield from self.next()
        self._gates.close_all(tick.now_s)
        began_s = tick.now_s
        while not self._gates.all_closed:
            tick = yield from self.next()
            self._refuse_to_wait(tick, began_s, self._settings.gate_s * len(self._gates.bins))

    def _refuse_to_wait(self, tick: Tick, began_s: float, most_s: float) -> None:
        if tick.now_s > began_s + most_s:
            raise Failure("gate", f"did not close within {most_s:g} s: the gate of {' and of '.join(self._gates.not_closed)}")

    def shut(self) -> Generator[None, Tick, None]:
        """Amid a fault: ask every gate to close, and wait until all have or their time is over."""
        tick = yield from self.rest()
        with contextlib.suppress(GateError):
            self._gates.close_all(tick.now_s)
        until_s = tick.now_s + self._settings.gate_s * len(self._gates.bins)
        while not self._gates.all_closed and tick.now_s < until_s:
            tick = yield from self.rest()

    @property
    def gate_trouble(self) -> str:
        """What each gate that failed at its last move says, on one line; empty while all work."""
        return "; ".join(dict.fromkeys(map(str, self._gates.faults.values())))

    def rest(self) -> Generator[None, Tick, Tick]:
        """One step amid a fault: gates are still carried on, and one that fails again says nothing new."""
        tick = yield
        with contextlib.suppress(GateError):
            self._gates.update(tick.now_s)
        return tick

    def pause(self, seconds: float) -> Generator[None, Tick, Tick]:
        """Rest for so long."""
        tick = yield from self.rest()
        until_s = tick.now_s + seconds
        while tick.now_s < until_s:
            tick = yield from self.rest()
        return tick
