"""Split conformal prediction: sets of labels that contain the true label with a given probability."""

import math

import msgspec
import numpy as np

from converter.common.accuracy import Ints
from converter.common.proportion import Proportion, proportion
from device.common.arrays import Float64Array

FOLDS = 5


class ConformalSets(msgspec.Struct, frozen=True):
    """A set contains the labels of at least probability `least`; a share of 1 - alpha of the sets contains the true label.

    This is the least ambiguous rule (Sadinle, Lei and Wasserman 2019): the smallest sets for a coverage, some of them empty. coverage and
    sizes are measured on each fifth of the photos, with `least` fitted on the other four; sizes[k] counts the sets of k labels.
    """

    alpha: float
    least: float
    coverage: Proportion
    mean_size: float
    sizes: list[int]


def conformal_sets(probabilities: Float64Array, targets: Ints, alpha: float) -> ConformalSets:
    """Fit and measure the sets. alpha: share of the sets that may miss the true label, 0..1."""
    by_label = np.argsort(targets, kind="stable")
    folds = min(FOLDS, len(by_label))
    sets = np.ones(probabilities.shape, bool)
    for start in range(folds):
        held_out = by_label[start::folds]
        rest = np.setdiff1d(by_label, held_out)
        sets[held_out] = probabilities[held_out] >= least_probability(probabilities[rest], targets[rest], alpha)
    sizes = sets.sum(axis=1)
    covered = sets[np.arange(len(targets)), targets]
    return ConformalSets(
        alpha,
        least_probability(probabilities, targets, alpha),
        proportion(int(covered.sum()), len(targets)),
        float(sizes.mean()),
        np.bincount(sizes, minlength=probabilities.shape[1] + 1).tolist(),
    )


def least_probability(probabilities: Float64Array, targets: Ints, alpha: float) -> float:
    """The smallest probability of a label in a set; 0, so that all labels are in it, where there are too few photos for a guarantee."""
    of_truth = np.sort(probabilities[np.arange(len(targets)), targets])
    rank = math.floor((len(of_truth) + 1) * alpha + 1e-9)
    return float(of_truth[rank - 1]) if rank >= 1 else 0.0
