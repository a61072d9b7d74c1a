"""Which pictures are the same, nearly the same, or the same under different labels."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from converter.common.progress import Progress
from training.prepare.catalogue import Catalogue, Marks
from training.prepare.embeddings import near_embeddings
from training.prepare.groups import Groups
from training.prepare.likeness import LEAST_CORRELATION, correlation, near_hashes
from training.prepare.order import Order
from training.prepare.records import Records


class Pair(NamedTuple):
    """Two pictures by their positions in the catalogue, the lower one first. likeness: correlation or cosine, 1 for the same pixels."""

    one: int
    other: int
    likeness: float


@dataclass(frozen=True)
class Alike:
    """same: a pair for each picture with the same pixels and label as an earlier one; conflicts: the same with different labels. near: a
    pair for each time that two groups became one because a picture of each is nearly the same, so three alike make two pairs.
    conflicting: every picture whose pixels occur under several labels. groups: what all these pairs join.
    """

    same: list[Pair]
    conflicts: list[Pair]
    near: list[Pair]
    conflicting: Marks
    groups: Groups


def find_alike(records: Records, catalogue: Catalogue, order: Order, progress: Progress) -> Alike:
    """Find them by the hash of their pixels, by perceptual hash, and by embedding where the order names a bundle."""
    groups = Groups(len(catalogue))
    first, labels = catalogue.first, catalogue.labels
    copies = np.flatnonzero(first != np.arange(len(catalogue)))
    same: list[Pair] = []
    conflicts: list[Pair] = []
    for copy in copies.tolist():
        pair = Pair(int(first[copy]), copy, 1.0)
        (same if labels[pair.one] == labels[copy] else conflicts).append(pair)
        groups.join(pair.one, copy)
    conflicting = np.isin(first, first[[pair.other for pair in conflicts]])
    near = []
    for pair in itertools.chain(_by_hash(records, catalogue, order, groups, progress), _by_embedding(records, catalogue, order, progress)):
        if groups.join(pair.one, pair.other):
            near.append(pair)
            progress.step(f"comparing: {len(near)} nearly the same")
    near.sort(key=lambda pair: (-pair.likeness, pair))
    return Alike(same, conflicts, near, conflicting, groups)


def _by_hash(records: Records, catalogue: Catalogue, order: Order, groups: Groups, progress: Progress) -> Iterator[Pair]:
    progress.step("comparing")
    one_each = np.flatnonzero(catalogue.hashed & (catalogue.first == np.arange(len(catalogue))))
    for ones, others in near_hashes(catalogue.hashes[one_each], order.near_bits):
        for a, b in zip(one_each[ones].tolist(), one_each[others].tolist(), strict=True):
            one, other = min(a, b), max(a, b)
            if groups.find(one) == groups.find(other):
                continue
            likeness = correlation(records.thumbnail(int(catalogue.ids[one])), records.thumbnail(int(catalogue.ids[other])))
            if likeness >= LEAST_CORRELATION:
                yield Pair(one, other, likeness)


def _by_embedding(records: Records, catalogue: Catalogue, order: Order, progress: Progress) -> Iterator[Pair]:
    if order.bundle is None:
        return
    progress.step("comparing embeddings")
    one_each = np.flatnonzero(catalogue.decodable & (catalogue.first == np.arange(len(catalogue))))
    for one, other, cosine in near_embeddings(records, catalogue.ids[one_each].tolist(), order.alike):
        yield Pair(int(one_each[one]), int(one_each[other]), cosine)
