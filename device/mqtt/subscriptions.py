"""What a device listens to: topics, who handles their messages, and which of them the broker refuses."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from paho.mqtt.client import topic_matches_sub

from device.mqtt.inbox import Message

log = logging.getLogger(__name__)

Handler = Callable[[Message], None]
"""called on the link's thread; must return at once"""


@dataclass(slots=True)
class _Subscription:
    handler: Handler
    due_s: float = float("-inf")


class Subscriptions:
    """Topics with their handlers. `add` may be called on any thread, everything else on the link's."""

    def __init__(self) -> None:
        self._of_pattern: dict[str, _Subscription] = {}
        self._lock = threading.Lock()

    def add(self, pattern: str, handler: Handler) -> None:
        """Listen to a topic, or to those that a pattern matches. An earlier handler of the same pattern is replaced."""
        with self._lock:
            self._of_pattern[pattern] = _Subscription(handler)

    def start_over(self) -> None:
        """Make every pattern due again, for a new connection."""
        with self._lock:
            for each in self._of_pattern.values():
                each.due_s = float("-inf")

    def due(self, now_s: float) -> list[str]:
        """Patterns to subscribe to now. now_s: monotonic seconds."""
        with self._lock:
            due = {pattern: each for pattern, each in self._of_pattern.items() if now_s >= each.due_s}
            for each in due.values():
                each.due_s = float("inf")
            return list(due)

    def refused(self, pattern: str, until_s: float) -> None:
        """The broker refuses a pattern. It is due again at `until_s`."""
        with self._lock:
            self._of_pattern[pattern].due_s = until_s

    def handle(self, message: Message) -> None:
        """Give a message to every handler that it is for. A handler that raises is logged."""
        with self._lock:
            handlers = [each.handler for pattern, each in self._of_pattern.items() if topic_matches_sub(pattern, message.topic)]
        for handler in handlers:
            try:
                handler(message)
            except Exception:  # of any type: what a stranger sends must not end the link's thread
                log.exception("a message on %r could not be handled", message.topic[:200])
