"""Out of a fault: a camera that hangs, a gate that jams, an item that does not leave, a disk that is full. Nothing is sorted until it is mended."""

from collections.abc import Callable, Generator

from device.events import Cleared, Fault
from device.failure import Failure, FaultName, failure_of
from device.hardware import GateError
from device.steps import Steps, Tick
from device.telling import Telling


class Recovery:
    """Tries again and again until what failed works.

    clear_the_tray: steps until an item that jammed has gone. retry_s: pause between attempts. `fault` is what keeps the bin from sorting now.
    """

    def __init__(self, steps: Steps, telling: Telling, clear_the_tray: Callable[[], Generator[None, Tick, None]], retry_s: float) -> None:
        self._steps, self._telling, self._clear_the_tray, self._retry_s = steps, telling, clear_the_tray, retry_s
        self.fault: Fault | None = None

    def recover(self, failure: Failure) -> Generator[None, Tick, None]:
        """Make safe, say what is wrong, and stay here until it is mended. What goes wrong meanwhile is said too."""
        self._declare(failure)
        tick = yield from self._steps.rest()
        began_s = {failure.fault: tick.now_s}
        while True:
            try:
                yield from self._until_mended(failure.fault)
                break
            except (Failure, GateError) as error:
                failure = failure_of(error)
                if failure.fault not in began_s:
                    began_s[failure.fault] = tick.now_s
                    self._declare(failure)
                tick = yield from self._steps.pause(self._retry_s)
        tick = yield from self._steps.rest()
        for fault, since_s in began_s.items():
            self._telling.tell(Cleared(fault=fault, lasted_s=round(tick.now_s - since_s, 3)))
        self.fault = None

    def _declare(self, failure: Failure) -> None:
        self.fault = Fault(fault=failure.fault, message=failure.message)
        self._telling.tell(self.fault)

    def _until_mended(self, fault: FaultName) -> Generator[None, Tick, None]:
        if fault == "ledger":
            yield from self._until_all_is_stored()
        self._steps.excuse_the_camera()
        yield from self._steps.close_all()
        if fault == "jam":
            yield from self._clear_the_tray()
        elif fault == "camera":
            yield from self._steps.next_frame()

    def _until_all_is_stored(self) -> Generator[None, Tick, None]:
        """Hand the events that could not be stored to the ledger again, in order, until it has them all."""
        while not self._telling.all_stored():
            self._telling.tell_again()
            while self._telling.waiting:
                yield from self._steps.rest()
            if not self._telling.all_stored():
                yield from self._steps.pause(self._retry_s)
