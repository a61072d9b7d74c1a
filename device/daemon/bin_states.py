"""Composes `bin/<bin>`: how full each bin is, and what went into it."""

from collections.abc import Callable, Mapping

import msgspec

from device.daemon.parts import BinParts
from device.ledger.totals import BinTotals, SinceEmptied
from device.mqtt.payloads import BinSinceEmptied, BinState, Level
from device.sensors.levels import BinLevel

LEVEL_EVERY_S = 60.0
"""least time between two payloads that differ only in when the level was measured, and in less than LEVEL_STEP"""
LEVEL_STEP = 2.0
"""percent: a sensor's noise does not make news"""


class BinStates:
    """The payload of each bin, not stamped yet, where it has to be published anew."""

    def __init__(self, parts: BinParts) -> None:
        self._parts = parts
        self._told: dict[str, BinState] = {}
        self._told_s: dict[str, float] = {}

    def changed(self, totals: Mapping[str, BinTotals], now_s: float) -> dict[str, BinState]:
        """The bins that have changed since the last call. totals: of each bin, since the ledger began. now_s: monotonic seconds."""
        ledger, label = self._parts.ledger, self._parts.clock.label
        emptied, never = ledger.since_emptied(), SinceEmptied(time="", totals=BinTotals())
        found = {}
        for name in self._parts.rules.bins:
            level = self._parts.levels.status[name]
            state = _bin_state(totals[name], emptied.get(name, never), ledger.since)
            state = msgspec.structs.replace(state, fill_percent=level.percent, full=level.full, level=_level(level, label))
            if is_news(self._told.get(name), state, now_s - self._told_s.get(name, now_s)):
                self._told[name], self._told_s[name] = state, now_s
                found[name] = state
        return found


def is_news(told: BinState | None, state: BinState, since_s: float) -> bool:
    """Whether a bin's state has to be published. told: what was published last, `since_s` seconds ago."""
    return told is None or not _alike(told, state) or (told != state and since_s >= LEVEL_EVERY_S)


def _bin_state(totals: BinTotals, emptied: SinceEmptied, began: str) -> BinState:
    """What went into a bin. began: when the ledger did."""
    inside = emptied.totals
    return BinState(
        fill_percent=None,
        full=None,
        items=totals.sorted + totals.rejected,
        hazards=totals.hazards,
        emptied=emptied.time or None,
        since_emptied=BinSinceEmptied(
            since=emptied.time or began,
            items=inside.sorted + inside.rejected,
            hazards=inside.hazards,
            contamination=inside.contamination,
            labels=inside.labels,
        ),
    )


def _level(level: BinLevel, label: Callable[[float], str]) -> Level | None:
    if not level.source and not level.error:
        return None
    return Level(source=level.source, measured=None if level.measured_s is None else label(level.measured_s), error=level.error)


def _alike(one: BinState, other: BinState) -> bool:
    """Whether they differ at most in when the level was measured, and little in the level."""
    if one.fill_percent is None or other.fill_percent is None or one.level is None or other.level is None:
        return one == other
    level = msgspec.structs.replace(other.level, measured=one.level.measured)
    near = abs(one.fill_percent - other.fill_percent) < LEVEL_STEP
    return near and one == msgspec.structs.replace(other, level=level, fill_percent=one.fill_percent)
