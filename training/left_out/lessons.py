"""Draw the photos of a place that are taught; the rest is asked about, without the groups of what was taught."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer[Any]]


class Lesson(NamedTuple):
    """Numbers of the photos that are taught, and of those that are asked about: of the same labels, and of no group that is taught."""

    taught: Ints
    asked: Ints


def draw_lesson(targets: Ints, groups: Ints, shots: int, rng: np.random.Generator) -> Lesson | None:
    """Draw `shots` photos of each label from as many groups as there are photos, but at most half of the label's, where those hold enough.

    targets, groups: the label and the group of each photo. Labels with too few photos or groups are left out. None where fewer than two labels are
    left, since one alone has nothing to be told from.
    """
    drawn = [_draw_of_label(np.flatnonzero(targets == label), groups, shots, rng) for label in np.unique(targets)]
    shown = [numbers for numbers in drawn if len(numbers)]
    if len(shown) < 2:
        return None
    taught = np.concatenate(shown)
    asked = np.isin(targets, targets[taught]) & ~np.isin(groups, groups[taught])
    return Lesson(taught, np.flatnonzero(asked)) if asked.any() else None


def _draw_of_label(own: Ints, groups: Ints, shots: int, rng: np.random.Generator) -> Ints:
    """`shots` of the photos `own`, one group after the other in turn; none where all but one of their groups hold fewer."""
    of_groups = [rng.permutation(own[groups[own] == group]) for group in rng.permutation(np.unique(groups[own]))]
    reached = np.cumsum([len(of_group) for of_group in of_groups])[:-1]
    enough = np.flatnonzero(reached >= shots)
    if not len(enough):
        return own[:0]
    used = of_groups[: max(int(enough[0]) + 1, min(shots, len(of_groups) // 2))]
    in_turn = [(turn, order, number) for order, of_group in enumerate(used) for turn, number in enumerate(of_group.tolist())]
    return np.array([number for _, _, number in sorted(in_turn)[:shots]], np.int64)
