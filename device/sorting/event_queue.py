"""Events on their way to the ledger, in the order they were told; one that cannot be stored now is kept and stored later."""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from device.events import AnyEvent, Event
from device.ledger.ledger import Unstorable
from device.sorting.faults import Failure

log = logging.getLogger(__name__)


class Recorder(Protocol):
    """What happens to an event that the sorter tells: it is stored, and published once it is safe."""

    def __call__(self, event: Event) -> "Future[AnyEvent]": ...


class Telling:
    """What was told and is not known to be stored. `stamp` writes the moment into an event, `record` stores it."""

    def __init__(self, stamp: Callable[[Event], Event], record: Recorder) -> None:
        self._stamp, self._record = stamp, record
        self._told: deque[tuple[Event, Future[AnyEvent]]] = deque()

    def tell(self, event: Event) -> None:
        """Record an event; one that cannot be stored becomes the fault `ledger`, and is stored once that is over.

        One that never can be, for what it says, is given up and logged: it is worth no fault that nothing could end.
        """
        stamped = self._stamp(event)
        self._told.append((stamped, self._record(stamped)))

    def check(self) -> None:
        """Forget what is stored. Raises Failure when an event could not be."""
        self._forget()
        if self._told and (error := _error(self._told[0][1])) is not None:
            raise Failure("ledger", str(error))

    def tell_again(self) -> None:
        """Hand the events that could not be stored to the ledger again."""
        self._told = deque((event, self._record(event) if _may_succeed(stored) else stored) for event, stored in self._told)

    @property
    def waiting(self) -> bool:
        """Whether the ledger has not answered yet for one of them."""
        return not all(stored.done() for _, stored in self._told)

    def all_stored(self) -> bool:
        """Whether the ledger has them all. Those that it has, up to the first that it has not, are forgotten."""
        self._forget()
        return not self._told

    def _forget(self) -> None:
        while self._told and self._told[0][1].done() and not _may_succeed(self._told[0][1]):
            event, stored = self._told.popleft()
            if (error := _error(stored)) is not None:
                log.error("event %s is given up: %s", event.__struct_config__.tag, error)


def _error(stored: "Future[AnyEvent]") -> BaseException | None:
    return stored.exception() if stored.done() else None


def _may_succeed(stored: "Future[AnyEvent]") -> bool:
    """Whether it failed for a reason that may pass."""
    error = _error(stored)
    return error is not None and not isinstance(error, Unstorable)
