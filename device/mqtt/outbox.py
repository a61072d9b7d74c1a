"""From the ledger to the journal topic: in order, a few at a time, and gone from the outbox only when the broker has acknowledged."""

import logging
import time
from collections.abc import Callable, Iterable

from device.ledger.ledger import Ledger
from device.ledger.schema import LedgerError

log = logging.getLogger(__name__)

IN_FLIGHT = 20
"""most events that were sent and not acknowledged"""
PAUSE_S = 5.0
"""rest after the ledger could not be read"""
REFUSED_S = 60.0
"""rest after the broker has refused an event: somebody has to change its rights"""


class Outbox:
    """Feeds one connection. A new connection has a new one, which begins again at the oldest event that was not acknowledged.

    `publish` sends an event's JSON and returns the message's id, as it comes back with the acknowledgement.
    """

    def __init__(self, ledger: Ledger, publish: Callable[[bytes], int], now_s: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._publish, self._now_s = ledger, publish, now_s
        self._sent: dict[int, int] = {}
        self._sent_up_to = 0
        self._welcome, self._trial = True, 0
        self._rest_until_s = float("-inf")

    @property
    def empty(self) -> bool:
        """Whether everything in the ledger was sent and acknowledged."""
        return not self._sent and self._sent_up_to >= self._ledger.newest_seq

    @property
    def resting(self) -> bool:
        """Whether nothing is sent for a while, for the ledger could not be read or the broker refused an event."""
        return self._now_s() < self._rest_until_s

    def feed(self) -> None:
        """Send what may be sent now. A ledger that cannot be read is tried again later; nothing is lost."""
        newest_seq = self._ledger.newest_seq
        room = (IN_FLIGHT if self._welcome else 1) - len(self._sent)
        if room <= 0 or self._sent_up_to >= newest_seq or self.resting:
            return
        try:
            events = self._ledger.outbox(self._sent_up_to, room)
        except LedgerError as error:
            log.warning("%s; the journal rests for %g s", error, PAUSE_S)
            self._rest_until_s = self._now_s() + PAUSE_S
            return
        for seq, payload in events:
            self._sent[self._publish(payload)] = seq
            self._sent_up_to = seq
            self._trial = seq
        if len(events) < room:
            self._sent_up_to = max(self._sent_up_to, newest_seq)

    def acknowledged(self, messages: Iterable[int]) -> None:
        """The broker has these messages; ids of other topics' messages are passed over."""
        if delivered := self._taken_back(messages):
            self._welcome = self._welcome or self._trial in delivered
            self._ledger.delivered(delivered)

    def refused(self, messages: Iterable[int]) -> None:
        """The broker does not take these: they stay in the ledger and are sent again after a rest, the oldest alone."""
        if refused := self._taken_back(messages):
            self._sent_up_to = min(self._sent_up_to, min(refused) - 1)
            self._welcome, self._trial = False, 0
            self._rest_until_s = self._now_s() + REFUSED_S

    def _taken_back(self, messages: Iterable[int]) -> list[int]:
        return [self._sent.pop(message) for message in messages if message in self._sent]
