"""All gates of a bin: one moves at a time, none stays open for ever, and all are released together."""

import contextlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from device.gates import Gate, GateError, Position
from device.gates.settings import GateBase

log = logging.getLogger(__name__)

MOVING = (Position.OPENING, Position.CLOSING)


class Gates:
    """The gates by the name of their bin. Two servos that start together brown a Pi out, so a later request waits for its turn.

    Requests return at once and `update` carries them out. A newer request for the same gate replaces an older one, and turns a move around.
    A gate that has been open for `max_open_s` is closed without being asked, and `update` raises GateError to say so. When one gate fails,
    the others are still carried on before GateError is raised, which names all that failed, and `faults` names each until it arrives
    somewhere again.
    """

    def __init__(self, gates: Mapping[str, Gate], *, max_open_s: float = 15.0) -> None:
        self._gates = dict(gates)
        self._max_open_s = max_open_s
        self._wanted: dict[str, Position] = {}
        self._open_since_s: dict[str, float] = {}
        self._faults: dict[str, GateError] = {}

    @property
    def bins(self) -> tuple[str, ...]:
        """Names of the bins that have a gate, in the order of the settings."""
        return tuple(self._gates)

    @property
    def outputs(self) -> Mapping[str, str]:
        """Which output the gate over each bin has, for people; gates without hardware are left out."""
        return {name: gate.output for name, gate in self._gates.items() if gate.output}

    @property
    def faults(self) -> Mapping[str, GateError]:
        """Bins whose gate failed at its last move, and how."""
        return dict(self._faults)

    @property
    def all_closed(self) -> bool:
        """Whether every gate is closed."""
        return not self.not_closed

    @property
    def not_closed(self) -> tuple[str, ...]:
        """Bins whose gate is not known to be closed."""
        return tuple(name for name, gate in self._gates.items() if gate.position is not Position.CLOSED)

    @property
    def moving(self) -> bool:
        """Whether a gate moves or waits for its turn."""
        return bool(self._wanted) or self._mover() is not None

    def position(self, name: str) -> Position:
        """Where the gate over the bin `name` is. Raises GateError when there is none."""
        return self._gate(name).position

    def open(self, name: str, now_s: float) -> None:
        """Open the gate over the bin `name` as soon as no other moves. Raises GateError when there is none, or it refuses."""
        self._gate(name)
        self._want(name, Position.OPEN)
        _raise_all(self._start_waiting(now_s))

    def close(self, name: str, now_s: float) -> None:
        """Close the gate over the bin `name` as soon as no other moves. Raises GateError when there is none, or it refuses."""
        self._gate(name)
        self._want(name, Position.CLOSED)
        _raise_all(self._start_waiting(now_s))

    def close_all(self, now_s: float) -> None:
        """Close every gate that is not known to be closed, one after the other. Raises GateError when one refuses, after all were asked."""
        for name, gate in self._gates.items():
            if name in self._wanted or gate.position is not Position.CLOSED:
                self._want(name, Position.CLOSED)
        _raise_all(self._start_waiting(now_s))

    def keep_open(self, now_s: float) -> None:
        """Count from now on how long gates have been open: what is open stays so for now. A line's own `max_on_s` still ends."""
        self._open_since_s = dict.fromkeys(self._open_since_s, now_s)

    def update(self, now_s: float) -> None:
        """Carry the moves on. Call it 20 times a second or more. Raises GateError after all gates have had their turn."""
        errors = []
        for name, gate in self._gates.items():
            try:
                gate.update(now_s)
            except GateError as error:
                self._faults[name] = error
                errors.append(error)
                continue
            if gate.position in (Position.OPEN, Position.CLOSED):
                self._faults.pop(name, None)
            if gate.position is Position.CLOSED:
                self._open_since_s.pop(name, None)
        _raise_all(errors + self._close_forgotten(now_s) + self._start_waiting(now_s))

    def release(self) -> None:
        """Make all outputs safe and give the hardware back. Any number of calls; never raises."""
        self._wanted.clear()
        for name, gate in self._gates.items():
            try:
                gate.release()
            except Exception:  # a gate must not raise here, but if one does the others still have to be released
                log.exception("gate %s: releasing it failed", name)

    def _gate(self, name: str) -> Gate:
        gate = self._gates.get(name)
        if gate is None:
            raise GateError(f"no gate over the bin {name}; there are gates over {', '.join(self._gates) or 'none'}")
        return gate

    def _mover(self) -> str | None:
        return next((name for name, gate in self._gates.items() if gate.position in MOVING), None)

    def _want(self, name: str, position: Position) -> None:
        self._wanted.pop(name, None)
        self._wanted[name] = position

    def _start_waiting(self, now_s: float) -> list[GateError]:
        errors = []
        for name, wanted in list(self._wanted.items()):
            if self._mover() not in (None, name):
                continue
            del self._wanted[name]
            try:
                if wanted is Position.OPEN:
                    self._open_since_s.setdefault(name, now_s)
                    self._gates[name].open(now_s)
                else:
                    self._gates[name].close(now_s)
            except GateError as error:
                self._faults[name] = error
                errors.append(error)
        return errors

    def _close_forgotten(self, now_s: float) -> list[GateError]:
        forgotten = [name for name, since_s in self._open_since_s.items() if now_s - since_s >= self._max_open_s]
        for name in forgotten:
            del self._open_since_s[name]
            self._wanted = {name: Position.CLOSED} | {other: wanted for other, wanted in self._wanted.items() if other != name}
        return [GateError(f"gate {name}: was open for {self._max_open_s:g} s and is being closed") for name in forgotten]


def _raise_all(errors: Sequence[GateError]) -> None:
    """As one error, where there are several."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise GateError("; ".join(dict.fromkeys(map(str, errors))))


def open_gates(settings: Sequence[GateBase], *, max_open_s: float = 15.0) -> Gates:
    """Claim the hardware of all gates, or of none. Raises GateError, also for two gates over one bin or on one output."""
    refuse_doubles(settings)
    with contextlib.ExitStack() as claimed:
        gates = {}
        for each in settings:
            gates[each.bin] = each.claim()
            claimed.callback(gates[each.bin].release)
        claimed.pop_all()
    return Gates(gates, max_open_s=max_open_s)


def refuse_doubles(settings: Sequence[GateBase]) -> None:
    """Raise GateError when two gates are over one bin or on one output."""
    for bin_, n in Counter(each.bin for each in settings).items():
        if n > 1:
            raise GateError(f"gate: {n} gates are over the bin {bin_}, expected one")
    users: dict[str, str] = {}
    for each in settings:
        if each.output and each.output in users:
            raise GateError(f"gate: {users[each.output]} and {each.bin} are both on {each.output}")
        users[each.output] = each.bin
