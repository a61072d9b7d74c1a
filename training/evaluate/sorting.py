"""What the bin would do with the photos: the device's own decision under a rule pack, and what its mistakes cost."""

from collections.abc import Sequence

import msgspec

from converter.common.accuracy import Ints
from converter.common.proportion import Proportion, proportion
from device.common.arrays import Float64Array
from device.policy.decision import Evidence, decide
from device.policy.rules import RulePack
from training.evaluate.measures import share_if_any


class BinMeasures(msgspec.Struct, frozen=True):
    """One bin. n: photos that belong in it. right: of those, how many went there; residual: how many went to the residual bin instead;
    purity: of all that went there, how much belongs there. None of nothing.
    """

    bin: str
    title: str
    n: int
    right: Proportion | None
    residual: Proportion | None
    purity: Proportion | None


class PolicyResult(msgspec.Struct, frozen=True):
    """A way to choose bins: how often it is right, and the mean cost of an item in the pack's terms."""

    right: Proportion
    mean_cost: float


class SortingResult(msgspec.Struct, frozen=True):
    """decided: by expected cost, and to the residual bin below `reject_below`, as the bin does it; a hazard that is held is sorted nowhere and
    counts as in the residual bin. likeliest: the bin of the likeliest label, whatever the costs. all_residual: nothing sorted. bin_head: what a
    second head names, for a run that learned this pack's bins. contamination: of what went to any other bin than the residual one, how much does not
    belong there. flows: photos by the bin they belong in (rows) and the bin chosen (columns), in the order of `bins`.
    """

    pack: str
    version: str
    residual: str
    reject_below: float
    decided: PolicyResult
    likeliest: PolicyResult
    all_residual: PolicyResult
    contamination: Proportion | None
    bins: list[BinMeasures]
    flows: list[list[int]]
    bin_head: PolicyResult | None = None


def measure_sorting(probabilities: Float64Array, targets: Ints, labels: tuple[str, ...], pack: RulePack, reject_below: float) -> SortingResult:
    """Decide on every photo. reject_below: least probability of the likeliest bin for which an item is not sent to the residual bin."""
    names = list(pack.bins)
    belongs = [pack.bin_of(labels[target]) for target in targets.tolist()]
    decided = [decide(Evidence(row), labels, pack, reject_below=reject_below).bin or pack.residual for row in probabilities]
    likeliest = [pack.bin_of(labels[index]) for index in probabilities.argmax(axis=1).tolist()]

    flows = [[0] * len(names) for _ in names]
    for own, chosen in zip(belongs, decided, strict=True):
        flows[names.index(own)][names.index(chosen)] += 1
    residual = names.index(pack.residual)
    elsewhere = [(own, chosen) for own, chosen in zip(belongs, decided, strict=True) if chosen != pack.residual]
    return SortingResult(
        pack.name,
        pack.version,
        pack.residual,
        reject_below,
        measure_policy(belongs, decided, pack),
        measure_policy(belongs, likeliest, pack),
        measure_policy(belongs, [pack.residual] * len(belongs), pack),
        share_if_any(sum(own != chosen for own, chosen in elsewhere), len(elsewhere)),
        [
            BinMeasures(
                name,
                pack.bins[name],
                sum(flows[i]),
                share_if_any(flows[i][i], sum(flows[i])),
                share_if_any(flows[i][residual], sum(flows[i])) if i != residual else None,
                share_if_any(flows[i][i], sum(row[i] for row in flows)),
            )
            for i, name in enumerate(names)
        ],
        flows,
    )


def measure_policy(belongs: Sequence[str], chosen: Sequence[str], pack: RulePack) -> PolicyResult:
    """Measure a choice of bins. belongs, chosen: a bin each, one a photo, at least one."""
    pairs = list(zip(belongs, chosen, strict=True))
    cost = sum(pack.cost(own, into) for own, into in pairs)
    return PolicyResult(proportion(sum(own == into for own, into in pairs), len(pairs)), cost / len(pairs))
