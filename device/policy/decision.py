"""Which bin an item goes to: the least expected cost of contamination."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from device.common.arrays import Float64Array
from device.policy.rules import RulePack

Reason = Literal["confident", "unsure", "unknown", "safe_mode", "hazard", "several", "full"]

FAR_GAP = 0.1
"""gap between two pieces, as a share of the view's width, above which no strap or finger is likely to lie across one thing"""
SEVERAL_ABOVE = {"joined": 0.93, "near": 0.97, "far": 0.85}
"""probability that two pieces belong in different bins, each judged alone, above which they count as several things. Chosen with `benchmarks.several`
on one half of its places and photos; docs/research/two-things.md has the results on the other half.
"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a bin is chosen by.

    probabilities: calibrated, one a label, summing to 1. before_prior: the same before the label prior of the site; None where there is no prior.
    unknown: the item is out of distribution, so its probabilities mean nothing. pieces: the probabilities of each piece, judged alone, where the item
    lies in two pieces. gap: how far they are apart, as a share of the view's width; 0 where a neck joins them.
    """

    probabilities: Float64Array
    before_prior: Float64Array | None = None
    unknown: bool = False
    pieces: tuple[Float64Array, ...] = ()
    gap: float = 0.0


@dataclass(frozen=True, slots=True)
class SuspectedHazard:
    """An item that may be a hazard. label: the likeliest of the pack's hazards; p: the probability of all of them together."""

    label: str
    p: float


@dataclass(frozen=True, slots=True)
class Choice:
    """Where an item goes and why.

    bin: empty where no gate may open until a hand has taken the item out. label, p: the likeliest label and its probability. p_bin: the
    probability of the likeliest bin, all its labels together. p_right: the probability that the item belongs in `bin`; 0 where that is empty.
    expected_cost: of `bin`. hazard: None unless the item may be a hazard.
    """

    bin: str
    label: str
    p: float
    p_bin: float
    p_right: float
    expected_cost: float
    reason: Reason
    hazard: SuspectedHazard | None = None

    @property
    def held(self) -> bool:
        """Whether no gate may open until a hand has taken the item out."""
        return not self.bin


def decide(evidence: Evidence, labels: tuple[str, ...], pack: RulePack, *, reject_below: float, closed: Mapping[str, Reason] | None = None) -> Choice:
    """Choose the bin of least expected cost. An unsure or unknown item goes to the residual bin; a hazard, and several things for different bins, go
    where the pack says.

    labels: in the order of the probabilities. reject_below: least probability of the likeliest bin; below it the item is unsure.
    closed: bins that take nothing now, and why. An item for one of them goes to the residual bin for that reason, never into the next best bin. The
    residual bin itself is always open. A hazard whose bin is closed is held.
    """
    closed = closed or {}
    belief = _belief(evidence.probabilities, labels, pack)
    likeliest = max(belief, key=belief.__getitem__)
    pieces = [_belief(piece, labels, pack) for piece in evidence.pieces]
    several = _p_different_bins(pieces) > SEVERAL_ABOVE["joined" if not evidence.gap else "near" if evidence.gap <= FAR_GAP else "far"]
    items_by_bin = tuple(map(sum, zip(*(piece.values() for piece in pieces), strict=True))) if several else tuple(belief.values())
    costs = pack.expected_costs(items_by_bin)
    cheapest = min(costs, key=lambda name: (costs[name], -belief[name]))

    chosen, reason = _cheapest_or_residual(likeliest, cheapest, pack.residual, belief[likeliest] < reject_below, closed)
    if several:
        chosen, reason = cheapest if pack.several == "least_cost" and cheapest not in closed else pack.residual, "several"
    elif evidence.unknown:
        chosen, reason = pack.residual, "unknown"
    hazard = _suspected_hazard(evidence, labels, pack)
    if hazard is not None and not (reason == "confident" and chosen == pack.hazard.into):
        chosen, reason = _hazard_bin(pack, closed), "hazard"
    best = int(evidence.probabilities.argmax())
    cost, p_right = (costs[chosen], belief[chosen]) if chosen else (0.0, 0.0)
    return Choice(chosen, labels[best], float(evidence.probabilities[best]), belief[likeliest], p_right, cost, reason, hazard)


def _cheapest_or_residual(likeliest: str, cheapest: str, residual: str, unsure: bool, closed: Mapping[str, Reason]) -> tuple[str, Reason]:
    if unsure or (cheapest == residual != likeliest):
        return residual, "unsure"
    if cheapest != residual and cheapest in closed:
        return residual, closed[cheapest]
    return cheapest, "confident"


def _hazard_bin(pack: RulePack, closed: Mapping[str, Reason]) -> str:
    """The bin for a hazard; empty where it is held."""
    into = pack.hazard.into
    return "" if into in closed and into != pack.residual else into


def _suspected_hazard(evidence: Evidence, labels: tuple[str, ...], pack: RulePack) -> SuspectedHazard | None:
    """The hazard that the item may be, judged with the label prior and without: a prior must not rule a hazard out."""
    hazards = [index for index, label in enumerate(labels) if label in pack.hazards] if pack.hazards else []
    if not hazards:
        return None
    views = [evidence.probabilities, *evidence.pieces, *([] if evidence.before_prior is None else [evidence.before_prior])]
    shares = max((view[hazards] for view in views), key=lambda of: math.fsum(of.tolist()))
    p = math.fsum(shares.tolist())
    return SuspectedHazard(labels[hazards[int(shares.argmax())]], p) if p > pack.hazard.above else None


def _p_different_bins(pieces: list[dict[str, float]]) -> float:
    """The probability that two pieces belong in different bins, each taken for a thing of its own; 0 for fewer pieces."""
    return 1 - math.fsum(p * pieces[1][name] for name, p in pieces[0].items()) if len(pieces) == 2 else 0.0


def _belief(probabilities: Float64Array, labels: tuple[str, ...], pack: RulePack) -> dict[str, float]:
    """The probability that the item belongs in each bin. Summed from the smallest on, so that the order of the labels does not matter."""
    belief = dict.fromkeys(pack.bins, 0.0)
    for p, label in sorted(zip(probabilities.tolist(), labels, strict=True)):
        belief[pack.bin_of(label)] += p
    return belief
