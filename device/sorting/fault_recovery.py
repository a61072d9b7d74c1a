"""Out of faults: a camera that hangs, a gate that jams, an item that does not leave, a disk that is full. Nothing is sorted until all are mended."""

from collections.abc import Callable, Generator, Mapping

import msgspec

from device.events import Cleared, Fault
from device.gates import GateError
from device.ledger.schema import LedgerError
from device.sorting.control_steps import ControlSteps, Tick
from device.sorting.event_queue import EventQueue
from device.sorting.faults import Failure, FaultName, failure_of

LONGEST_PAUSE_S = 60.0
"""a gate that fails again and again is tried ever more seldom, down to once in so long"""

Mend = Callable[[], Generator[None, Tick, None]]


class Recovery:
    """Tries again and again until what failed works. Each fault is told when it begins and when it is over, once; `fault` names its latest cause.

    retry_s: pause between attempts. mends: steps until the camera shows what sorting needs, until another runtime does what one that failed did, and
    until what jammed, a hazard, or what reaches in has gone.
    finish_item: steps that let an item through which a fault has left on the tray, for only a gate that lets it through is mended.
    """

    def __init__(self, steps: ControlSteps, events: EventQueue, retry_s: float, mends: Mapping[FaultName, Mend], finish_item: Mend) -> None:
        self._steps, self._events, self._finish, self._retry_s = steps, events, finish_item, retry_s
        self._mends: dict[FaultName, Mend] = {
            "ledger": self._until_all_is_stored,
            **mends,
            "gate": self._until_it_has_opened_and_closed,
        }
        self._faults: dict[FaultName, Fault] = {}
        self._since_s: dict[FaultName, float] = {}

    @property
    def fault(self) -> Fault | None:
        """What keeps the bin from sorting, the latest of it first; None while nothing does."""
        latest, *others = reversed(self._faults.values()) if self._faults else (None,)
        if latest is None or not others:
            return latest
        also = "".join(f"; and {other.fault}: {other.message}" for other in others)
        return msgspec.structs.replace(latest, message=latest.message + also)

    def recover(self, failure: Failure) -> Generator[None, Tick, None]:
        """Make safe, say what is wrong, and stay here until it is mended. What goes wrong meanwhile is said, and has to be mended, too.

        Raises RuntimeFault or BundleError where nothing is left that could classify.
        """
        gate_failures = 0
        while True:
            yield from self._declare(failure)
            try:
                yield from self._mend_all()
                return
            except (Failure, GateError, LedgerError) as error:
                failure = failure_of(error)
            pause_s = self._retry_s
            if failure.fault == "gate":
                pause_s = min(self._retry_s * 2**gate_failures, max(self._retry_s, LONGEST_PAUSE_S))
                gate_failures += 1
            if failure.fault != "obstruction":
                yield from self._steps.pause(pause_s)

    def _declare(self, failure: Failure) -> Generator[None, Tick, None]:
        news = failure.fault not in self._faults
        self._faults[failure.fault] = Fault(fault=failure.fault, message=failure.message)
        if news:
            self._events.put(self._faults[failure.fault])
        tick = yield from self._steps.rest()
        if news:
            self._since_s[failure.fault] = tick.now_s

    def _mend_all(self) -> Generator[None, Tick, None]:
        if "camera" not in self._faults:
            # A hand may be where the gates are. Without a camera nobody can tell, and they close.
            yield from self._mend("obstruction")
        yield from self._steps.shut()
        if self._steps.gate_trouble:
            yield from self._declare(Failure("gate", self._steps.gate_trouble))
        self._steps.excuse_the_camera()
        for name in self._mends:
            if name in self._faults:
                yield from self._mend(name)
        yield from self._until_it_has_opened_and_closed()

    def _mend(self, name: FaultName) -> Generator[None, Tick, None]:
        """Wait until it is mended, and tell that it is over if it was told."""
        yield from self._mends[name]()
        if name in self._faults:
            tick = yield from self._steps.rest()
            del self._faults[name]
            self._events.put(Cleared(fault=name, lasted_s=round(tick.now_s - self._since_s[name], 3)))

    def _until_all_is_stored(self) -> Generator[None, Tick, None]:
        """Hand the events that could not be stored to the ledger again, in order, until it has them all."""
        while not self._events.all_stored():
            self._events.retry_refused()
            while self._events.awaiting_ledger:
                yield from self._steps.rest()
            if not self._events.all_stored():
                yield from self._steps.pause(self._retry_s)
        self._steps.excuse_the_camera()

    def _until_it_has_opened_and_closed(self) -> Generator[None, Tick, None]:
        yield from self._steps.close_all()
        yield from self._finish()
