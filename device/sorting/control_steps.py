"""The basic steps of the sorter: wait for the next tick or frame, close gates, rest during a fault. `sorter.py` explains what a step is."""

import contextlib
from collections.abc import Callable, Generator
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from device.cameras import FIRST_FRAME_S, Frame
from device.gates import GateError
from device.gates.gates import Gates
from device.sorting.faults import SortingFault


class SortingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long each step of an item's journey may take, and how many frames an item is judged by."""

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
    """What one call of the control loop brings: monotonic seconds; the newest frame, None where it was already given; why there is none, if known.

    exposed: the newest frame where it is not at the usual exposure. It is never in `frame`: the tray is compared at one exposure.
    """

    now_s: float
    frame: Frame | None
    no_frame_because: str = ""
    exposed: Frame | None = None


class ControlSteps:
    """Waits for the next tick, frame or gate, and watches the camera, the gates and the ledger meanwhile.

    check_events: raises SortingFault when the ledger refused an event.
    """

    def __init__(self, settings: SortingSettings, gates: Gates, check_events: Callable[[], None]) -> None:
        self._settings, self._gates, self._check_events = settings, gates, check_events
        self._last_frame_s: float | None = None
        self._had_a_frame = False
        self._pause_until_s = float("-inf")

    def next(self) -> Generator[None, Tick, Tick]:
        """Wait for the next tick, and move the gates on.

        Raises SortingFault when the camera has been silent too long or the ledger refused an event, and GateError.
        """
        tick = yield
        self._gates.update(tick.now_s)
        self._check_camera(tick)
        self._check_events()
        return tick

    def next_frame(self) -> Generator[None, Tick, tuple[float, Frame]]:
        """Wait for a new frame. Returns its tick's time and the frame. Raises as `next` does."""
        while True:
            tick = yield from self.next()
            if tick.frame is not None:
                return tick.now_s, tick.frame

    def restart_camera_timeout(self) -> None:
        """Count the camera's silence from the next tick on."""
        self._last_frame_s = None

    def close(self, name: str, must_reopen: Callable[[Tick], bool]) -> Generator[None, Tick, bool]:
        """Close the gate of a bin. Returns False when `must_reopen` said so before it was closed: then it opens again.

        Raises SortingFault when closing takes too long.
        """
        tick = yield from self.next()
        self._gates.close(name, tick.now_s)
        began_s = tick.now_s
        while not self._gates.all_closed:
            tick = yield from self.next()
            if must_reopen(tick):
                self._gates.open(name, tick.now_s)
                return False
            self._check_closing_time(tick, began_s, self._settings.gate_s)
        return True

    def keep_open(self, now_s: float) -> None:
        """Restart the longest hold of every open gate, so that none closes by itself now."""
        self._gates.keep_open(now_s)

    def close_all(self) -> Generator[None, Tick, None]:
        """Close every gate, wherever it stands. Raises SortingFault when that takes too long."""
        tick = yield from self.next()
        self._gates.close_all(tick.now_s)
        began_s = tick.now_s
        while not self._gates.all_closed:
            tick = yield from self.next()
            self._check_closing_time(tick, began_s, self._settings.gate_s * len(self._gates.bins))

    def rest(self) -> Generator[None, Tick, Tick]:
        """Wait for the next tick during a fault: gates still move, and their errors are not raised again."""
        tick = yield
        with contextlib.suppress(GateError):
            self._gates.update(tick.now_s)
        return tick

    def pause(self, seconds: float) -> Generator[None, Tick, Tick]:
        """Rest for so long."""
        tick = yield from self.rest()
        self._pause_until_s = tick.now_s + seconds
        while tick.now_s < self._pause_until_s:
            tick = yield from self.rest()
        return tick

    def end_pause(self) -> None:
        """End a pause that lasts now, if any."""
        self._pause_until_s = float("-inf")

    def close_all_during_fault(self) -> Generator[None, Tick, None]:
        """Ask every gate to close, and rest until all have closed or their time is over."""
        tick = yield from self.rest()
        with contextlib.suppress(GateError):
            self._gates.close_all(tick.now_s)
        until_s = tick.now_s + self._settings.gate_s * len(self._gates.bins)
        while not self._gates.all_closed and tick.now_s < until_s:
            tick = yield from self.rest()

    @property
    def gate_errors(self) -> str:
        """The errors of the gates that failed at their last move, on one line; empty while all work."""
        return "; ".join(dict.fromkeys(map(str, self._gates.faults.values())))

    def _check_camera(self, tick: Tick) -> None:
        came = tick.frame is not None or tick.exposed is not None
        self._had_a_frame = self._had_a_frame or came
        timeout_s = self._settings.stale_s if self._had_a_frame or tick.no_frame_because else max(self._settings.stale_s, FIRST_FRAME_S)
        if came or self._last_frame_s is None:
            self._last_frame_s = tick.now_s
        elif tick.now_s - self._last_frame_s > timeout_s:
            raise SortingFault("camera", tick.no_frame_because or f"no frame for {timeout_s:g} s: is the camera plugged in?")

    def _check_closing_time(self, tick: Tick, began_s: float, most_s: float) -> None:
        if tick.now_s > began_s + most_s:
            raise SortingFault("gate", f"did not close within {most_s:g} s: the gate of {' and of '.join(self._gates.not_closed)}")
