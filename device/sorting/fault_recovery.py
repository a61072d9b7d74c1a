"""Recovery from faults, and the decision when each fault is over. Nothing is sorted until all are.

`FaultRecovery._until_over` lists for every fault the step that waits until it is over: a jam once the tray is empty, a camera once it shows a view
that can be judged, and so on.
"""

from collections.abc import Callable, Generator

from device.events import Cleared, Fault
from device.gates import GateError
from device.ledger.schema import LedgerError
from device.sorting.control_steps import ControlSteps, Tick
from device.sorting.event_queue import EventQueue
from device.sorting.faults import FaultName, Jammed, SortingFault, as_sorting_fault
from device.sorting.tray_monitor import TrayMonitor

LONGEST_PAUSE_S = 60.0
"""longest pause before another try of a gate that fails again and again; the pause doubles each time"""

Step = Callable[[], Generator[None, Tick, None]]


class FaultRecovery:
    """Waits until every fault is over, and reports each once when it begins and once when it is over.

    retry_s: pause between attempts. replace_runtime: the step that brings another runtime in place of one that failed. finish_item: the step that
    delivers the item which a fault left on the tray, if any; only that shows that a gate works again.
    """

    def __init__(
        self, steps: ControlSteps, tray: TrayMonitor, events: EventQueue, retry_s: float, *, replace_runtime: Step, finish_item: Step
    ) -> None:
        self._steps, self._tray, self._events, self._retry_s = steps, tray, events, retry_s
        self._finish_item = finish_item
        self._until_over: dict[FaultName, Step] = {
            "ledger": self._until_ledger_is_over,
            "camera": tray.wait_until_view_is_usable,
            "obstruction": tray.wait_until_clear_during_fault,
            "classifier": replace_runtime,
            "jam": self._until_jam_is_over,
            "hazard": self._until_hazard_is_over,
            "gate": self._close_gates_and_finish_item,
        }
        """in the order in which they are waited for"""
        self._faults: dict[FaultName, Fault] = {}
        self._since_s: dict[FaultName, float] = {}
        self._jammed: Jammed | None = None
        self._told_empty = False
        """whether a person says that nothing lies on the tray, since the last fault began"""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Everything that keeps the bin from sorting, the newest first, each with its latest message."""
        return tuple(reversed(self._faults.values()))

    def try_again(self, *, tray_is_empty: bool) -> None:
        """End a pause between two attempts. tray_is_empty: a person has looked, and says so: that ends a jam and a held hazard.

        No gate opens because of it, and none closes on a hand.
        """
        self._told_empty = tray_is_empty
        self._steps.end_pause()

    def recover(self, fault: SortingFault) -> Generator[None, Tick, None]:
        """Report a fault, close the gates, and wait until it is over. A fault that comes up meanwhile is reported, and has to be over, too.

        Raises RuntimeFault or BundleError where no runtime is left that could classify.
        """
        gate_failures = 0
        self._told_empty = False
        while True:
            yield from self._begin(fault)
            try:
                yield from self._wait_until_all_are_over()
                return
            except (SortingFault, GateError, LedgerError) as error:
                fault = as_sorting_fault(error)
            pause_s = self._retry_s
            if fault.name == "gate":
                pause_s = min(self._retry_s * 2**gate_failures, max(self._retry_s, LONGEST_PAUSE_S))
                gate_failures += 1
            if fault.name != "obstruction":
                yield from self._steps.pause(pause_s)

    def _begin(self, fault: SortingFault) -> Generator[None, Tick, None]:
        """Report a fault, unless it was reported and is not over yet; its message is brought up to date in any case."""
        is_new = fault.name not in self._faults
        self._faults[fault.name] = Fault(fault=fault.name, message=fault.message)
        if isinstance(fault, Jammed):
            self._jammed = fault
        if is_new:
            self._events.put(self._faults[fault.name])
        tick = yield from self._steps.rest()
        if is_new:
            self._since_s[fault.name] = tick.now_s

    def _wait_until_all_are_over(self) -> Generator[None, Tick, None]:
        if "camera" not in self._faults:
            # A hand may be where the gates are, so it has to go before they close. Without a camera it cannot be seen, and they close at once.
            yield from self._wait_until_over("obstruction")
        yield from self._steps.close_all_during_fault()
        if self._steps.gate_errors:
            yield from self._begin(SortingFault("gate", self._steps.gate_errors))
        self._steps.restart_camera_timeout()
        for name in self._until_over:
            if name in self._faults:
                yield from self._wait_until_over(name)
        yield from self._close_gates_and_finish_item()

    def _wait_until_over(self, name: FaultName) -> Generator[None, Tick, None]:
        yield from self._until_over[name]()
        if name in self._faults:
            tick = yield from self._steps.rest()
            del self._faults[name]
            self._events.put(Cleared(fault=name, lasted_s=round(tick.now_s - self._since_s[name], 3)))

    def _until_jam_is_over(self) -> Generator[None, Tick, None]:
        """A jam is over once the tray is seen empty: a hand has taken the item.

        Where the reference is wrong, no item lies there: then the tray as it is becomes the reference.
        """
        assert self._jammed is not None, "a jam names its item"
        if self._tray.reference_is_wrong(self._jammed.item_pixels):
            self._tray.adopt_as_empty(self._jammed.item_pixels)
        else:
            yield from self._until_empty_or_told()

    def _until_hazard_is_over(self) -> Generator[None, Tick, None]:
        """A held hazard is over once the tray is seen empty: a hand has taken it. Without a reference that cannot be seen, and it stays."""
        while not (self._tray.detector.learned or self._told_empty):
            yield from self._steps.rest()
        yield from self._until_empty_or_told()
        self._tray.release_hazard()

    def _until_empty_or_told(self) -> Generator[None, Tick, None]:
        """Wait until the tray is seen empty, or a person says that it is: then the tray as it is becomes the reference."""
        while not self._told_empty:
            if (yield from self._tray.wait_until_empty(None, lambda: self._told_empty)) is not None:
                return
        self._told_empty = False
        if not (yield from self._tray.relearn()):
            yield from self._until_empty_or_told()

    def _until_ledger_is_over(self) -> Generator[None, Tick, None]:
        """The fault `ledger` is over once the ledger has stored every event, in order."""
        while not self._events.all_stored():
            self._events.retry_refused()
            while self._events.awaiting_ledger:
                yield from self._steps.rest()
            if not self._events.all_stored():
                yield from self._steps.pause(self._retry_s)
        self._steps.restart_camera_timeout()

    def _close_gates_and_finish_item(self) -> Generator[None, Tick, None]:
        """The fault `gate` is over once all gates have closed, and an item that is still on the tray was delivered."""
        yield from self._steps.close_all()
        yield from self._finish_item()
