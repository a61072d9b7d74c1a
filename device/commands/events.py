"""`sortbin events`: list the events in a ledger."""

import argparse
import functools
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from device.common.cli import int_range
from device.events import (
    AnyEvent,
    BinEmptied,
    BinFull,
    Cleared,
    CommandAccepted,
    Drift,
    Event,
    Fault,
    Hazard,
    ItemInterrupted,
    ItemRejected,
    ItemSorted,
    Jam,
    Started,
    decode,
)
from device.ledger.reader import NUMBERS_UP_TO, read_events

FOLLOW_S = 0.5


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `events` to the command line."""
    parser = commands.add_parser(
        "events",
        help="list what happened in this bin",
        description="List the events in a ledger, oldest first; the daemon may be running meanwhile. Times are UTC, and marked with ~ "
        "where the clock was not synchronised. Exit status: 0 listed, 2 no ledger there or it cannot be read.",
    )
    parser.add_argument("--state", type=Path, default=Path("/var/lib/sortbin"), metavar="DIR", help="folder of the ledger (default: %(default)s)")
    parser.add_argument("--since", type=int_range(0, NUMBERS_UP_TO), default=0, metavar="SEQ", help="only events with a number above this one")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, as on the topic `journal`")
    parser.add_argument("--follow", action="store_true", help="go on with what happens from now on, until Ctrl-C")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one line for each event. Returns the exit status."""
    last = arguments.since
    while True:
        for seq, payload in read_events(arguments.state, last, _warn):
            print(payload.decode(errors="replace") if arguments.json else line(seq, payload), flush=arguments.follow)
            last = seq
        if not arguments.follow:
            return 0
        time.sleep(FOLLOW_S)


@functools.cache
def _warn(what: str) -> None:
    """Print a remark on stderr, once however often it comes up."""
    print(f"sortbin events: {what}", file=sys.stderr)


def line(seq: int, payload: bytes) -> str:
    """An event for people: number, time, type, summary. An event of a type that this version cannot read stays JSON."""
    try:
        event = decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return f"{seq:>8}  {payload.decode(errors='replace')}"
    kind = event.__struct_config__.tag
    return f"{seq:>8}  {_timestamp(event)}  {kind:<16}  {_summary(event)}"


def _timestamp(event: Event) -> str:
    return event.time[:19].replace("T", " ") + (" " if event.clock == "synced" else "~")


def _summary(event: AnyEvent) -> str:
    match event:
        case ItemSorted():
            return f"{event.label} {event.p:.1%} -> {event.bin}"
        case ItemRejected():
            return f"{event.label} {event.p:.1%} -> {event.bin} ({event.reason})"
        case ItemInterrupted():
            return f"{event.label} -> {event.bin}, arrival not confirmed ({event.reason})"
        case Hazard():
            return f"{event.label} {event.p:.1%} -> {event.bin or 'held'}"
        case Jam():
            return f"at the gate of {event.bin}, after {event.waited_s:.1f} s"
        case Fault():
            return f"{event.fault}: {event.message}"
        case Cleared():
            return f"{event.fault}, after {event.lasted_s:.0f} s"
        case Drift():
            return f"{event.signal}: {event.message}"
        case Started():
            crashes = f", restart {event.restarts} without a clean stop" if event.restarts else ""
            return f"sortbin {event.version}, {event.bundle} on {event.runtime}{crashes}"
        case BinFull():
            return event.bin + ("" if event.percent is None else f", {event.percent:.0f} %") + f", says its sensor ({event.source})"
        case BinEmptied():
            return f"{event.bin}, {event.items} items ({'a person said so' if event.by == 'command' else 'seen by its sensor'})"
        case CommandAccepted():
            arguments = " ".join(f"{name}={value}" for name, value in event.args.items())
            return " ".join(filter(None, (event.command, arguments, f"({event.id})")))
