"""Which bin an item goes to: the least expected cost of contamination."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from device.common.arrays import Float64Array
from device.policy.rules import RulePack

Reason = Literal["confident", "unsure", "unknown", "safe_mode", "hazard", "several"]

FAR = 0.1
"""gap between two pieces, as a share of the view's width, above which no strap or finger is likely to have cut one thing in two"""
SEVERAL_ABOVE = {"joined": 0.93, "near": 0.97, "far": 0.85}
"""probability that two pieces belong in different bins, each judged alone, above which they are several things. Chosen on one half of the places and
photos that `benchmarks.several` lays; docs/research/two-things.md has how they do on the other.
"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of an item when its bin is chosen.

    probabilities: calibrated, one a label, summing to 1. seen: the same before the mix of labels at this place was weighed in; None: as
    `probabilities`. unknown: the item is unlike everything known, so its probabilities mean nothing. pieces: where what lies there is in two pieces,
    the probabilities of each, judged alone; gap: how far they are apart, as a share of the view's width, 0 where a neck joins them.
    """

    probabilities: Float64Array
    seen: Float64Array | None = None
    unknown: bool = False
    pieces: tuple[Float64Array, ...] = ()
    gap: float = 0.0


@dataclass(frozen=True, slots=True)
class SuspectedHazard:
    """An item that may be a hazard: the likeliest of the pack's hazards, and the probability of all of them together."""

    label: str
    p: float


@dataclass(frozen=True, slots=True)
class Choice:
    """Where an item goes and why.

    bin is empty where no gate may open until a hand has taken the item out. label is the likeliest label and p its probability; p_bin is that of the
    likeliest bin, all its labels together; expected_cost is that of `bin` under the rule pack. hazard: None unless it may be a hazard.
    """

    bin: str
    label: str
    p: float
    p_bin: float
    expected_cost: float
    reason: Reason
    hazard: SuspectedHazard | None = None

    @property
    def held(self) -> bool:
        """Whether no gate may open until a hand has taken the item out."""
        return not self.bin


def decide(evidence: Evidence, labels: tuple[str, ...], pack: RulePack, *, reject_below: float, closed: Mapping[str, Reason] | None = None) -> Choice:
    """Choose the bin with the least expected cost; the residual bin where it is better not to guess; for a hazard, and for several things that do not
    belong in one bin, what the pack says.

    labels: in the order of the probabilities. reject_below: least probability of the likeliest bin.
    closed: bins that can take nothing now, and why; what belongs there goes to the residual bin for that reason, never into the next best
    bin. The residual bin itself is always open. A hazard whose bin is closed is held.
    """
    shut = closed or {}
    belief = _belief(evidence.probabilities, labels, pack)
    likeliest = max(belief, key=belief.__getitem__)
    pieces = [_belief(piece, labels, pack) for piece in evidence.pieces]
    several = _differ(pieces) > SEVERAL_ABOVE["joined" if not evidence.gap else "near" if evidence.gap <= FAR else "far"]
    lying = tuple(map(sum, zip(*(piece.values() for piece in pieces), strict=True))) if several else tuple(belief.values())
    costs = pack.expected_costs(lying)
    cheapest = min(costs, key=lambda name: (costs[name], -belief[name]))

    chosen, reason = _chosen(likeliest, cheapest, pack.residual, belief[likeliest] < reject_below, shut)
    if several:
        chosen, reason = cheapest if pack.several == "least_cost" and cheapest not in shut else pack.residual, "several"
    elif evidence.unknown:
        chosen, reason = pack.residual, "unknown"
    hazard = _suspected_hazard(evidence, labels, pack)
    if hazard is not None and not (reason == "confident" and chosen == pack.hazard.into):
        chosen, reason = _averted(pack, shut), "hazard"
    best = int(evidence.probabilities.argmax())
    cost = costs[chosen] if chosen else 0.0
    return Choice(chosen, labels[best], float(evidence.probabilities[best]), belief[likeliest], cost, reason, hazard)


def _chosen(likeliest: str, cheapest: str, residual: str, unsure: bool, closed: Mapping[str, Reason]) -> tuple[str, Reason]:
    if unsure or (cheapest == residual != likeliest):
        return residual, "unsure"
    if cheapest != residual and cheapest in closed:
        return residual, closed[cheapest]
    return cheapest, "confident"


def _averted(pack: RulePack, closed: Mapping[str, Reason]) -> str:
    """The bin for a hazard; empty where it is to be held."""
    into = pack.hazard.into
    return "" if into in closed and into != pack.residual else into


def _suspected_hazard(evidence: Evidence, labels: tuple[str, ...], pack: RulePack) -> SuspectedHazard | None:
    """Whether it may be a hazard, with the mix of labels at this place or without: no list of labels and no habit of a place rules one out."""
    hazards = [index for index, label in enumerate(labels) if label in pack.hazards] if pack.hazards else []
    if not hazards:
        return None
    views = [evidence.probabilities, *evidence.pieces, *([] if evidence.seen is None else [evidence.seen])]
    shares = max((view[hazards] for view in views), key=lambda of: math.fsum(of.tolist()))
    p = math.fsum(shares.tolist())
    return SuspectedHazard(labels[hazards[int(shares.argmax())]], p) if p > pack.hazard.above else None


def _differ(pieces: list[dict[str, float]]) -> float:
    """The probability that two pieces belong in different bins, as if each were a thing of its own; 0 for fewer."""
    return 1 - math.fsum(p * pieces[1][name] for name, p in pieces[0].items()) if len(pieces) == 2 else 0.0


def _belief(probabilities: Float64Array, labels: tuple[str, ...], pack: RulePack) -> dict[str, float]:
    """The probability that the item belongs in each bin. Added from the smallest on, so that the order of the labels changes nothing."""
    belief = dict.fromkeys(pack.bins, 0.0)
    for p, label in sorted(zip(probabilities.tolist(), labels, strict=True)):
        belief[pack.bin_of(label)] += p
    return belief
