"""What the network is shown round an item that was isolated."""

from typing import NamedTuple


class Ground(NamedTuple):
    """A colour, RGB 0..255, that is painted over the item's surroundings to a share of 0 (as the camera sees them) to 1 (nothing of them is left)."""

    colour: tuple[int, int, int]
    painted: float


PLAIN = Ground((216, 216, 216), 1.0)
"""of bundles that name no other"""
