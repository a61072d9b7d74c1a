"""Measure the choice of bins: the device's own decision under a rule pack, and the cost of its mistakes."""

from collections.abc import Sequence

import msgspec

from converter.common.accuracy import Ints
from converter.common.proportion import Proportion, proportion
from device.common.arrays import Float64Array
from device.policy.decision import Evidence, decide
from device.policy.rules import RulePack
from training.evaluate.measures import share_if_any


class BinMeasures(msgspec.Struct, frozen=True):
    """One bin. n: photos that belong in it. right: the share of those that went there. residual: the share that went to the residual bin instead.
    purity: of all photos that went there, the share that belongs there. None where there is no photo to measure.
    """

    bin: str
    title: str
    n: int
    right: Proportion | None
    residual: Proportion | None
    purity: Proportion | None


class PolicyResult(msgspec.Struct, frozen=True):
    """A way to choose bins: how often it is right, and the mean cost of an item by the pack."""

    right: Proportion
    mean_cost: float


class SortingResult(msgspec.Struct, frozen=True):
    """decided: as the device decides: by expected cost, and the residual bin below `reject_below`. A hazard that is held is not sorted and counts as
    in the residual bin. likeliest: the bin of the most likely label, without costs. all_residual: everything to the residual bin. bin_head: the
    choice of a second head trained for this pack's bins. contamination: of the photos in all bins but the residual one, the share that does not
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
    """Decide on every photo. reject_below: smallest probability of the most likely bin; below it an item goes to the residual bin."""
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
    """Measure a choice of bins. belongs, chosen: one bin a photo; at least one photo."""
    pairs = list(zip(belongs, chosen, strict=True))
    cost = sum(pack.cost(own, into) for own, into in pairs)
    return PolicyResult(proportion(sum(own == into for own, into in pairs), len(pairs)), cost / len(pairs))
