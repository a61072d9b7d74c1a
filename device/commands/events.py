"""`sortbin events`: list the events in a ledger, or count them."""

import argparse
import functools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec

from device.common.cli import int_range
from device.common.csv_output import CsvOutput
from device.common.errors import SortbinError, UsageError
from device.common.text_width import padded, width
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
from device.ledger.reader import NUMBERS_UP_TO, read_counts, read_events
from device.ledger.report import GroupBy, GroupCounts, group_counts
from device.ledger.tallies import REASONS
from device.ledger.tally_tables import DAYS

FOLLOW_S = 0.5
TYPES = tuple(str(kind.__struct_config__.tag) for kind in get_args(AnyEvent))
_COUNTED = tuple(name for name in GroupCounts.__struct_fields__ if name != "reasons")
COLUMNS = ("seq", "time", "clock", "type", "bin", "label", "p", "p_right", "reason", "item", "text")
"""of `--csv`; `text` is what is printed for people"""


@dataclass(frozen=True, slots=True)
class Moment:
    """A time that the user gave."""

    written: str
    time: str
    """as events have it"""
    day: str
    """the local day, where a day was given; else empty"""


class _Head(msgspec.Struct):
    type: str = ""
    time: str = ""


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `events` to the command line."""
    parser = commands.add_parser(
        "events",
        help="list or count what happened in this bin",
        description="List the events in a ledger, oldest first, or count them with --by; the daemon may be running meanwhile. Times are UTC, and "
        "marked with ~ where the clock was not synchronised; days are local. Exit status: 0 listed, 2 no ledger there or it cannot be read.",
    )
    parser.add_argument("--state", type=Path, default=Path("/var/lib/sortbin"), metavar="DIR", help="folder of the ledger (default: %(default)s)")
    parser.add_argument("--since", type=int_range(0, NUMBERS_UP_TO), default=0, metavar="SEQ", help="only events with a number above this one")
    parser.add_argument("--after", type=moment, metavar="TIME", help="only from then on: 2026-11-01 (local), or 2026-11-01T08:00:00Z")
    parser.add_argument("--before", type=moment, metavar="TIME", help="only what was before then")
    parser.add_argument("--type", nargs="+", action="extend", choices=TYPES, default=[], metavar="TYPE", help=f"only these: {', '.join(TYPES)}")
    parser.add_argument(
        "--by",
        nargs="+",
        choices=get_args(GroupBy),
        default=[],
        metavar="GROUP",
        help="count instead: --by day, --by bin label, ...",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line; an event as on the topic `journal`")
    form.add_argument("--csv", action="store_true", help="a table for LibreOffice or Excel")
    parser.add_argument("--follow", action="store_true", help="go on with what happens from now on, until Ctrl-C")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print events, or counts of them. Returns the exit status."""
    after, before = arguments.after, arguments.before
    if after and before and after.time >= before.time:
        raise UsageError(f"--before: expected a time after that of --after, {after.written}; found {before.written}")
    if arguments.by:
        return _print_counts(arguments)
    last, show = arguments.since, _event_writer(arguments)
    while True:
        for seq, payload in read_events(arguments.state, last, _warn):
            if _wanted(payload, arguments):
                show(seq, payload)
            last = seq
        if not arguments.follow:
            return 0
        time.sleep(FOLLOW_S)


def moment(text: str) -> Moment:
    """A local day, which stands for its beginning, or a time; without a zone it is local. Raises ArgumentTypeError."""
    try:
        at = datetime.fromisoformat(text)
        utc = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a day such as 2026-11-01, or a time such as 2026-11-01T08:00:00Z") from None
    return Moment(text, utc, at.date().isoformat() if len(text) == len("2026-11-01") else "")


def _wanted(payload: bytes, arguments: argparse.Namespace) -> bool:
    if not (arguments.type or arguments.after or arguments.before):
        return True
    try:
        head = msgspec.json.decode(payload, type=_Head)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    after, before = arguments.after, arguments.before
    return (not arguments.type or head.type in arguments.type) and (not after or head.time >= after.time) and (not before or head.time < before.time)


def _event_writer(arguments: argparse.Namespace) -> Callable[[int, bytes], None]:
    """What prints one event in the form that was asked for."""
    if arguments.csv:
        output = CsvOutput(COLUMNS)
        return lambda seq, payload: output.write(_cells(seq, payload), arguments.follow)
    if arguments.json:
        return lambda _, payload: print(payload.decode(errors="replace"), flush=arguments.follow)
    return lambda seq, payload: print(line(seq, payload), flush=arguments.follow)


def _cells(seq: int, payload: bytes) -> list[object]:
    try:
        event = decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return [seq, *[None] * (len(COLUMNS) - 2), payload.decode(errors="replace")]
    of_event = {"type": event.__struct_config__.tag, "text": _summary(event)}
    return [of_event.get(name) or getattr(event, name, None) for name in COLUMNS]


def _print_counts(arguments: argparse.Namespace) -> int:
    for option, given in (("--type", arguments.type), ("--since", arguments.since), ("--follow", arguments.follow)):
        if given:
            raise SortbinError(f"{option}: cannot be used with --by, which counts every event")
    days = []
    for option, given in (("--after", arguments.after), ("--before", arguments.before)):
        if given and not given.day:
            raise SortbinError(f"{option}: expected a day such as 2026-11-01 with --by, which counts whole days; found {given.written!r}")
        days.append(given.day if given else "")
    by = list(dict.fromkeys(arguments.by))
    counts = read_counts(arguments.state)
    groups = group_counts(counts, by, *days)
    if arguments.csv:
        output = CsvOutput([*by, "sorted", "rejected", *(f"rejected_{reason}" for reason in REASONS), *_COUNTED[2:]])
        for group, of_group in groups:
            reasons = [of_group.reasons.get(reason, 0) for reason in REASONS]
            output.write([*group, of_group.sorted, of_group.rejected, *reasons, *(getattr(of_group, name) for name in _COUNTED[2:])])
    elif arguments.json:
        for group, of_group in groups:
            print(msgspec.json.encode(dict(zip(by, group, strict=True)) | msgspec.structs.asdict(of_group)).decode())
    else:
        _print_table(by, groups)
        whole = "day" not in by and not any(days)
        print(f"since {counts.since or 'a time that was not noted'}" if whole else f"days are local; the newest {DAYS} are kept")
    return 0


def _print_table(by: list[GroupBy], groups: list[tuple[tuple[str, ...], GroupCounts]]) -> None:
    rows = [[*by, *_COUNTED]]
    rows += [[*(value or "-" for value in group), *(_number(getattr(of_group, name)) for name in _COUNTED)] for group, of_group in groups]
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        texts = [padded(cell, columns) for cell, columns in zip(row[: len(by)], widths, strict=False)]
        numbers = [f"{cell:>{columns}}" for cell, columns in zip(row[len(by) :], widths[len(by) :], strict=True)]
        print("  ".join([*texts, *numbers]))


def _number(value: float) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


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
