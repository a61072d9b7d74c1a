"""How much a gate was used: its wear, and what it reported last."""

from dataclasses import dataclass

from device.gates import Position


@dataclass(slots=True)
class GateUse:
    """Counts of one gate since it was claimed."""

    cycles: int = 0
    """how often it began to open"""
    last_fault: str = ""
    last_fault_s: float = 0.0
    """monotonic time of it"""
    _open_s: float = 0.0
    _open_since_s: float | None = None

    def begins_to_open(self, now_s: float) -> None:
        """It is told to open. To open again before it has closed is the same cycle."""
        if self._open_since_s is None:
            self.cycles += 1
            self._open_since_s = now_s

    def is_at(self, position: Position, now_s: float) -> None:
        """Where it is now."""
        if position is Position.CLOSED and self._open_since_s is not None:
            self._open_s += now_s - self._open_since_s
            self._open_since_s = None

    def failed(self, message: str, now_s: float) -> None:
        """It reported a fault. The same one again is the same fault, with the time of its first report."""
        if message != self.last_fault:
            self.last_fault, self.last_fault_s = message, now_s

    def open_s(self, now_s: float) -> float:
        """Seconds that it was not closed, up to now."""
        return self._open_s + (0.0 if self._open_since_s is None else now_s - self._open_since_s)
