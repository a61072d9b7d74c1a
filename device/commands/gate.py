"""`sortbin gate`: move one gate by hand, find a servo's pulses, or make all outputs safe."""

import argparse
import functools
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from device.common.cli import float_range, int_range
from device.common.default_paths import DEFAULT_FILE, DEFAULT_STATE
from device.common.journal_log import with_level
from device.common.shutdown import stop_on_signals
from device.gates import Gate, GateError, Position
from device.gates.claimed_outputs import claimed, forget_claim
from device.gates.kinds import GateSettings
from device.gates.release import make_safe, read_gates
from device.gates.servo import LONGEST_US, SHORTEST_US

TICK_S = 0.02
SLOW_TRAVEL_S = 2.0
HOLD_S, LONGEST_HOLD_S = 10.0, 600.0
LET_GO_S = 0.25
"""so long before `max_on_s` a line that is held is let go"""
MOVE_S = 15.0
"""more than any gate takes for its way"""


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `gate` to the command line."""
    parser = commands.add_parser(
        "gate",
        help="move one gate by hand, or make all outputs safe",
        description="Open and close the gate over one bin, slowly, to see that it is wired and set right. Without BIN, list the gates. "
        "Stop the service first, for it holds the gates. Outputs are switched off at the end: a servo stays where it is, a line lets go. "
        "Ctrl-Z and a lost connection end it, too. --release makes safe what it finds, whatever else is wrong with the settings. "
        "Exit status: 0 done, 1 an output could not be made safe or be read of (--release), 2 settings or hardware that cannot be used.",
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
    """Do what was asked. Returns the exit status."""
    stop = stop_on_signals()
    if arguments.release:
        return _release(arguments.config)
    # Imported here: without what the camera needs, --release is done three times as fast after a crash, and works where that is broken.
    from device.settings import read_settings

    gates = read_settings(arguments.config).gate
    if arguments.bin is None:
        if arguments.open or arguments.close or arguments.pulse is not None:
            raise GateError(f"name the bin whose gate to move: {', '.join(name for each in gates for name in each.serves)}")
        _list(gates, as_json=arguments.json)
        return 0
    name = arguments.bin
    settings = _find(gates, name)
    if not arguments.full_speed:
        settings = settings.slowed(SLOW_TRAVEL_S)
    if arguments.pulse is not None:
        settings = settings.at_pulse(name, arguments.pulse)
    hold_s = _hold_s(settings, arguments.seconds)
    gate = settings.claim()
    try:
        if arguments.pulse is not None:
            _hold(gate, name, f"{name}: at {arguments.pulse:g} us", hold_s, stop)
        elif arguments.open:
            _hold(gate, name, f"{name}: open", hold_s, stop)
        elif arguments.close:
            _move(gate, gate.close, f"{name}: closed", stop)
        else:
            for _ in range(arguments.times):
                _move(gate, functools.partial(gate.open, name), f"{name}: open", stop)
                _move(gate, gate.close, f"{name}: closed", stop)
    finally:
        gate.release()
    return 0


def _release(file: Path) -> int:
    """Make all outputs safe that the settings file names or that a bin had claimed when it died. Returns the exit status."""
    found = read_gates(file)
    states = dict.fromkeys((found.state or DEFAULT_STATE, DEFAULT_STATE))
    left_on = {state: gates for state in states if (gates := claimed(state))}
    # What was claimed comes last: it says how the outputs really were wired.
    errors: list[object] = list(make_safe(found.gates))
    for state, gates in left_on.items():
        unsafe = make_safe(gates)
        errors += unsafe
        if not unsafe:
            forget_claim(state)
    for line in (*found.troubles, *errors):
        print(with_level(f"sortbin gate: {line}", logging.ERROR), file=sys.stderr)
    return 1 if errors or (found.troubles and not left_on) else 0


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
    raise GateError(f'no [[gate]] with bin = "{name}"; there is {", ".join(name for each in gates for name in each.serves) or "none"}')


def _hold_s(settings: GateSettings, asked_s: float | None) -> float:
    """How long it may be held: as asked, or by itself as long as is usual and the gate allows."""
    most_s = max(0.0, settings.max_on_s - settings.way_s - LET_GO_S)
    if asked_s is None:
        return min(HOLD_S, most_s)
    if asked_s > most_s:
        raise GateError(
            f"gate {settings.name}: --seconds: expected at most {most_s:g}, since its max_on_s is {settings.max_on_s:g}; found {asked_s:g}"
        )
    return asked_s


def _hold(gate: Gate, bin_: str, there: str, hold_s: float, stop: threading.Event) -> None:
    _move(gate, functools.partial(gate.open, bin_), there, stop)
    until_s = time.monotonic() + hold_s
    _carry_on(gate, lambda: time.monotonic() >= until_s, stop)


def _move(gate: Gate, start: Callable[[float], None], there: str, stop: threading.Event) -> None:
    if stop.is_set():
        return
    began_s = time.monotonic()
    start(began_s)
    _carry_on(gate, lambda: gate.position in (Position.OPEN, Position.CLOSED), stop, limit_s=MOVE_S)
    if not stop.is_set():
        print(f"{there} after {time.monotonic() - began_s:.1f} s", flush=True)


def _carry_on(gate: Gate, until: Callable[[], bool], stop: threading.Event, *, limit_s: float = float("inf")) -> None:
    deadline_s = time.monotonic() + limit_s
    while not until() and not stop.wait(TICK_S):
        now_s = time.monotonic()
        gate.update(now_s)
        if now_s > deadline_s:
            raise GateError(f"the gate did not arrive within {limit_s:g} s")
