"""Events on their way to the ledger, in order. One that the ledger refuses now stays in the queue and is stored later."""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from device.events import AnyEvent, Event
from device.ledger.schema import Unstorable
from device.sorting.faults import SortingFault

log = logging.getLogger(__name__)


class EventStore(Protocol):
    """What the sorter needs of the ledger. Every method returns at once; a future is done when the data is on disk, or carries LedgerError."""

    def intend(self, item: str, to_bin: str, label: str) -> "Future[None]":
        """Store that an item is about to go to a bin."""

    def stamped(self, event: Event) -> Event:
        """The event with the present time in it."""

    def record(self, event: Event) -> "Future[AnyEvent]":
        """Store an event."""


class EventQueue:
    """Events that the ledger has not confirmed yet, oldest first.

    on_stored: called with each event once it is stored, on the thread that stored it; it must return at once.
    """

    def __init__(self, store: EventStore, on_stored: Callable[[AnyEvent], None]) -> None:
        self._store, self._on_stored = store, on_stored
        self._pending: deque[tuple[Event, Future[AnyEvent]]] = deque()
        self._last_error: str | None = None

    def put(self, event: Event) -> None:
        """Stamp an event with the present time and hand it to the ledger.

        An event that the ledger refuses stays queued, and `check` reports it. One that no ledger can hold (NaN in it, for example) is logged and
        dropped: no retry would help.
        """
        stamped = self._store.stamped(event)
        self._pending.append((stamped, self._record(stamped)))

    def check(self) -> None:
        """Drop what is stored from the queue. Raises SortingFault when the ledger refused an event."""
        self._drop_stored()
        if self._pending and (error := _error(self._pending[0][1])) is not None:
            raise SortingFault("ledger", str(error))

    def retry_refused(self) -> None:
        """Hand the events that the ledger refused to it again, in order."""
        self._pending = deque((event, self._record(event) if _may_succeed(stored) else stored) for event, stored in self._pending)

    @property
    def awaiting_ledger(self) -> bool:
        """Whether the ledger has yet to answer for one of them."""
        return not all(stored.done() for _, stored in self._pending)

    def all_stored(self) -> bool:
        """Whether the ledger has stored all of them."""
        self._drop_stored()
        return not self._pending

    def _record(self, event: Event) -> "Future[AnyEvent]":
        stored = self._store.record(event)
        stored.add_done_callback(self._when_answered)
        return stored

    def _when_answered(self, stored: "Future[AnyEvent]") -> None:
        """Pass a stored event on. Log why the ledger refuses events, once until it stores one again."""
        error = stored.exception()
        if error is None:
            self._last_error = None
            self._on_stored(stored.result())
        elif not isinstance(error, Unstorable) and str(error) != self._last_error:
            self._last_error = str(error)
            log.error("an event could not be stored: %s", error)

    def _drop_stored(self) -> None:
        while self._pending and self._pending[0][1].done() and not _may_succeed(self._pending[0][1]):
            event, stored = self._pending.popleft()
            if (error := _error(stored)) is not None:
                log.error("event %s is dropped: %s", event.__struct_config__.tag, error)


def _error(stored: "Future[AnyEvent]") -> BaseException | None:
    return stored.exception() if stored.done() else None


def _may_succeed(stored: "Future[AnyEvent]") -> bool:
    """Whether it was refused for a reason that may pass, such as a full disk."""
    error = _error(stored)
    return error is not None and not isinstance(error, Unstorable)
