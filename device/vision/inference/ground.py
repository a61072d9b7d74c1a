"""The ground: what is painted round an isolated item before it is classified."""

from typing import NamedTuple


class Ground(NamedTuple):
    """colour: RGB, 0..255. painted: how far it covers the surroundings, from 0 (they stay as they are) to 1 (nothing of them is left)."""

    colour: tuple[int, int, int]
    painted: float


PLAIN = Ground((216, 216, 216), 1.0)
"""the ground of bundles that name no other"""
