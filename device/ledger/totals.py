"""Counts of items for each bin since the ledger began."""

from collections.abc import Mapping

import msgspec


class BinTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Counts for one bin since the ledger began."""

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


def totals_by_bin(counts: Mapping[tuple[str, str], int]) -> dict[str, BinTotals]:
    """Group counts by bin. counts: keys are (bin, field of `BinTotals`)."""
    names = sorted({name for name, _ in counts})
    return {name: BinTotals(**{kind: counts.get((name, kind), 0) for kind in BinTotals.__struct_fields__}) for name in names}
