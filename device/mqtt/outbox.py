"""Publishes undelivered events of the ledger on the journal topic: in order, a few at a time, each until the broker has acknowledged it."""

import logging
import time
from collections.abc import Callable, Iterable

from device.ledger.ledger import Ledger
from device.ledger.schema import LedgerError

log = logging.getLogger(__name__)

IN_FLIGHT = 20
"""most events that are published and not acknowledged"""
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
        newest_seq = self._ledger.newest_seq
        room = (IN_FLIGHT if self._accepted else 1) - len(self._sent)
        if room <= 0 or self._sent_up_to >= newest_seq or self.paused:
            return
        try:
            events = self._ledger.outbox(self._sent_up_to, room)
        except LedgerError as error:
            log.warning("%s; the journal pauses for %g s", error, PAUSE_S)
            self._paused_until_s = self._now_s() + PAUSE_S
            return
        for seq, payload in events:
            self._sent[self._publish(payload)] = seq
            self._sent_up_to = seq
            self._newest_tried = seq
        if len(events) < room:
            self._sent_up_to = max(self._sent_up_to, newest_seq)

    def acknowledged(self, messages: Iterable[int]) -> None:
        """The broker has acknowledged these messages. Numbers of messages on other topics are ignored."""
        if delivered := self._take_seqs(messages):
            self._accepted = self._accepted or self._newest_tried in delivered
            self._ledger.delivered(delivered)

    def refused(self, messages: Iterable[int]) -> None:
        """The broker has refused these messages: the events stay in the ledger. After a pause the oldest is published alone."""
        if refused := self._take_seqs(messages):
            self._sent_up_to = min(self._sent_up_to, min(refused) - 1)
            self._accepted, self._newest_tried = False, 0
            self._paused_until_s = self._now_s() + REFUSED_S

    def _take_seqs(self, messages: Iterable[int]) -> list[int]:
        return [self._sent.pop(message) for message in messages if message in self._sent]
