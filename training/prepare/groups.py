"""Groups of pictures that no split may separate: near-duplicates, and pictures of one shooting sequence."""

import re
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from training.prepare.layout import PathLabel
from training.prepare.options import PrepareError

Key = Callable[[str, PathLabel], str]
"""the sequence that a picture belongs to by its path; empty for none"""

NUMBERED = re.compile(r"(.*?)[ _.-]*(\d+)\D*", re.DOTALL)
"""a name and the last number in it"""


class Groups:
    """Union-find over members 0 to n - 1. A group is named by its lowest member."""

    def __init__(self, n: int) -> None:
        self._above = np.arange(n)

    def find(self, member: int) -> int:
        """The lowest member of its group."""
        above = self._above
        while above[member] != member:
            above[member] = above[above[member]]
            member = int(above[member])
        return member

    def join(self, one: int, other: int) -> bool:
        """Make their groups one; False when they already were."""
        one, other = self.find(one), self.find(other)
        self._above[max(one, other)] = min(one, other)
        return one != other

    def join_by(self, keys: Iterable[str]) -> int:
        """Join members with the same key, given in their order, and return how many have none."""
        first: dict[str, int] = {}
        without = 0
        for member, key in enumerate(keys):
            if not key:
                without += 1
            elif (earlier := first.setdefault(key, member)) != member:
                self.join(earlier, member)
        return without

    def lowest(self) -> npt.NDArray[np.int64]:
        """For each member, the lowest of its group."""
        return np.array([self.find(member) for member in range(len(self._above))], np.int64)


def sequence_key(grouping: str) -> Key:
    """The key that a value of --group-by stands for.

    `filename-block:N`: N successive numbers in the names of one folder. `filename-prefix`: the name up to its last number, in all folders.
    `folder`: the folders below the label's, whatever the label. Raises PrepareError for anything else.
    """
    kind, _, size = grouping.partition(":")
    if kind == "filename-block" and size.isdecimal() and int(size) > 0:
        return lambda path, _: _block(path, int(size))
    if grouping == "filename-prefix":
        return lambda path, _: _prefix(path)
    if grouping == "folder":
        return lambda _, place: place.below
    raise PrepareError(f"--group-by {grouping}: expected filename-block:N with N of at least 1, filename-prefix or folder")


def _block(path: str, size: int) -> str:
    folder, name = _split(path)
    found = NUMBERED.fullmatch(name)
    return f"{folder}/{found[1]}/{int(found[2]) // size}" if found else ""


def _prefix(path: str) -> str:
    found = NUMBERED.fullmatch(_split(path)[1])
    return found[1] if found else ""


def _split(path: str) -> tuple[str, str]:
    """Folder, and name without its suffix."""
    folder, _, name = path.rpartition("/")
    return folder, name.rpartition(".")[0]
