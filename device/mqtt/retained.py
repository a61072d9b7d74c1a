"""The newest value of each retained topic, and which of them the broker does not have yet."""

import threading
from dataclasses import dataclass

import msgspec


@dataclass(slots=True)
class _Slot:
    value: msgspec.Struct
    pace_s: float
    handed_out: bool = False
    in_flight: bool = False
    not_before_s: float = float("-inf")


class Retained:
    """One slot a topic. A newer value replaces one that was not sent yet, so a slow or absent broker makes nothing pile up. Thread safe."""

    def __init__(self) -> None:
        self._slots: dict[str, _Slot] = {}
        self._lock = threading.Lock()

    def put(self, topic: str, value: msgspec.Struct, pace_s: float = 0.0) -> None:
        """Replace a topic's value; one equal to the last changes nothing. Between two that are sent lie at least `pace_s` seconds."""
        with self._lock:
            slot = self._slots.get(topic)
            if slot is None:
                self._slots[topic] = _Slot(value, pace_s)
            elif slot.value != value:
                slot.value, slot.pace_s, slot.handed_out = value, pace_s, False

    def due(self, now_s: float) -> list[tuple[str, bytes]]:
        """Topics and JSON to publish now. Each topic comes again only after `arrived`, and then only with another value, or `refused`."""
        with self._lock:
            due = [(topic, slot) for topic, slot in self._slots.items() if self._pending(slot) and now_s >= slot.not_before_s]
            for _, slot in due:
                slot.handed_out = slot.in_flight = True
                slot.not_before_s = now_s + slot.pace_s
            return [(topic, msgspec.json.encode(slot.value)) for topic, slot in due]

    def arrived(self, topic: str) -> None:
        """The broker has what `due` gave last for this topic."""
        with self._lock:
            self._slots[topic].in_flight = False

    def refused(self, topic: str, not_before_s: float) -> None:
        """The broker does not take what `due` gave last for this topic: it, or a newer value, is due again at that time."""
        with self._lock:
            slot = self._slots[topic]
            slot.in_flight = slot.handed_out = False
            slot.not_before_s = not_before_s

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until something is due that is held back now; None when nothing is."""
        with self._lock:
            return min((max(0.0, slot.not_before_s - now_s) for slot in self._slots.values() if self._pending(slot)), default=None)

    def start_over(self) -> None:
        """Another connection: the broker may have forgotten everything, so all of it is due."""
        with self._lock:
            for slot in self._slots.values():
                slot.handed_out = slot.in_flight = False
                slot.not_before_s = float("-inf")

    @staticmethod
    def _pending(slot: _Slot) -> bool:
        return not slot.handed_out and not slot.in_flight
