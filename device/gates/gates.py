"""All gates of a bin: one moves at a time, none stays open for ever, and all are released together."""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from device.gates import Gate, GateError, Position
from device.gates.settings import GateBase
from device.gates.use import GateUse

log = logging.getLogger(__name__)

MOVING = (Position.OPENING, Position.CLOSING)


class Gates:
    """All gates, addressed by the name of a bin. Two servos that start together brown a Pi out, so a later request waits for its turn.

    Requests return at once and `update` carries them out. A newer request for the same gate replaces an older one and reverses its move. A gate
    that is open over one of its bins closes before it opens over another one. A gate that has been open for `max_open_s` is closed without being
    asked, and `update` raises GateError to say so. When one gate fails, the others are still updated before GateError is raised, which names all
    that failed; `faults` names the bins of each until it arrives somewhere again.
    """

    def __init__(self, gates: Iterable[Gate], *, max_open_s: float = 15.0) -> None:
        self._gates = tuple(gates)
        self._gate_of = {name: gate for gate in self._gates for name in gate.bins}
        self._max_open_s = max_open_s
        self._requests: dict[Gate, str | None] = {}
        """requests that wait: the bin to open, or None to close"""
        self._open_bin: dict[Gate, str] = {}
        """the bin that each gate was opened for last, until it has closed"""
        self._open_since_s: dict[Gate, float] = {}
        self._faults: dict[Gate, GateError] = {}
        self._use = {gate: GateUse() for gate in self._gates}

    @property
    def bins(self) -> tuple[str, ...]:
        """Names of the bins that have a gate, in the order of the settings."""
        return tuple(self._gate_of)

    @property
    def outputs(self) -> Mapping[str, str]:
        """The output of each gate, by the names of its bins, for messages; gates without hardware are left out."""
        return {_name(gate): gate.output for gate in self._gates if gate.output}

    @property
    def faults(self) -> Mapping[str, GateError]:
        """Bins whose gate failed at its last move, and the error."""
        return {name: self._faults[gate] for name, gate in self._gate_of.items() if gate in self._faults}

    @property
    def use(self) -> Mapping[str, GateUse]:
        """How much each gate was used, by the names of its bins with / between them."""
        return {_name(gate): use for gate, use in self._use.items()}

    @property
    def all_closed(self) -> bool:
        """Whether every gate is closed."""
        return not self.not_closed

    @property
    def not_closed(self) -> tuple[str, ...]:
        """Bins whose gate is not closed, or of unknown position."""
        return tuple(name for name in self._gate_of if self.position(name) is not Position.CLOSED)

    @property
    def moving(self) -> bool:
        """Whether a gate moves or waits for its turn."""
        return bool(self._requests) or self._mover() is not None

    def position(self, name: str) -> Position:
        """The position of the gate over the bin `name`: closed while it is open over another bin. Raises GateError when there is no such bin."""
        gate = self._gate(name)
        is_over_another = self._open_bin.get(gate, name) != name
        return Position.CLOSED if is_over_another and gate.position is not Position.UNKNOWN else gate.position

    def open(self, name: str, now_s: float) -> None:
        """Open the gate over the bin `name` as soon as no other moves. Raises GateError when there is none, or it refuses."""
        self._request(self._gate(name), name)
        _raise_all(self._start_requests(now_s))

    def close(self, name: str, now_s: float) -> None:
        """Close the gate over the bin `name` as soon as no other moves; one that is open over another bin stays there.

        Raises GateError when there is none, or it refuses.
        """
        gate = self._gate(name)
        is_over_another = self._requests.get(gate, self._open_bin.get(gate)) not in (None, name)
        if not is_over_another or gate.position is Position.UNKNOWN:
            self._request(gate, None)
        _raise_all(self._start_requests(now_s))

    def close_all(self, now_s: float) -> None:
        """Close every gate that is open or of unknown position, one after the other. Raises GateError when one refuses, after all were asked."""
        for gate in self._gates:
            if gate in self._requests or gate.position is not Position.CLOSED:
                self._request(gate, None)
        _raise_all(self._start_requests(now_s))

    def keep_open(self, now_s: float) -> None:
        """Count `max_open_s` of the open gates from now on. A line's own `max_on_s` is not extended."""
        self._open_since_s = dict.fromkeys(self._open_since_s, now_s)

    def update(self, now_s: float) -> None:
        """Continue all moves. Call it 20 times a second or more. Raises GateError after all gates were updated."""
        errors = []
        for gate in self._gates:
            try:
                gate.update(now_s)
            except GateError as error:
                self._note_fault(gate, error, now_s)
                self._drop_reopening(gate)
                errors.append(error)
                continue
            if gate.position in (Position.OPEN, Position.CLOSED):
                self._faults.pop(gate, None)
            self._use[gate].is_at(gate.position, now_s)
            if gate.position is Position.CLOSED:
                self._open_since_s.pop(gate, None)
                self._open_bin.pop(gate, None)
        _raise_all(errors + self._close_forgotten(now_s) + self._start_requests(now_s))

    def release(self) -> None:
        """Make all outputs safe and give the hardware back. Any number of calls; never raises."""
        self._requests.clear()
        for gate in self._gates:
            try:
                gate.release()
            except Exception:  # a gate must not raise here, but if one does the others still have to be released
                log.exception("gate %s: releasing it failed", _name(gate))

    def _gate(self, name: str) -> Gate:
        gate = self._gate_of.get(name)
        if gate is None:
            raise GateError(f"no gate over the bin {name}; there are gates over {', '.join(self._gate_of) or 'none'}")
        return gate

    def _mover(self) -> Gate | None:
        return next((gate for gate in self._gates if gate.position in MOVING), None)

    def _request(self, gate: Gate, bin_: str | None) -> None:
        self._requests.pop(gate, None)
        self._requests[gate] = bin_

    def _start_requests(self, now_s: float) -> list[GateError]:
        errors = []
        for gate, bin_ in list(self._requests.items()):
            if self._mover() not in (None, gate):
                continue
            del self._requests[gate]
            try:
                if bin_ is None:
                    gate.close(now_s)
                elif self._open_bin.get(gate, bin_) != bin_:
                    gate.close(now_s)
                    self._requests[gate] = bin_
                else:
                    self._open_since_s.setdefault(gate, now_s)
                    self._open_bin[gate] = bin_
                    self._use[gate].begins_to_open(now_s)
                    gate.open(bin_, now_s)
            except GateError as error:
                self._note_fault(gate, error, now_s)
                errors.append(error)
        return errors

    def _note_fault(self, gate: Gate, error: GateError, now_s: float) -> None:
        self._faults[gate] = error
        self._use[gate].failed(str(error), now_s)

    def _drop_reopening(self, gate: Gate) -> None:
        """A gate that failed on its way from one bin does not go on to the next."""
        bin_ = self._requests.get(gate)
        if bin_ is not None and self._open_bin.get(gate, bin_) != bin_:
            del self._requests[gate]

    def _close_forgotten(self, now_s: float) -> list[GateError]:
        forgotten = [gate for gate, since_s in self._open_since_s.items() if now_s - since_s >= self._max_open_s]
        for gate in forgotten:
            del self._open_since_s[gate]
            first: dict[Gate, str | None] = {gate: None}
            self._requests = first | {other: bin_ for other, bin_ in self._requests.items() if other is not gate}
        return [GateError(f"gate {_name(gate)}: was open for {self._max_open_s:g} s and is being closed") for gate in forgotten]


def _name(gate: Gate) -> str:
    return "/".join(gate.bins)


def _raise_all(errors: Sequence[GateError]) -> None:
    """Raise the errors, if any, as one."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise GateError("; ".join(dict.fromkeys(map(str, errors))))


def open_gates(settings: Sequence[GateBase], *, max_open_s: float = 15.0) -> Gates:
    """Claim the hardware of all gates, or of none. Raises GateError, also for two gates over one bin or on one output."""
    refuse_doubles(settings)
    for each in settings:
        if warning := each.warning():
            log.warning("gate %s: %s", each.name, warning)
    with contextlib.ExitStack() as claimed:
        gates = []
        for each in settings:
            gates.append(each.claim())
            claimed.callback(gates[-1].release)
        claimed.pop_all()
    return Gates(gates, max_open_s=max_open_s)


def refuse_doubles(settings: Sequence[GateBase]) -> None:
    """Raise GateError when two gates are over one bin or on one output."""
    for bin_, n in Counter(name for each in settings for name in each.serves).items():
        if n > 1:
            raise GateError(f"gate: {n} gates are over the bin {bin_}, expected one")
    users: dict[str, str] = {}
    for each in settings:
        if each.output in users:
            raise GateError(f"gate: {users[each.output]} and {each.name} are both on {each.output}")
        if each.output:
            users[each.output] = each.name
