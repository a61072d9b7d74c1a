"""What can be rendered: every kind of item under its label. Needs no Blender."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle, islice
from typing import Any

import numpy as np

from device.common.arrays import Float64Array
from device.common.errors import SortbinError


class KindError(SortbinError, ValueError):
    """A kind of item that there is not."""


@dataclass(frozen=True, slots=True)
class RenderedItem:
    """A modelled item lying on the ground plane z = 0, its outline centred on the origin.

    parts: Blender objects, already placed. points: N x 3 float vertices of all parts, decimetres.
    see_through: some of what lies behind it shows through, so a single render cannot give its alpha.
    """

    parts: tuple[Any, ...]
    points: Float64Array
    see_through: bool = False

    @property
    def longest_cm(self) -> float:
        """The longest side of the box around it."""
        return float(np.ptp(self.points, axis=0).max() * 10)


Builder = Callable[[np.random.Generator], RenderedItem]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of item. share: how often it is rendered, relative to the other kinds of its label."""

    label: str
    name: str
    build: Builder
    share: int


_kinds: dict[str, dict[str, Kind]] = {}


def kind(label: str, name: str, *, share: int = 1) -> Callable[[Builder], Builder]:
    """Register a builder, as a decorator. Raises ValueError when the label already has a kind of that name."""

    def register(build: Builder) -> Builder:
        named = _kinds.setdefault(label, {})
        if name in named:
            raise ValueError(f"{label} already has a kind {name}; give this builder another name")
        named[name] = Kind(label, name, build, share)
        return build

    return register


def labels() -> list[str]:
    """The labels that have kinds, sorted."""
    return sorted(_kinds)


def kinds(label: str) -> list[Kind]:
    """The kinds of a label, in the order they were registered."""
    return list(_kinds.get(label, {}).values())


def named(names: Sequence[str]) -> dict[str, list[Kind]]:
    """The kinds with these names, by their labels. Raises KindError for a name that no kind has."""
    known = sorted({each.name for label in labels() for each in kinds(label)})
    for name in names:
        if name not in known:
            raise KindError(f"--kind {name}: expected one of {', '.join(known)}")
    chosen = {label: [each for each in kinds(label) if each.name in names] for label in labels()}
    return {label: found for label, found in chosen.items() if found}


@dataclass(frozen=True, slots=True)
class ItemPicture:
    """One picture to render: the number-th of its kind in a series that `seed` names."""

    kind: Kind
    number: int
    seed: int

    @property
    def file(self) -> str:
        """Where it goes under the output folder."""
        return f"{self.kind.label}/{self.kind.name}-{self.number:02d}.webp"

    def generator(self) -> np.random.Generator:
        """Its own random numbers: adding kinds or pictures changes no other picture."""
        return np.random.default_rng([self.seed, self.number, zlib.crc32(f"{self.kind.label}/{self.kind.name}".encode())])


def pictures(label: str, how_many: int, seed: int) -> list[ItemPicture]:
    """Deal pictures out to the kinds of a label by their shares, so that any number of them is a mix."""
    numbers: dict[str, Iterator[int]] = {each.name: count() for each in kinds(label)}
    rounds = range(max((each.share for each in kinds(label)), default=0))
    deal = [each for done in rounds for each in kinds(label) if each.share > done]
    return [ItemPicture(each, next(numbers[each.name]), seed) for each in islice(cycle(deal), how_many)]
