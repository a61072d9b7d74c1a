"""The newest value of each retained topic, and whether the broker has it."""

import threading
from dataclasses import dataclass

import msgspec


@dataclass(slots=True)
class _Slot:
    value: msgspec.Struct | bytes
    interval_s: float
    sent: bool = False
    in_flight: bool = False
    not_before_s: float = float("-inf")


class Retained:
    """One slot for each topic. A newer value replaces one that was not sent yet, so nothing piles up while the broker is away. Thread safe."""

    def __init__(self) -> None:
        self._slots: dict[str, _Slot] = {}
        self._lock = threading.Lock()

    def put(self, topic: str, value: msgspec.Struct | bytes, interval_s: float = 0.0) -> None:
        """Set a topic's value, published as JSON, or bytes as they are; an equal one changes nothing.

        At least `interval_s` seconds lie between two messages.
        """
        with self._lock:
            slot = self._slots.get(topic)
            if slot is None:
                self._slots[topic] = _Slot(value, interval_s)
            elif slot.value != value:
                slot.value, slot.interval_s, slot.sent = value, interval_s, False

    def due(self, now_s: float) -> list[tuple[str, bytes]]:
        """Topics and payloads to publish now. A topic is due again after `acknowledged` with another value, or after `refused`."""
        with self._lock:
            due = [(topic, slot) for topic, slot in self._slots.items() if self._pending(slot) and now_s >= slot.not_before_s]
            for _, slot in due:
                slot.sent = slot.in_flight = True
                slot.not_before_s = now_s + slot.interval_s
            values = [(topic, slot.value) for topic, slot in due]
        return [(topic, value if isinstance(value, bytes) else msgspec.json.encode(value)) for topic, value in values]

    def put_again(self, topic: str) -> None:
        """Make a topic's value due again although the broker has it. A topic without a value is ignored."""
        with self._lock:
            if (slot := self._slots.get(topic)) is not None:
                slot.sent = False

    def has_arrived(self, topic: str) -> bool:
        """Whether the broker has a topic's present value."""
        with self._lock:
            slot = self._slots.get(topic)
            return slot is not None and slot.sent and not slot.in_flight

    def acknowledged(self, topic: str) -> None:
        """The broker has what `due` gave last for this topic."""
        with self._lock:
            self._slots[topic].in_flight = False

    def refused(self, topic: str, not_before_s: float) -> None:
        """The broker refuses what `due` gave last for this topic. It, or a newer value, is due again at `not_before_s`."""
        with self._lock:
            slot = self._slots[topic]
            slot.in_flight = slot.sent = False
            slot.not_before_s = not_before_s

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until the next value is due; None when none waits."""
        with self._lock:
            return min((max(0.0, slot.not_before_s - now_s) for slot in self._slots.values() if self._pending(slot)), default=None)

    def start_over(self) -> None:
        """Make every value due again, for a new connection: the broker may have lost them."""
        with self._lock:
            for slot in self._slots.values():
                slot.sent = slot.in_flight = False
                slot.not_before_s = float("-inf")

    @staticmethod
    def _pending(slot: _Slot) -> bool:
        return not slot.sent and not slot.in_flight
