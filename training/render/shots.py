"""Which pictures a series has: empty views and items in places, each with its own random numbers. Needs no Blender."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from training.render.catalogue import Kind
from training.render.places import Place


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture to take: the number-th empty view of a place (kind None), or the number-th item of a label in it."""

    place: Place
    kind: Kind | None
    number: int
    seed: int

    @property
    def image(self) -> str:
        """Where the picture goes under the output folder."""
        if self.kind is None:
            return f"{self.place.name}/empty/{self.number:02d}.jpg"
        return f"{self.place.name}/items/{self.kind.label}/{self.number:04d}.jpg"

    @property
    def mask(self) -> str | None:
        """Where its mask goes; an empty view has none."""
        return None if self.kind is None else f"{self.place.name}/masks/{self.kind.label}/{self.number:04d}.png"

    def generator(self) -> np.random.Generator:
        """Its own random numbers: other pictures, places or kinds change none of them."""
        what = f"{self.place.name}/{'' if self.kind is None else f'{self.kind.label}/{self.kind.name}'}"
        return np.random.default_rng([self.seed, self.number, zlib.crc32(what.encode())])


def empties(places: Sequence[Place], each: int, seed: int) -> list[Shot]:
    """Empty views, the first of every place first."""
    return [Shot(place, None, number, seed) for number in range(each) for place in places]


def in_turn(places: Sequence[Place], kinds: Mapping[str, Sequence[Kind]], per_label: int, seed: int) -> list[Shot]:
    """`per_label` items of each label in each place, such that a series cut short has all places and labels alike.

    kinds: of each label; a place takes them in turn, each place from another one on, so that a larger series begins with a smaller one.
    """
    return [
        Shot(place, kinds[label][(number + at) % len(kinds[label])], number, seed)
        for number in range(per_label)
        for label in sorted(kinds)
        for at, place in enumerate(places)
    ]


def dealt(places: Sequence[Place], kinds: Mapping[str, Sequence[Kind]], total: int, seed: int) -> list[Shot]:
    """`total` items over places, one place after the other, labels as evenly as can be, kinds by chance and by their share."""
    shots: list[Shot] = []
    numbers: dict[tuple[str, str], Iterator[int]] = {}
    names = sorted(kinds)
    for at, place in enumerate(places):
        rng = np.random.default_rng([seed, zlib.crc32(place.name.encode()), 3])
        first, last = total * at // len(places), total * (at + 1) // len(places)
        for turn in range(first, last):
            label = names[turn % len(names)]
            shares = np.array([kind.share for kind in kinds[label]], float)
            kind = kinds[label][int(rng.choice(len(shares), p=shares / shares.sum()))]
            shots.append(Shot(place, kind, next(numbers.setdefault((place.name, label), count())), seed))
    return shots


def alternating(first: Sequence[Kind], second: Sequence[Kind]) -> list[Kind]:
    """One of each in turn, each gone through over and over until both have been shown whole."""
    pairs = range(max(len(first), len(second)))
    return [kind for at in pairs for kind in (first[at % len(first)], second[at % len(second)])]
