"""Distribute pictures over splits or folds: each label in the wanted proportion, no group in two parts."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


def share_out(groups: Numbers, labels: Numbers, shares: Sequence[float], seed: int) -> Numbers:
    """The part, 0 to len(shares) - 1, of each picture.

    groups, labels: any number for each picture, the same for those of one group or label. shares: of the parts, more than 0, summing to 1.
    seed: draws which groups go where; the same arguments give the same parts.

    Groups go, the largest first, where most of what is still wanted of their labels is missing. So a part exceeds what it should have of a
    label by less than that label's largest group, as long as groups are of one label each. What comes first of a label goes to the part
    with the largest share, and between equal shares to the one that has least.
    """
    if not len(groups):
        return np.zeros(0, np.int64)
    _, labels = np.unique(labels, return_inverse=True)
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order[0]] - 1))
    sizes = np.diff(starts, append=len(order))
    wanted = np.outer(shares, np.bincount(labels))
    missing = wanted.copy()
    room = wanted.sum(axis=1)
    drawn = np.random.default_rng(seed).permutation(len(starts))
    parts = np.empty(len(groups), np.int64)
    for group in drawn[np.argsort(-sizes[drawn], kind="stable")]:
        members = order[starts[group] : starts[group] + sizes[group]]
        present, counts = np.unique(labels[members], return_counts=True)
        need = (missing[:, present] / wanted[:, present]) @ counts
        best = np.flatnonzero(need > need.max() - 1e-9)
        part = max(best.tolist(), key=lambda part: (shares[part], room[part])) if len(best) > 1 else int(best[0])
        missing[part, present] -= counts
        room[part] -= len(members)
        parts[members] = part
    return parts
