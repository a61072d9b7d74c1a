"""Which bin an item goes to: the least expected cost of contamination."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from device.rules import RulePack
from device.vision.classifier import Floats

Reason = Literal["confident", "unsure", "unknown", "safe_mode"]


@dataclass(frozen=True, slots=True)
class Choice:
    """Where an item goes and why.

    label is the likeliest label and p its probability; p_bin is that of the likeliest bin, all its labels together;
    expected_cost is that of `bin` under the rule pack.
    """

    bin: str
    label: str
    p: float
    p_bin: float
    expected_cost: float
    reason: Reason


def decide(
    probabilities: Floats,
    labels: tuple[str, ...],
    pack: RulePack,
    *,
    reject_below: float,
    unknown: bool = False,
    closed: Mapping[str, Reason] | None = None,
) -> Choice:
    """Choose the bin with the least expected cost; the residual bin where it is better not to guess.

    probabilities: calibrated, one a label in the order of `labels`, summing to 1. reject_below: least probability of the likeliest bin.
    unknown: the item is unlike everything known, so its probabilities mean nothing.
    closed: bins that can take nothing now, and why; what belongs there goes to the residual bin for that reason, never into the next best
    bin. The residual bin itself is always open.
    """
    best = int(probabilities.argmax())
    belief = _belief(probabilities, labels, pack)
    costs = {into: math.fsum(p * pack.cost(belongs, into) for belongs, p in belief.items()) for into in pack.bins}
    likeliest = max(belief, key=lambda name: belief[name])
    cheapest = min(costs, key=lambda name: (costs[name], -belief[name]))

    if unknown:
        return Choice(pack.residual, labels[best], float(probabilities[best]), belief[likeliest], costs[pack.residual], "unknown")
    chosen, reason = _chosen(likeliest, cheapest, pack.residual, belief[likeliest] < reject_below, closed or {})
    return Choice(chosen, labels[best], float(probabilities[best]), belief[likeliest], costs[chosen], reason)


def _chosen(likeliest: str, cheapest: str, residual: str, unsure: bool, closed: Mapping[str, Reason]) -> tuple[str, Reason]:
    if unsure or (cheapest == residual != likeliest):
        return residual, "unsure"
    if cheapest != residual and cheapest in closed:
        return residual, closed[cheapest]
    return cheapest, "confident"


def _belief(probabilities: Floats, labels: tuple[str, ...], pack: RulePack) -> dict[str, float]:
    """The probability that the item belongs in each bin. fsum rounds once, so the order of the labels changes nothing."""
    shares: dict[str, list[float]] = {name: [] for name in pack.bins}
    for label, p in zip(labels, probabilities.tolist(), strict=True):
        shares[pack.bin_of(label)].append(p)
    return {name: math.fsum(values) for name, values in shares.items()}
