"""Publishes undelivered events of the ledger on the journal topic: in order, a few at a time, each until the broker has acknowledged it."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable

from device.ledger.ledger import Ledger
from device.ledger.schema import LedgerError

log = logging.getLogger(__name__)

IN_FLIGHT = 20
"""most events that are published and not acknowledged"""
READ_AHEAD = 200
"""most events that are read at once: to read each alone would take longer than to send it"""
PAUSE_S = 5.0
"""pause after the ledger could not be read"""
REFUSED_S = 60.0
"""pause after the broker has refused an event: somebody has to change its ACL"""


class Outbox:
    """Publishes over one connection. Each connection has a new one, which begins at the oldest unacknowledged event."""

    def __init__(self, ledger: Ledger, publish: Callable[[bytes], int], now_s: Callable[[], float] = time.monotonic) -> None:
        """publish: sends an event's JSON and returns the number that comes back with the acknowledgement."""
        self._ledger, self._publish, self._now_s = ledger, publish, now_s
        self._sent: dict[int, int] = {}
        self._sent_up_to = 0
        self._read: deque[tuple[int, bytes]] = deque()
        """events that are read and not published"""
        self._read_all_up_to = 0
        """number up to which the ledger holds no others than those that are read"""
        self._accepted = True
        """False after a refusal: then one event at a time is tried, until it is acknowledged"""
        self._newest_tried = 0
        self._paused_until_s = float("-inf")

    @property
    def empty(self) -> bool:
        """Whether every event of the ledger is acknowledged."""
        return not self._sent and self._sent_up_to >= self._ledger.newest_seq

    @property
    def paused(self) -> bool:
        """Whether nothing is published for a while, since the ledger could not be read or the broker refused an event."""
        return self._now_s() < self._paused_until_s

    def publish_next(self) -> None:
        """Publish what may be published now. A ledger that cannot be read is tried again after a pause; nothing is lost."""
        while len(self._sent) < (IN_FLIGHT if self._accepted else 1) and not self.paused and (self._read or self._read_next()):
            seq, payload = self._read.popleft()
            self._sent[self._publish(payload)] = seq
            self._sent_up_to = self._newest_tried = seq
            if not self._read:
                self._sent_up_to = max(seq, self._read_all_up_to)

    def acknowledged(self, messages: Iterable[int]) -> None:
        """The broker has acknowledged these messages. Numbers of messages on other topics are ignored."""
        if delivered := self._take_seqs(messages):
            self._accepted = self._accepted or self._newest_tried in delivered
            self._ledger.delivered(delivered)

    def refused(self, messages: Iterable[int]) -> None:
        """The broker has refused these messages: the events stay in the ledger. After a pause the oldest is published alone."""
        if refused := self._take_seqs(messages):
            self._sent_up_to = min(self._sent_up_to, min(refused) - 1)
            self._read.clear()
            self._accepted, self._newest_tried = False, 0
            self._paused_until_s = self._now_s() + REFUSED_S

    def _read_next(self) -> bool:
        """Read the next events. Returns whether there are any."""
        newest_seq = self._ledger.newest_seq
        if self._sent_up_to >= newest_seq:
            return False
        try:
            self._read.extend(self._ledger.outbox(self._sent_up_to, READ_AHEAD))
        except LedgerError as error:
            log.warning("%s; the journal pauses for %g s", error, PAUSE_S)
            self._paused_until_s = self._now_s() + PAUSE_S
            return False
        self._read_all_up_to = newest_seq if len(self._read) < READ_AHEAD else 0
        if not self._read:
            self._sent_up_to = newest_seq
        return bool(self._read)

    def _take_seqs(self, messages: Iterable[int]) -> list[int]:
        return [self._sent.pop(message) for message in messages if message in self._sent]
