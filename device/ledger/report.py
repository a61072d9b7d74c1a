"""Groups what the ledger counted by day, bin and label, for people who report on it."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from device.ledger.reader import LedgerCounts
from device.ledger.tallies import MILLIONTHS, NONE, Amount, Counted

GroupBy = Literal["day", "bin", "label"]


class GroupCounts(msgspec.Struct, kw_only=True):
    """Counts of one group, such as of one day."""

    sorted: int = 0
    """items sorted"""
    rejected: int = 0
    """items rejected"""
    reasons: dict[str, int] = {}
    """items rejected, by reason"""
    interrupted: int = 0
    """items that were on their way when the daemon stopped"""
    jams: int = 0
    """jams at gates; without a label"""
    hazards: int = 0
    """items sent to a bin that may be a hazard"""
    emptied: int = 0
    """how often bins were emptied; without a label"""
    contamination: float = 0.0
    """sorted items that are expected to be in the wrong bin"""


def group_counts(counts: LedgerCounts, by: Sequence[GroupBy], first_day: str = "", end_day: str = "") -> list[tuple[tuple[str, ...], GroupCounts]]:
    """The counts by the values of `by`, in their order. Since the ledger began, or of the days from `first_day` up to, but not with, `end_day`.

    By day, or between days, only the days that are stored count.
    """
    amounts: dict[tuple[tuple[str, ...], str, str], Amount] = {}
    for day, of_day in _slices(counts, "day" in by or bool(first_day or end_day)):
        if (first_day <= day) and (not end_day or day < end_day):
            for counted, amount in of_day.items():
                values = {"day": day, "bin": counted.bin, "label": counted.label}
                key = tuple(values[name] for name in by), counted.kind, counted.reason
                amounts[key] = amounts.get(key, NONE).plus(amount)
    groups: dict[tuple[str, ...], dict[tuple[str, str], Amount]] = {}
    for (group, kind, reason), amount in amounts.items():
        groups.setdefault(group, {})[kind, reason] = amount
    return [(group, _counts(groups[group])) for group in sorted(groups)]


def _slices(counts: LedgerCounts, by_day: bool) -> list[tuple[str, dict[Counted, Amount]]]:
    if by_day:
        return list(counts.days.items())
    return [("", {counted: tally.ever for counted, tally in counts.tallies.rows.items()})]


def _counts(amounts: dict[tuple[str, str], Amount]) -> GroupCounts:
    def n(kind: str) -> int:
        return sum(amount.n for (of_kind, _), amount in amounts.items() if of_kind == kind)

    return GroupCounts(
        sorted=n("sorted"),
        rejected=n("rejected"),
        reasons={reason: amounts[kind, reason].n for kind, reason in sorted(amounts) if kind == "rejected" and reason},
        interrupted=n("interrupted"),
        jams=n("jams"),
        hazards=n("hazards"),
        emptied=n("emptied"),
        contamination=sum(amount.wrong_millionths for amount in amounts.values()) / MILLIONTHS,
    )
