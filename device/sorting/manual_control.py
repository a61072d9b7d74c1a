"""What a person asks of the sorter from afar: pause, learn the empty tray anew, try a gate. Done between two items, never amid one.

`wait_...`, `serve` and `stay_paused` are steps of the sorter (see `sorter.py`).
"""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future

from device.gates import GateError, Position
from device.gates.gates import Gates
from device.ledger.schema import LedgerError
from device.sorting.control_steps import ControlSteps, SortingSettings, Tick
from device.sorting.faults import SortingFault
from device.sorting.tray_monitor import TrayMonitor

Step = Callable[[], Generator[None, Tick, None]]

SHOWN_OPEN_S = 0.5
"""how long a gate that is tried stays open"""
MOST_TRIES = 3
"""how often a gate that is tried reopens for something that reaches in, before that is a fault"""


class NotDone(Exception):
    """What was asked of the sorter could not be done. The message is one line and says why."""


class ManualControl:
    """Requests to the sorter, carried out in order. The futures that it gives carry NotDone, or the fault that came of it."""

    def __init__(self, steps: ControlSteps, tray: TrayMonitor, gates: Gates, settings: SortingSettings) -> None:
        self._steps, self._tray, self._gates, self._settings = steps, tray, gates, settings
        self._waiting: deque[tuple[Step, Future[None]]] = deque()
        self.paused = False
        """whether nothing is judged or moved until somebody says so"""

    @property
    def wanted(self) -> bool:
        """Whether a pause or a request waits for the sorter to be between two items."""
        return self.paused or bool(self._waiting)

    def relearn(self) -> "Future[None]":
        """Take the tray as it is for the empty one, as soon as it is still and nothing reaches in."""
        return self._ask(self._relearn)

    def test_gate(self, name: str) -> "Future[None]":
        """Open and close the gate over a bin once, if the tray is empty."""
        return self._ask(lambda: self._test_gate(name))

    def serve(self) -> Generator[None, Tick, None]:
        """Carry out the requests that wait. A request whose future was cancelled is dropped. Raises what a request raises."""
        while self._waiting:
            step, done = self._waiting.popleft()
            if not done.set_running_or_notify_cancel():
                continue
            try:
                yield from step()
            except NotDone as error:
                done.set_exception(error)
            except (SortingFault, GateError, LedgerError) as error:
                done.set_exception(NotDone(str(error)))
                raise
            except GeneratorExit:
                done.set_exception(NotDone("the bin stops"))
                raise
            else:
                done.set_result(None)

    def stay_paused(self) -> Generator[None, Tick, None]:
        """Watch the tray, and let the reference follow it while it is empty, until the pause ends or a request waits."""
        while self.paused and not self._waiting:
            if (yield from self._tray.wait_until_occupied(lambda: not self.paused or bool(self._waiting))) is not None:
                yield from self._tray.next_observation()

    def _ask(self, step: Step) -> "Future[None]":
        done: Future[None] = Future()
        self._waiting.append((step, done))
        return done

    def _relearn(self) -> Generator[None, Tick, None]:
        if not (yield from self._tray.relearn()):
            raise NotDone("the view was not still, or too dark or too bright, or something reached in")

    def _test_gate(self, name: str) -> Generator[None, Tick, None]:
        now_s, _, occupancy = yield from self._tray.next_observation()
        if occupancy.present or occupancy.moving or self._tray.reached_into:
            raise NotDone("something lies on the tray or moves there, or reaches in: the gate stays closed")
        self._gates.open(name, now_s)
        until_s = now_s + self._settings.gate_s
        while self._gates.position(name) is not Position.OPEN:
            tick = yield from self._steps.next()
            if tick.now_s > until_s:
                raise SortingFault("gate", f"did not open within {self._settings.gate_s:g} s: the gate of {name}")
        until_s = tick_s = (yield from self._steps.next()).now_s
        while tick_s < until_s + SHOWN_OPEN_S:
            tick_s = (yield from self._steps.next()).now_s
        for _ in range(MOST_TRIES):
            yield from self._tray.wait_until_clear()
            if (yield from self._steps.close(name, must_reopen=self._tray.sees_arm)):
                return
        raise SortingFault("obstruction", f"something reaches in whenever the gate of {name} closes: is the gate itself in view?")
