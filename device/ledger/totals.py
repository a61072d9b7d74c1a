"""Totals of each bin, as dashboards see them."""

from collections.abc import Callable

import msgspec

from device.ledger.tallies import MILLIONTHS, Amount, Counted, Tallies, Tally


class BinTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Counts for one bin over some time, such as since the ledger began."""

    sorted: int = 0
    """items sorted into the bin"""
    rejected: int = 0
    """items sent to the bin because no label was sure enough"""
    interrupted: int = 0
    """items that were on their way to the bin when the daemon stopped; where they ended is unknown"""
    jams: int = 0
    """jams at the bin's gate"""
    hazards: int = 0
    """items sent to the bin that may be a hazard"""
    contamination: float = 0.0
    """items sorted into the bin that are expected to be wrong there: the sum of 1 - p_right"""
    labels: dict[str, int] = {}
    """items sorted into the bin, by label; those that an earlier version sorted and whose events are gone are missing"""
    reasons: dict[str, int] = {}
    """items rejected into the bin, by reason; those that an earlier version rejected and whose events are gone are missing"""


class SinceEmptied(msgspec.Struct, frozen=True, kw_only=True):
    """Counts for one bin since it was emptied last."""

    time: str
    """when that was: RFC 3339, UTC, by the device's clock; empty where it never was, and then `totals` are since the ledger began"""
    totals: BinTotals


def totals_by_bin(tallies: Tallies) -> dict[str, BinTotals]:
    """Totals since the ledger began. A bin without events is missing."""
    return _by_bin(tallies, lambda tally: tally.ever)


def since_emptied_by_bin(tallies: Tallies) -> dict[str, SinceEmptied]:
    """Totals since each bin was emptied. A bin without events is missing."""
    totals = _by_bin(tallies, lambda tally: tally.since_emptied)
    return {name: SinceEmptied(time=tallies.emptied.get(name, ""), totals=of_bin) for name, of_bin in totals.items()}


def _by_bin(tallies: Tallies, amount: Callable[[Tally], Amount]) -> dict[str, BinTotals]:
    amounts = {counted: amount(tally) for counted, tally in tallies.rows.items()}
    return {name: _totals({each: of_bin for each, of_bin in amounts.items() if each.bin == name}) for name in sorted({each.bin for each in amounts})}


def _totals(amounts: dict[Counted, Amount]) -> BinTotals:
    """Totals of one bin."""

    def n(kind: str) -> int:
        return sum(amount.n for counted, amount in amounts.items() if counted.kind == kind)

    def split(kind: str, by: Callable[[Counted], str]) -> dict[str, int]:
        names = sorted({by(counted) for counted, amount in amounts.items() if counted.kind == kind and by(counted) and amount.n})
        return {name: sum(amount.n for counted, amount in amounts.items() if counted.kind == kind and by(counted) == name) for name in names}

    return BinTotals(
        sorted=n("sorted"),
        rejected=n("rejected"),
        interrupted=n("interrupted"),
        jams=n("jams"),
        hazards=n("hazards"),
        contamination=sum(amount.wrong_millionths for amount in amounts.values()) / MILLIONTHS,
        labels=split("sorted", lambda counted: counted.label),
        reasons=split("rejected", lambda counted: counted.reason),
    )
