"""What the ledger counts, without a disk: by bin, kind, label and reason, since it began, today, and since each bin was emptied.

Only the counts since the ledger began go up. Beside each stands what it was when the day began, and when its bin was emptied last; a difference gives
the others. So an event changes one row, and a finished day is written once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple, get_args

from device.events import AnyEvent, BinEmptied, Hazard, ItemInterrupted, ItemRejected, ItemSorted, Jam

KINDS = ("sorted", "rejected", "interrupted", "jams", "hazards", "emptied")
"""what is counted for a bin"""
REASONS: tuple[str, ...] = get_args(ItemRejected.__annotations__["reason"])
"""why items are rejected"""
MILLIONTHS = 1_000_000


class Counted(NamedTuple):
    """What a count is of. label, reason: empty where the event has none, and in counts of earlier versions."""

    bin: str
    kind: str
    """one of KINDS"""
    label: str = ""
    reason: str = ""


class Amount(NamedTuple):
    """Events, and how many of their items are expected to be in the wrong bin, in millionths of an item."""

    n: int = 0
    wrong_millionths: int = 0

    def plus(self, other: "Amount") -> "Amount":
        """The sum."""
        return Amount(self.n + other.n, self.wrong_millionths + other.wrong_millionths)

    def minus(self, other: "Amount") -> "Amount":
        """The difference, nowhere below 0."""
        return Amount(max(0, self.n - other.n), max(0, self.wrong_millionths - other.wrong_millionths))

    def most(self, other: "Amount") -> "Amount":
        """The larger of each."""
        return Amount(max(self.n, other.n), max(self.wrong_millionths, other.wrong_millionths))


NONE = Amount()


class Tally(NamedTuple):
    """One count since the ledger began, and what it was when the day began and when its bin was emptied last."""

    ever: Amount = NONE
    before_day: Amount = NONE
    before_emptied: Amount = NONE

    @property
    def today(self) -> Amount:
        """The count of the present day."""
        return self.ever.minus(self.before_day)

    @property
    def since_emptied(self) -> Amount:
        """The count since the bin was emptied; since the ledger began where it never was."""
        return self.ever.minus(self.before_emptied)


@dataclass(frozen=True, slots=True)
class Tallies:
    """All counts as of one commit. Never changed, only replaced: any thread may read them."""

    rows: Mapping[Counted, Tally] = field(default_factory=dict)
    emptied: Mapping[str, str] = field(default_factory=dict)
    """time by bin: RFC 3339, UTC, by the device's clock"""
    day: str = ""
    """the present day, as of the newest event that was counted: local, YYYY-MM-DD"""


Days = dict[str, dict[Counted, Amount]]
"""counts by day"""


@dataclass(frozen=True, slots=True)
class Advance:
    """What events change: the tallies after them, and what of that is to be written."""

    tallies: Tallies
    changed: set[Counted]
    finished: Days
    """what is to be added to days that are over; the same day may come again where the clock was put back"""


def advance(before: Tallies, events: Iterable[AnyEvent]) -> Advance:
    """Count stored events."""
    rows, emptied, day = dict(before.rows), dict(before.emptied), before.day
    changed: set[Counted] = set()
    finished: Days = {}
    for event in events:
        if (counted := counted_as(event)) is None:
            continue
        if (on := day_of(event.time) or day) != day:
            for each, tally in rows.items():
                if tally.today != NONE:
                    of_day = finished.setdefault(day, {})
                    of_day[each] = of_day.get(each, NONE).plus(tally.today)
                    rows[each] = tally._replace(before_day=tally.ever)
                    changed.add(each)
            day = on
        tally = rows.get(counted, Tally())
        rows[counted] = tally._replace(ever=tally.ever.plus(Amount(1, _wrong_millionths(event))))
        changed.add(counted)
        if isinstance(event, BinEmptied):
            emptied[event.bin] = event.time
            of_bin = [each for each in rows if each.bin == event.bin]
            rows.update({each: rows[each]._replace(before_emptied=rows[each].ever) for each in of_bin})
            changed.update(of_bin)
    return Advance(Tallies(rows, emptied, day), changed, finished)


def counted_as(event: AnyEvent) -> Counted | None:
    """What an event adds to; None for an event without a bin."""
    match event:
        case ItemSorted(bin=bin, label=label):
            return Counted(bin, "sorted", label)
        case ItemRejected(bin=bin, label=label, reason=reason):
            return Counted(bin, "rejected", label, reason)
        case ItemInterrupted(bin=bin, label=label):
            return Counted(bin, "interrupted", label)
        case Jam(bin=bin):
            return Counted(bin, "jams")
        case Hazard(bin=bin, label=label) if bin:
            return Counted(bin, "hazards", label)
        case BinEmptied(bin=bin):
            return Counted(bin, "emptied")
        case _:
            return None


def day_of(time: str) -> str | None:
    """The local day of an event's time, YYYY-MM-DD; None where that is no time."""
    try:
        return datetime.fromisoformat(time).astimezone().date().isoformat()
    except (ValueError, OverflowError, OSError):
        return None


def most(one: Tallies, other: Tallies) -> Tallies:
    """Of two incomplete tallies of the same events, the larger count of each. The later day and the later emptying count."""
    day = max(one.day, other.day)
    emptied = {name: max(one.emptied.get(name, ""), other.emptied.get(name, "")) for name in {*one.emptied, *other.emptied}}
    rows = {}
    for each in {*one.rows, *other.rows}:
        ever = today = since_emptied = NONE
        for tallies in (one, other):
            tally = tallies.rows.get(each, Tally())
            ever = ever.most(tally.ever)
            if tallies.day == day:
                today = today.most(tally.today)
            if tallies.emptied.get(each.bin, "") == emptied.get(each.bin, ""):
                since_emptied = since_emptied.most(tally.since_emptied)
        rows[each] = Tally(ever, ever.minus(today), ever.minus(since_emptied))
    return Tallies(rows, emptied, day)


def with_older(tallies: Tallies, totals: Mapping[tuple[str, str], int]) -> Tallies:
    """Tallies raised to totals by (bin, kind), such as an earlier version stored: what they are short of has neither label, reason nor day."""
    rows = dict(tallies.rows)
    for (name, kind), total in totals.items():
        short = total - sum(tally.ever.n for each, tally in rows.items() if (each.bin, each.kind) == (name, kind))
        if short > 0:
            tally, older = rows.get(Counted(name, kind), Tally()), Amount(short)
            before_emptied = tally.before_emptied.plus(older) if name in tallies.emptied else tally.before_emptied
            rows[Counted(name, kind)] = Tally(tally.ever.plus(older), tally.before_day.plus(older), before_emptied)
    return replace(tallies, rows=rows)


def _wrong_millionths(event: AnyEvent) -> int:
    if not isinstance(event, ItemSorted):
        return 0
    p_right = event.p if event.p_right is None else event.p_right
    return round(MILLIONTHS * min(1.0, max(0.0, 1.0 - p_right)))
