"""`sortbin gate`: move one gate by hand, find a servo's pulses, or make all outputs safe."""

import argparse
import functools
import json
import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device.common.cli import float_range, int_range
from device.common.default_paths import DEFAULT_FILE, DEFAULT_STATE
from device.common.journal_log import with_level
from device.common.shutdown import stop_on_signals
from device.gates import Gate, GateError, Position
from device.gates.claimed_outputs import clear_claim, read_claim
from device.gates.kinds import GateSettings
from device.gates.release import make_safe, read_gates
from device.gates.servo import LONGEST_US, SHORTEST_US

TICK_S = 0.02
SLOW_TRAVEL_S = 2.0
HOLD_S, LONGEST_HOLD_S = 10.0, 600.0
LET_GO_S = 0.25
"""how long before `max_on_s` a held line is switched off"""
MOVE_S = 15.0
"""longer than any usual gate takes to arrive"""


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `gate` to the command line."""
    parser = commands.add_parser(
        "gate",
        help="move one gate by hand, or make all outputs safe",
        description="Open and close the gate over one bin, slowly, to check its wiring and settings. Without BIN, list the gates. "
        "Stop the service first, since it holds the gates. Outputs are switched off at the end: a servo stays where it is, a line closes. "
        "Ctrl-Z and a lost connection end the command, too. --release works with mistakes in the settings. "
        "Exit status: 0 done, 1 an output could not be made safe or not be read from the settings (--release), 2 unusable settings or hardware.",
    )
    parser.add_argument("bin", metavar="BIN", nargs="?", help="the bin whose gate to move")
    parser.add_argument("--config", type=Path, default=DEFAULT_FILE, metavar="FILE", help="settings file (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="list the gates as JSON")
    parser.add_argument("--full-speed", action="store_true", help="move a servo as fast as its settings say, not slowly")
    parser.add_argument(
        "--seconds",
        type=float_range(ge=0, le=LONGEST_HOLD_S, unit="seconds"),
        metavar="S",
        help="how long --open and --pulse hold it (default: 10, or as long as max_on_s of a line allows)",
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--open", action="store_true", help="open it and hold it")
    action.add_argument("--close", action="store_true", help="close it")
    action.add_argument("--times", type=int_range(1, 1000), default=1, metavar="N", help="open and close it N times (default: 1)")
    action.add_argument(
        "--pulse",
        type=float_range(ge=SHORTEST_US, le=LONGEST_US, unit="microseconds"),
        metavar="US",
        help="move a servo to this pulse, in microseconds, and hold it: to find closed_us and open_us",
    )
    action.add_argument("--release", action="store_true", help="switch off the outputs of all gates, as the service does after any exit")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Returns the exit status."""
    stop = stop_on_signals()
    if arguments.release:
        return _release(arguments.config)
    # Imported here: without the camera's packages, --release is three times as fast after a crash, and works if they are broken.
    from device.settings import read_settings

    gates = read_settings(arguments.config).gate
    if arguments.bin is None:
        if arguments.open or arguments.close or arguments.pulse is not None:
            raise GateError(f"name the bin whose gate to move: {', '.join(_bins(gates))}")
        _list(gates, as_json=arguments.json)
        return 0
    settings = _find(gates, arguments.bin)
    if not arguments.full_speed:
        settings = settings.slowed(SLOW_TRAVEL_S)
    if arguments.pulse is not None:
        settings = settings.at_pulse(arguments.bin, arguments.pulse)
    hold_s = _hold_s(settings, arguments.seconds)
    gate = settings.claim()
    try:
        _move(_ManualGate(gate, arguments.bin, stop), arguments, hold_s)
    finally:
        gate.release()
    return 0


@dataclass(frozen=True)
class _ManualGate:
    """A gate that is moved over one of its bins until a signal sets `stop`. Each move is printed with its time."""

    gate: Gate
    bin: str
    stop: threading.Event

    def open(self, at: str = "open") -> None:
        self._move(functools.partial(self.gate.open, self.bin), at)

    def close(self) -> None:
        self._move(self.gate.close, "closed")

    def hold(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        self._update_until(lambda: time.monotonic() >= until_s)

    def _move(self, start: Callable[[float], None], at: str) -> None:
        if self.stop.is_set():
            return
        began_s = time.monotonic()
        start(began_s)
        self._update_until(lambda: self.gate.position in (Position.OPEN, Position.CLOSED), MOVE_S)
        if not self.stop.is_set():
            print(f"{self.bin}: {at} after {time.monotonic() - began_s:.1f} s", flush=True)

    def _update_until(self, reached: Callable[[], bool], limit_s: float = math.inf) -> None:
        deadline_s = time.monotonic() + limit_s
        while not reached() and not self.stop.wait(TICK_S):
            now_s = time.monotonic()
            self.gate.update(now_s)
            if now_s > deadline_s:
                raise GateError(f"the gate did not arrive within {limit_s:g} s")


def _move(gate: _ManualGate, arguments: argparse.Namespace, hold_s: float) -> None:
    if arguments.pulse is not None:
        gate.open(f"at {arguments.pulse:g} us")
        gate.hold(hold_s)
    elif arguments.open:
        gate.open()
        gate.hold(hold_s)
    elif arguments.close:
        gate.close()
    else:
        for _ in range(arguments.times):
            gate.open()
            gate.close()


def _release(file: Path) -> int:
    """Make all outputs safe that are in the settings file or were claimed by a bin that crashed. Returns the exit status."""
    found = read_gates(file)
    states = dict.fromkeys((found.state or DEFAULT_STATE, DEFAULT_STATE))
    left_on = {state: gates for state in states if (gates := read_claim(state))}
    # Claimed gates come last, since they say how the outputs really were wired.
    errors: list[object] = list(make_safe(found.gates))
    for state, gates in left_on.items():
        unsafe = make_safe(gates)
        errors += unsafe
        if not unsafe:
            clear_claim(state)
    for line in (*found.mistakes, *errors):
        print(with_level(f"sortbin gate: {line}", logging.ERROR), file=sys.stderr)
    return 1 if errors or (found.mistakes and not left_on) else 0


def _list(gates: Sequence[GateSettings], *, as_json: bool) -> None:
    rows = [{"bin": name, "kind": each.kind, "output": each.describe(name)} for each in gates for name in each.serves]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    for row in rows:
        print(f"{row['bin']}: {row['kind']}{', ' if row['output'] else ''}{row['output']}")


def _find(gates: Sequence[GateSettings], name: str) -> GateSettings:
    for each in gates:
        if name in each.serves:
            return each
    raise GateError(f'no [[gate]] with bin = "{name}"; there is {", ".join(_bins(gates)) or "none"}')


def _bins(gates: Sequence[GateSettings]) -> list[str]:
    return [name for each in gates for name in each.serves]


def _hold_s(settings: GateSettings, asked_s: float | None) -> float:
    """How long the gate is held open, seconds: as asked, by default HOLD_S or as long as the gate allows."""
    most_s = max(0.0, settings.max_on_s - settings.way_s - LET_GO_S)
    if asked_s is None:
        return min(HOLD_S, most_s)
    if asked_s > most_s:
        raise GateError(
            f"gate {settings.name}: --seconds: expected at most {most_s:g}, since its max_on_s is {settings.max_on_s:g}; found {asked_s:g}"
        )
    return asked_s
