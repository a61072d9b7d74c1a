"""The level of every bin, as its sensors say together, and which bins are full. On the control thread; nothing here waits."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from device.events import BinEmptied, BinFull, Event
from device.sensors import CountItems, ItemCount, LevelReading, LevelSensor
from device.sensors.level_filter import LevelFilter
from device.sensors.sensor_reader import InlineReader, SensorReader, SensorThread
from device.sensors.settings import LevelBase

log = logging.getLogger(__name__)

UPDATE_S = 0.2
"""from one look at the readings to the next"""
REMEMBERED = "remembered"
"""`source` while no sensor can say: the bin was full when a sensor said so last"""
CONFIRM_FRESH_S = 2.5
"""a beam that has told nothing for so long confirms nothing and denies nothing"""
UNSEEN_IN_A_ROW = 5
"""items in a row that a beam did not see before the log says so"""


@dataclass(frozen=True, slots=True)
class BinLevel:
    """What is known of the level of one bin.

    percent: 0 empty to 100 full; None: unknown. full: whether it is full, and so closed; None: unknown, and open. source: kind of the sensor that
    says so, or `remembered`; empty: no sensor. measured_s: monotonic time of its newest reading; None: none yet. error: what is wrong with sensors of
    this bin, one line; empty: nothing.
    """

    percent: float | None = None
    full: bool | None = None
    source: str = ""
    measured_s: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class WiredSensor:
    """A sensor as the settings have it. open: opens it, and is called again after each failure."""

    settings: LevelBase
    open: Callable[[CountItems], LevelSensor]


Start = Callable[[WiredSensor, CountItems], SensorReader]


def start_reading(sensor: WiredSensor, count_items: CountItems) -> SensorReader:
    """Read a sensor from now on: an estimate on the control thread, all others on threads of their own."""
    settings = sensor.settings
    if settings.estimates:
        return InlineReader(settings.name, lambda: sensor.open(count_items), settings.pace_s)
    return SensorThread(settings.name, lambda: sensor.open(count_items), settings.pace_s)


class _Channel:
    """One sensor of a bin."""

    def __init__(self, settings: LevelBase, reader: SensorReader, full: bool) -> None:
        self.settings, self.reader = settings, reader
        self._filter = LevelFilter(settings.full_percent, settings.empty_percent, settings.smoothed, full=full)
        self._taken: LevelReading | None = None
        self._forgotten: LevelReading | None = None
        """the newest reading before the bin was emptied"""
        self.unseen = 0
        """items in a row that it should have seen, and did not"""

    def update(self, now_s: float) -> None:
        self.reader.poll(now_s)
        newest = self.reader.newest
        if newest is not None and newest is not self._taken:
            if self._taken is not None and newest.taken_s - self._taken.taken_s > self.settings.good_for_s:
                self._filter.restart()
            self._taken = newest
            if newest.percent is not None:
                self._filter.add(newest.percent)

    def restart(self) -> None:
        """Forget what was read so far; readings from now on count."""
        self._taken = self._forgotten = self.reader.newest
        self._filter.restart(full=False)

    def is_fresh(self, now_s: float) -> bool:
        """Whether its newest reading still says something."""
        return self._taken is not None and self._taken is not self._forgotten and now_s - self._taken.taken_s <= self.settings.good_for_s

    @property
    def percent(self) -> float | None:
        return self._filter.percent

    @property
    def full(self) -> bool | None:
        if self._taken is not None and self._taken.percent is None:
            return self._taken.full
        return self._filter.full

    @property
    def measured_s(self) -> float | None:
        return None if self._taken is None else self._taken.taken_s

    def error(self, now_s: float) -> str:
        if self.reader.error or self._taken is None or self.is_fresh(now_s) or self._taken is self._forgotten:
            return self.reader.error
        return f"{self.settings.name}: no reading for more than {self.settings.good_for_s:g} s"


class _WatchedBin:
    """The sensors of one bin, and whether it is full."""

    def __init__(self, name: str, channels: Sequence[_Channel], full: bool) -> None:
        self.name, self.channels = name, tuple(channels)
        self.full: bool | None = full or None
        """None: no sensor has said yet"""
        self.awaited: str | None = None
        """when it had been emptied before, until the ledger counts anew"""

    def counting(self, now_s: float) -> list[_Channel]:
        """The sensors that count now: estimates only where none that measures can say anything."""
        fresh = [channel for channel in self.channels if channel.is_fresh(now_s)]
        measuring = [channel for channel in fresh if not channel.settings.estimates]
        if any(channel.percent is not None for channel in measuring) or self.awaited is not None:
            return measuring
        return fresh

    def decide(self, now_s: float) -> tuple[bool | None, _Channel | None]:
        """Whether it is full, and the sensor that says so: any that says full; else all that count; else as before."""
        votes = [channel for channel in self.counting(now_s) if channel.full is not None]
        saying_full = [channel for channel in votes if channel.full]
        if saying_full:
            return True, max(saying_full, key=lambda channel: channel.percent or 0.0)
        hardware = [channel for channel in votes if not channel.settings.estimates]
        only_estimates = all(channel.settings.estimates for channel in self.channels)
        # An estimate does not see that a bin was emptied, so it does not open one that a sensor has called full.
        deciding = votes if only_estimates or not self.full else hardware
        return (False, deciding[0]) if deciding else (self.full, None)

    def level(self, now_s: float) -> BinLevel:
        counting = self.counting(now_s)
        error = "; ".join(dict.fromkeys(filter(None, (channel.error(now_s) for channel in self.channels))))
        telling = [channel for channel in counting if channel.percent is not None]
        if telling:
            told = max(telling, key=lambda channel: channel.percent or 0.0)
            return BinLevel(_whole(told), self.full, told.settings.kind, told.measured_s, error)
        if counting:
            return BinLevel(None, self.full, counting[0].settings.kind, counting[0].measured_s, error)
        return BinLevel(None, self.full, REMEMBERED if self.full else "", None, error)


class Levels:
    """The levels of all bins.

    bins: names of all bins of the rule pack. count_items: items in each bin since it was emptied. full_before: bins that were full when the last run
    ended: they stay so until a sensor says otherwise, or somebody says that they were emptied. start: how sensors are read.
    """

    def __init__(
        self,
        sensors: Iterable[WiredSensor],
        bins: Iterable[str],
        count_items: CountItems,
        full_before: Iterable[str] = (),
        *,
        start: Start = start_reading,
    ) -> None:
        self._count_items = count_items
        wired, before = tuple(sensors), frozenset(full_before)
        self._bins: dict[str, _WatchedBin] = {}
        for name in bins:
            own = [sensor for sensor in wired if sensor.settings.bin == name]
            full = name in before and bool(own)
            channels = [_Channel(sensor.settings, start(sensor, count_items), full) for sensor in own]
            self._bins[name] = _WatchedBin(name, channels, full)
        self._events: list[Event] = []
        self._due_s = -math.inf
        self.status: Mapping[str, BinLevel] = {name: bin_.level(-math.inf) for name, bin_ in self._bins.items()}
        """the level of each bin"""
        self.full: frozenset[str] = frozenset(name for name, bin_ in self._bins.items() if bin_.full)
        """the bins that are full"""

    def update(self, now_s: float) -> list[Event]:
        """Look at the newest readings. Returns the events that have to be recorded. now_s: monotonic."""
        if now_s >= self._due_s:
            self._due_s = now_s + UPDATE_S
            for bin_ in self._bins.values():
                if bin_.channels:
                    self._update_bin(bin_, now_s)
            self._tell(now_s)
        events, self._events = self._events, []
        return events

    def emptied(self, name: str) -> None:
        """A person has emptied a bin, with a sensor or without: it is open again until new readings say otherwise.

        The next `update` returns the event. Raises KeyError for a bin that the rule pack does not have.
        """
        bin_ = self._bins[name]
        self._note_emptied(bin_, "command")
        for channel in bin_.channels:
            channel.restart()
        bin_.full = False if bin_.channels else None
        self._due_s = -math.inf

    def confirms(self, name: str) -> bool:
        """Whether a beam of this bin sees the items that fall."""
        return any(channel.settings.confirms for channel in self._bins[name].channels)

    def saw_fall(self, name: str, since_s: float, now_s: float) -> bool | None:
        """Whether something fell past a beam of this bin since `since_s`. None: no beam is wired there, or it does not work now, or is covered."""
        answers = []
        for channel in self._bins[name].channels:
            if channel.settings.confirms:
                channel.reader.poll(now_s)
                answers.append(_saw(channel.reader, since_s, now_s))
        return True if True in answers else False if False in answers else None

    def note_drop(self, name: str, confirmed: bool | None) -> None:
        """Remember whether the beam saw an item. The log says when it misses one after the other."""
        for channel in self._bins[name].channels:
            if channel.settings.confirms and confirmed is not None:
                channel.unseen = 0 if confirmed else channel.unseen + 1
                if channel.unseen == UNSEEN_IN_A_ROW:
                    log.warning("%s: saw nothing of the last %d items that fell: is it aligned?", channel.settings.name, UNSEEN_IN_A_ROW)

    def close(self) -> None:
        """Stop reading. Any number of calls; never raises."""
        for bin_ in self._bins.values():
            for channel in bin_.channels:
                channel.reader.close()

    def _update_bin(self, bin_: _WatchedBin, now_s: float) -> None:
        for channel in bin_.channels:
            channel.update(now_s)
        self._await_new_count(bin_)
        was_full = bool(bin_.full)
        bin_.full, decider = bin_.decide(now_s)
        if bin_.full and not was_full and decider is not None:
            self._events.append(BinFull(bin=bin_.name, percent=_whole(decider), source=decider.settings.kind))
        elif was_full and not bin_.full and decider is not None and not decider.settings.estimates:
            self._note_emptied(bin_, "sensor")
            for channel in bin_.channels:
                if channel.settings.estimates:
                    channel.restart()

    def _note_emptied(self, bin_: _WatchedBin, by: Literal["command", "sensor"]) -> None:
        count = self._count_items().get(bin_.name, ItemCount())
        bin_.awaited = count.since
        self._events.append(BinEmptied(bin=bin_.name, by=by, items=count.items))

    def _await_new_count(self, bin_: _WatchedBin) -> None:
        """After an emptying, estimates count once the ledger has stored it and counts from zero."""
        if bin_.awaited is not None and self._count_items().get(bin_.name, ItemCount()).since != bin_.awaited:
            bin_.awaited = None
            for channel in bin_.channels:
                if channel.settings.estimates:
                    channel.restart()

    def _tell(self, now_s: float) -> None:
        self.status = {name: bin_.level(now_s) for name, bin_ in self._bins.items()}
        self.full = frozenset(name for name, bin_ in self._bins.items() if bin_.full)


def _whole(channel: _Channel) -> float | None:
    """Its level in whole percent: more digits would be noise."""
    return None if channel.percent is None else float(round(channel.percent))


def _saw(reader: SensorReader, since_s: float, now_s: float) -> bool | None:
    newest = reader.newest
    if newest is None or reader.error or now_s - newest.taken_s > CONFIRM_FRESH_S:
        return None
    if newest.passed_s is not None and newest.passed_s >= since_s:
        return True
    return None if newest.blocked else False
