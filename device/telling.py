"""Events on their way to the ledger, in the order they were told; one that cannot be stored is kept and stored later."""

from collections import deque
from concurrent.futures import Future
from typing import Protocol

from device.events import AnyEvent, Event
from device.failure import Failure


class Recorder(Protocol):
    """What happens to an event that the sorter tells: it is stamped, stored, and published once it is safe."""

    def __call__(self, event: Event) -> "Future[AnyEvent]": ...


class Telling:
    """What was told and is not known to be stored. `record` stores an event."""

    def __init__(self, record: Recorder) -> None:
        self._record = record
        self._told: deque[tuple[Event, Future[AnyEvent]]] = deque()

    def tell(self, event: Event) -> None:
        """Record an event; one that cannot be stored becomes the fault `ledger`, and is stored once that is over."""
        self._told.append((event, self._record(event)))

    def check(self) -> None:
        """Forget what is stored. Raises Failure when an event could not be."""
        while self._told and self._told[0][1].done():
            error = self._told[0][1].exception()
            if error is not None:
                raise Failure("ledger", str(error))
            self._told.popleft()

    def tell_again(self) -> None:
        """Hand the events that could not be stored to the ledger again."""
        self._told = deque((event, self._record(event) if _failed(stored) else stored) for event, stored in self._told)

    @property
    def waiting(self) -> bool:
        """Whether the ledger has not answered yet for one of them."""
        return not all(stored.done() for _, stored in self._told)

    def all_stored(self) -> bool:
        """Whether the ledger has them all. Those that it has, up to the first that it has not, are forgotten."""
        while self._told and self._told[0][1].done() and not _failed(self._told[0][1]):
            self._told.popleft()
        return not self._told


def _failed(stored: "Future[AnyEvent]") -> bool:
    return stored.done() and stored.exception() is not None
