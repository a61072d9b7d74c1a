"""Messages from the broker on their way from the network thread to the link's thread: few, small, and slowed down in a flood."""

import threading
import time
from collections import deque
from typing import NamedTuple

from device.common.token_bucket import TokenBucket

MAX_MESSAGE_BYTES = 8_192
"""longest payload that is passed on"""
MAX_WAITING = 64
BURST, PER_S = 50, 50.0
"""messages that are accepted at once, and a second"""
BRAKE_S = 0.002
"""how long the network thread rests for each message above that: then TCP slows the sender down, and a flood costs no processor"""


class Message(NamedTuple):
    """A message on a topic that was subscribed to. retained: the broker had kept it; it may be of any age."""

    topic: str
    payload: bytes
    retained: bool


class Inbox:
    """Thread safe. What comes too fast or is too long is dropped and counted."""

    def __init__(self) -> None:
        self._bucket = TokenBucket(BURST, PER_S)
        self._waiting: deque[Message] = deque(maxlen=MAX_WAITING)
        self._lock = threading.Lock()
        self._too_fast = self._too_long = 0

    def put(self, message: Message) -> bool:
        """Accept a message or drop it. In a flood it blocks for BRAKE_S. Whether it was accepted."""
        with self._lock:
            if len(message.payload) > MAX_MESSAGE_BYTES:
                self._too_long += 1
                return False
            if len(self._waiting) < MAX_WAITING and self._bucket.take(time.monotonic()):
                self._waiting.append(message)
                return True
            self._too_fast += 1
        time.sleep(BRAKE_S)
        return False

    def take(self) -> list[Message]:
        """What was accepted since the last call, in order."""
        with self._lock:
            taken = list(self._waiting)
            self._waiting.clear()
        return taken

    def take_complaint(self) -> str:
        """What was dropped since the last call, in a few words; empty where nothing was."""
        with self._lock:
            too_fast, too_long, self._too_fast, self._too_long = self._too_fast, self._too_long, 0, 0
        parts = [f"{too_fast} that came too fast"] * bool(too_fast) + [f"{too_long} of more than {MAX_MESSAGE_BYTES} bytes"] * bool(too_long)
        return " and ".join(parts)
