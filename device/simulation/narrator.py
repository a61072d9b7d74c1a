"""The lines that the demo prints: one for each item, and a summary if the true labels are known."""

import queue
import threading
import time
from collections import Counter, deque
from typing import TextIO

from device.common.statistics import wilson_interval
from device.common.text_width import padded, width
from device.common.wording import counted
from device.events import AnyEvent, BinEmptied, BinFull, Cleared, Fault, Hazard, ItemInterrupted, ItemRejected, ItemSorted, Jam, Started
from device.policy.rules import RulePack
from device.simulation.bin import FallenItem

WHAT_COLUMNS, LABEL_COLUMNS = 26, 12


class Narrator:
    """Prints events to `out`, on a thread of its own, and sets `stop` after `most` items (None: never)."""

    def __init__(self, out: TextIO, stop: threading.Event, most: int | None) -> None:
        self._out, self._stop, self._most = out, stop, most
        self._started, self._held = threading.Event(), threading.Event()
        self._events: queue.SimpleQueue[AnyEvent | None] = queue.SimpleQueue()
        self._fallen: deque[FallenItem] = deque()
        self._rules: RulePack | None = None
        self._items = self._rejected = self._hazards_held = 0
        self._bin_columns = 0
        self._landed: Counter[tuple[str, str]] = Counter()
        self._right = self._judged = self._named = 0
        self._began_s = time.monotonic()
        self._thread = threading.Thread(target=self._print_events, name="narrator", daemon=True)

    def item_fell(self, fallen: FallenItem) -> None:
        """An item has fallen into a bin. Call it before `on_stored` of that item's event. Any thread."""
        self._fallen.append(fallen)

    def on_stored(self, event: AnyEvent) -> None:
        """An event was stored. Returns at once. Any thread."""
        if isinstance(event, Started):
            self._started.set()
        if isinstance(event, Fault | Cleared) and event.fault == "hazard":
            self._held.set() if isinstance(event, Fault) else self._held.clear()
        self._events.put(event)

    def has_started(self) -> bool:
        """Whether the bin is ready to sort. Any thread."""
        return self._started.is_set()

    def hazard_is_held(self) -> bool:
        """Whether the bin waits for a hand to take out a hazard. Any thread."""
        return self._held.is_set()

    def begin(self, opening: list[str], rules: RulePack) -> None:
        """Print the opening lines and the table header, and start the thread."""
        self._rules = rules
        for line in opening:
            self._print(line)
        self._print("")
        self._bin_columns = max(8, *map(width, rules.bins))
        self._print(self._row("", "what it was", "seen as", "sure", "bin", "", "looked", "moved"))
        self._thread.start()

    def finish(self) -> None:
        """Print what is left, and the summary."""
        self._events.put(None)
        self._thread.join(2.0)
        self._print("")
        for line in self._summary():
            self._print(line)

    def _print_events(self) -> None:
        while (event := self._events.get()) is not None:
            match event:
                case ItemSorted() | ItemRejected():
                    if self._most is None or self._items < self._most:
                        self._print_item(event)
                case Hazard() | Jam() | ItemInterrupted():
                    self._hazards_held += isinstance(event, Hazard) and not event.bin
                    self._print(f"      {_sentence(event)}")
                case Fault(message=message):
                    self._print(f"      fault: {message}")
                case BinFull(bin=name):
                    self._print(f"      {name} is full: its items go to the residual bin until it is emptied")
                case BinEmptied(bin=name, items=items):
                    self._print(f"      {name} was emptied, of {counted(items, 'item')}")
                case Cleared(fault=fault):
                    self._print(f"      {fault} is over")
                case _:
                    pass

    def _print_item(self, event: ItemSorted | ItemRejected) -> None:
        self._items += 1
        what, verdict = "", ""
        if self._fallen:
            fell = self._fallen.popleft()
            what = fell.item.name if fell.item.label is None else f"{fell.item.name} ({fell.item.label})"
            verdict = self._judge(fell, event)
        if isinstance(event, ItemRejected):
            self._rejected += 1
            verdict = event.reason
        sure, looked, moved = f"{100 * event.p:.0f} %", f"{event.decided_s:.1f} s", f"{event.moved_s:.1f} s"
        self._print(self._row(str(self._items), what, event.label, sure, event.bin, verdict, looked, moved))
        if self._items == self._most:
            self._stop.set()

    def _judge(self, fell: FallenItem, event: ItemSorted | ItemRejected) -> str:
        """Count an item with a known label. Returns `right` or `wrong` for its bin, empty if unknown."""
        belongs = self._belongs(fell)
        if belongs is None:
            return ""
        self._landed[fell.bin, belongs] += 1
        self._judged += 1
        self._named += event.label == fell.item.label
        self._right += fell.bin == belongs
        return "right" if fell.bin == belongs else "wrong"

    def _belongs(self, fell: FallenItem) -> str | None:
        assert self._rules is not None
        try:
            return self._rules.bin_of(fell.item.label) if fell.item.label is not None else None
        except KeyError:
            return None

    def _summary(self) -> list[str]:
        seconds = time.monotonic() - self._began_s
        held = f"; {self._hazards_held} more held as a hazard, for a hand to take out" if self._hazards_held else ""
        lines = [f"{counted(self._items, 'item')} in {seconds:.0f} s, {self._rejected} of them rejected{held}"]
        if not self._judged or self._rules is None:
            return lines
        low, high = wilson_interval(self._right, self._judged)
        lines.append(
            f"in the right bin: {self._right} of {self._judged} ({100 * self._right / self._judged:.0f} %, 95 % interval "
            f"{100 * low:.0f} to {100 * high:.0f} %); label right: {self._named} of {self._judged}"
        )
        lines.append(f"{padded('bin', self._bin_columns + 2)}{'items':>6}{'belong there':>14}{'contamination':>15}")
        for name in self._rules.bins:
            inside = sum(n for (into, _), n in self._landed.items() if into == name)
            wrong = inside - self._landed[name, name]
            share = f"{100 * wrong / inside:.0f} %" if inside else "-"
            lines.append(f"{padded(name, self._bin_columns + 2)}{inside:>6}{inside - wrong:>14}{share:>15}")
        return lines

    def _row(self, number: str, what: str, *cells: str) -> str:
        """A line of the table. cells: label, probability, bin, verdict, seconds looked and moved."""
        label, sure, into, verdict, looked, moved = cells
        into = padded(into, self._bin_columns)
        return f"{number:>4}  {padded(what, WHAT_COLUMNS)}  {padded(label, LABEL_COLUMNS)}  {sure:>5}  {into}  {verdict:<9}{looked:>7}{moved:>8}"

    def _print(self, line: str) -> None:
        print(line, file=self._out, flush=True)


def _sentence(event: Hazard | Jam | ItemInterrupted) -> str:
    if isinstance(event, Hazard):
        return f"may be a hazard: {event.label} ({event.p:.0%}), {f'goes to {event.bin}' if event.bin else 'held until a hand takes it out'}"
    if isinstance(event, Jam):
        return f"jam: nothing fell into {event.bin} within {event.waited_s:.0f} s"
    return f"an item on its way to {event.bin} was interrupted ({event.reason})"
