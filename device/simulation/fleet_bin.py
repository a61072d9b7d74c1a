"""The life of one bin of the simulated fleet: a sequence of steps that depends on its seed alone.

Not modelled are pictures, the network and gates: labels and probabilities are drawn. What is drawn is made up and measures nothing.
"""

import functools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import msgspec

from device import __version__
from device.common.clock import Reading
from device.events import (
    BinEmptied,
    BinFull,
    Cleared,
    CommandAccepted,
    Drift,
    Event,
    Fault,
    ItemInterrupted,
    ItemRejected,
    ItemSorted,
    Jam,
    Started,
    encode,
)
from device.ledger.sequence_reservation import BLOCK
from device.mqtt.command_payloads import Command, CommandResult
from device.mqtt.payloads import FaultState, GateHealth, fault_state
from device.simulation.fleet_payloads import RUNTIME, FleetCounts, FleetModel, health

STATE_S, HEALTH_S = 1.0, 60.0
"""least time between two messages on `state`, and the time between two on `health`"""
FULL_PERCENT = 95.0
LATE = 0.02
"""share of bins that are switched on late"""
UNSYNCED = 0.1
"""share of starts at which the clock is not synchronised yet"""
CLOCK_BEHIND_S = 30 * 86400
"""how far such a clock is behind"""

COMMANDS = ("clear_fault", "emptied", "identify")
"""commands that a simulated bin obeys"""
Fate = Literal["item", "jam", "camera", "gate", "drift", "outage", "power cut", "stop"]
FATES: dict[Fate, float] = {
    "item": 1.0,
    "jam": 0.002,
    "camera": 0.001,
    "gate": 0.0005,
    "drift": 0.0004,
    "outage": 0.0008,
    "power cut": 0.0006,
    "stop": 0.0006,
}
"""how often each comes, beside items"""
MESSAGES = {
    "jam": "an item did not leave through the gate of {}: take it off the tray, sorting goes on by itself",
    "camera": "camera: no frame for 3 s",
    "gate": "gate {}: did not close in time",
}


class FleetMessage(NamedTuple):
    """A message of a bin. name: topic below the device."""

    name: str
    payload: bytes
    retain: bool


class Step(NamedTuple):
    """What a bin does at a time. at_s: seconds since the simulation began.

    link: `up` it connects, `left` it says `offline` and leaves, `cut` the connection breaks, `` nothing of these; messages are sent after `up` and
    before `left`.
    """

    at_s: float
    link: Literal["", "up", "left", "cut"]
    messages: tuple[FleetMessage, ...] = ()


@dataclass(frozen=True)
class BinPlan:
    """What makes a bin of the fleet differ from the others. rate: events a second, the mean over a day. begin_s: Unix time at which it begins."""

    device: str
    seed: str
    rate: float
    begin_s: float
    commands: bool = False


class FleetBin:
    """One bin: its ledger, reduced to counts and a number, and its levels."""

    def __init__(self, plan: BinPlan, model: FleetModel) -> None:
        self.counts = FleetCounts(tuple(model.rules.bins))
        self._plan, self._model = plan, model
        self._rng = rng = random.Random(plan.seed)
        self._install, self._boot = self._id(12), ""
        weights = [rng.gammavariate(2.0, 1.0) + 0.1 for _ in model.bundle.labels]
        self._mix = {label: round(weight / sum(weights), 4) for label, weight in zip(model.bundle.labels, weights, strict=True)}
        self._capacity = {name: rng.randint(150, 600) for name in model.rules.bins}
        self._measured = rng.random() < 0.8
        """whether it has level sensors"""
        self._full: dict[str, float] = {}
        """when each full bin is emptied"""
        self._at_s = rng.expovariate(0.2) + (rng.uniform(60, 600) if rng.random() < LATE else 0)
        self._booted_s = self._synced_from_s = self._state_s = self._health_s = 0.0
        self._seq = self._restarts = 0
        self._connected = False
        self._state_due = False
        self._fault: FaultState | None = None
        self._cycles: Counter[str] = Counter()
        """how often each gate opened since the start"""
        self._journal: list[bytes] = []

    def live(self) -> Iterator[Step]:
        """Its steps, in the order of time, without end."""
        while True:
            yield from self._start()
            ended: Fate = "item"
            while ended not in ("power cut", "stop"):
                yield from self._wait(self._next_s())
                ended = self._rng.choices(list(FATES), list(FATES.values()))[0]
                yield from self._happen(ended)
            yield from self._stop(clean=ended == "stop")

    def command(self, name: str, payload: bytes) -> tuple[FleetMessage, ...]:
        """Obey a command, and return what it publishes: events and the answer. A payload that is no command is answered by nothing."""
        try:
            command = msgspec.json.decode(payload, type=Command)
        except msgspec.MsgspecError:
            return ()
        known = name in COMMANDS and (name != "emptied" or command.args.get("bin") in self._capacity)
        messages = self._store(CommandAccepted(command=name, id=command.id, args=command.args)) if known else ()
        if known and name == "emptied":
            messages += self._empty(command.args["bin"], "command")
        code, told = ("done", "") if known else ("unknown", f"expected {', '.join(COMMANDS)}, and for emptied one of its bins")
        answer = CommandResult(id=command.id, command=name, ok=known, code=code, message=told)
        return (*messages, FleetMessage("cmd_result", msgspec.json.encode(answer), False))

    def _start(self) -> Iterator[Step]:
        self._boot, self._booted_s = self._id(12), self._at_s
        self._cycles.clear()
        self._synced_from_s = self._at_s + (self._rng.uniform(5, 60) if self._rng.random() < UNSYNCED else 0)
        self._at_s += self._rng.uniform(0.7, 4)
        started = self._store(Started(version=__version__, bundle=self._model.bundle.name, runtime=RUNTIME, restarts=self._restarts))
        yield self._connect(started)

    def _connect(self, news: tuple[FleetMessage, ...] = ()) -> Step:
        """Connect: retained values first, then the journal from the oldest event that waits."""
        self._connected = True
        waiting, self._journal = tuple(FleetMessage("journal", event, False) for event in self._journal), []
        info = self._model.info(
            self._now(), self._plan.device, self._install, commands=COMMANDS if self._plan.commands else (), measured=self._measured
        )
        retained = (
            FleetMessage("info", msgspec.json.encode(info), True),
            self._state(),
            *(self._bin(name) for name in self._capacity),
            self._health(),
            FleetMessage("availability", b"online", True),
        )
        return Step(self._at_s, "up", (*retained, *waiting, *news))

    def _stop(self, *, clean: bool) -> Iterator[Step]:
        """End this run. A power cut leaves the item that was on its way, and may skip numbers."""
        yield Step(self._at_s, "left" if clean else "cut", (FleetMessage("availability", b"offline", True),) if clean else ())
        self._connected, self._fault, self._restarts = False, None, 0 if clean else self._restarts + 1
        self._at_s += self._rng.uniform(3, 60)
        if not clean:
            self._seq += self._rng.randint(0, BLOCK)
            label = self._label()
            self._at_s, self._booted_s = self._at_s + 0.1, self._at_s
            self._store(ItemInterrupted(item=self._id(32), bin=self._model.rules.bin_of(label), label=label, reason="restart"))

    def _wait(self, until_s: float) -> Iterator[Step]:
        """Go on to a time; do on the way what is due: state, health, emptying."""
        while True:
            due: list[tuple[float, Callable[[], tuple[FleetMessage, ...]]]] = [(self._health_s + HEALTH_S, lambda: (self._health(),))]
            due += [(at_s, functools.partial(self._empty, name, "sensor")) for name, at_s in self._full.items()]
            if self._state_due:
                due.append((self._state_s + STATE_S, lambda: (self._state(),)))
            at_s, act = min(due, key=lambda each: each[0])
            if at_s > until_s:
                self._at_s = until_s
                return
            self._at_s = max(self._at_s, at_s)
            if messages := act():
                yield self._step(messages)

    def _happen(self, fate: Fate) -> Iterator[Step]:
        match fate:
            case "item":
                yield self._step(self._item())
            case "jam" | "camera" | "gate":
                yield from self._fail(fate)
            case "drift":
                yield self._step(self._store(Drift(signal="brightness", strayed=-5.1, message="the picture is darker than before: look at the lamp")))
            case "outage":
                yield Step(self._at_s, "cut")
                self._connected = False
                yield from self._work_until(self._at_s + self._rng.uniform(10, 100) / self._plan.rate)
                yield self._connect()
            case "power cut" | "stop":
                pass

    def _work_until(self, until_s: float) -> Iterator[Step]:
        while (next_s := self._next_s()) < until_s:
            yield from self._wait(next_s)
            yield self._step(self._item())
        yield from self._wait(until_s)

    def _fail(self, kind: Literal["jam", "camera", "gate"]) -> Iterator[Step]:
        name = self._rng.choice(list(self._capacity))
        jam = self._store(Jam(item=self._id(32), bin=name, waited_s=round(self._rng.uniform(8, 9), 3))) if kind == "jam" else ()
        fault, lasts_s = Fault(fault=kind, message=MESSAGES[kind].format(name)), self._rng.uniform(5, 60)
        self._fault = fault_state(fault, self._now().time)
        yield self._step(jam + self._store(fault))
        yield from self._wait(self._at_s + lasts_s)
        self._fault = None
        yield self._step(self._store(Cleared(fault=kind, lasted_s=round(lasts_s, 2))))

    def _item(self) -> tuple[FleetMessage, ...]:
        """Judge one item. One in three hundred is unlike all that is known, and so is one in a hundred two things."""
        rules, draw = self._model.rules, self._rng.random()
        probabilities = self._probabilities(self._label())
        label, p = max(probabilities.items(), key=lambda each: each[1])
        own = rules.bin_of(label)
        p_own = sum(each for other, each in probabilities.items() if rules.bin_of(other) == own)
        reason: Any = "unknown" if draw < 0.003 else "several" if draw < 0.013 else "unsure" if p_own < 0.7 else "full" if own in self._full else ""
        into = rules.residual if reason else own
        item = ItemSorted(
            item=self._id(32),
            bin=into,
            label=label,
            p=p,
            probabilities=probabilities,
            frames=self._rng.randint(1, 5),
            decided_s=round(self._rng.uniform(0.5, 1.4), 3),
            moved_s=round(self._rng.uniform(0.8, 1.6), 3),
            bundle=self._model.bundle.name,
            isolated=True,
            unknown=round(self._rng.betavariate(1, 9), 4),
            pieces=2 if reason == "several" else 1,
            p_right=round(sum(each for other, each in probabilities.items() if rules.bin_of(other) == into), 6),
        )
        self._cycles[into] += 1
        messages = self._store(ItemRejected(**msgspec.structs.asdict(item), reason=reason) if reason else item)
        return messages + self._fill(into) + (self._bin(into),)

    def _fill(self, name: str) -> tuple[FleetMessage, ...]:
        percent = self._percent(name)
        if not self._measured or name in self._full or percent < FULL_PERCENT:
            return ()
        self._full[name] = self._at_s + self._rng.uniform(20, 200) / self._plan.rate
        return self._store(BinFull(bin=name, percent=round(percent, 1), source="ultrasonic"))

    def _empty(self, name: str, by: Literal["command", "sensor"]) -> tuple[FleetMessage, ...]:
        self._full.pop(name, None)
        return (*self._store(BinEmptied(bin=name, by=by, items=self.counts.items_in(name))), self._bin(name))

    def _store(self, event: Event) -> tuple[FleetMessage, ...]:
        """Number and count an event. Returns its messages; while there is no connection it waits."""
        self._seq += 1
        now = self._now()
        names = {"device": self._plan.device, "install": self._install, "seq": self._seq}
        times = {"boot": now.boot, "uptime_s": now.uptime_s, "time": now.time, "clock": now.clock}
        stored: Any = msgspec.structs.replace(event, **names, **times)
        self.counts.add(stored)
        self._state_due = True
        payload = encode(stored)
        if not self._connected:
            self._journal.append(payload)
            return ()
        return FleetMessage("event", payload, False), FleetMessage("journal", payload, False)

    def _step(self, messages: tuple[FleetMessage, ...]) -> Step:
        """A step with `state`, where that is due too."""
        if self._state_due and self._at_s >= self._state_s + STATE_S:
            messages = (*messages, self._state())
        return Step(self._at_s, "", messages if self._connected else ())

    def _state(self) -> FleetMessage:
        self._state_s, self._state_due = self._at_s, False
        return FleetMessage("state", msgspec.json.encode(self.counts.state(self._now(), self._fault)), True)

    def _bin(self, name: str) -> FleetMessage:
        state = self.counts.bin_state(self._now(), name, self._percent(name) if self._measured else None, name in self._full)
        return FleetMessage(f"bin/{name}", msgspec.json.encode(state), True)

    def _health(self) -> FleetMessage:
        self._health_s = self._at_s
        gates = {
            name: GateHealth(cycles=self._cycles[name], open_s=round(1.2 * self._cycles[name], 1), last_fault="", last_fault_time=None)
            for name in self._capacity
        }
        return FleetMessage("health", msgspec.json.encode(health(self._now(), self._rng, self._restarts, self._mix, gates)), True)

    def _percent(self, name: str) -> float:
        return min(100.0, 100.0 * self.counts.items_in(name) / self._capacity[name])

    def _now(self) -> Reading:
        """The time as the bin's clocks have it."""
        synced = self._at_s >= self._synced_from_s
        wall_s = self._plan.begin_s + self._at_s - (0 if synced else CLOCK_BEHIND_S)
        label = datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return Reading(self._boot, round(self._at_s - self._booted_s, 3), label, "synced" if synced else "unsynced")

    def _next_s(self) -> float:
        """When the next thing happens: seldom at night (UTC), often in the afternoon, `rate` on the mean of a day."""
        hour = (self._plan.begin_s + self._at_s) / 3600 % 24
        return self._at_s + self._rng.expovariate(self._plan.rate * (1 + 0.9 * math.sin((hour - 9) / 24 * math.tau)))

    def _label(self) -> str:
        return self._rng.choices(list(self._mix), list(self._mix.values()))[0]

    def _probabilities(self, likeliest: str) -> dict[str, float]:
        """Mostly sure, now and then not. They sum to 1."""
        p = round(1 - 0.75 * self._rng.random() ** 5, 6)
        others = [other for other in self._mix if other != likeliest]
        shares = [self._rng.random() ** 3 for _ in others]
        rest = {other: round((1 - p) * share / sum(shares), 6) for other, share in zip(others, shares, strict=True)}
        return {label: rest[label] if label in rest else round(1 - sum(rest.values()), 6) for label in self._mix}

    def _id(self, digits: int) -> str:
        return f"{self._rng.getrandbits(4 * digits):0{digits}x}"
