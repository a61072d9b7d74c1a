"""Which pictures are the same, nearly the same, or the same under different labels."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from converter.common.progress import Progress
from training.prepare.embeddings import near_embeddings
from training.prepare.groups import Groups
from training.prepare.options import PrepareOptions
from training.prepare.perceptual_hash import LEAST_CORRELATION, correlation, near_hashes
from training.prepare.picture_arrays import Catalogue, Marks
from training.prepare.records import Records


class PicturePair(NamedTuple):
    """Two pictures by their positions in the catalogue, the lower one first. likeness: correlation or cosine, 1 for the same pixels."""

    one: int
    other: int
    likeness: float


@dataclass(frozen=True)
class Duplicates:
    """Pairs of equal and nearly equal pictures.

    same: one pair for each picture with the pixels and the label of an earlier one. conflicts: the same with different labels. near: one pair
    for each time that a near-duplicate joined two groups, so three similar pictures make two pairs. conflicting: every picture whose pixels
    occur under several labels. groups: the groups that all these pairs form.
    """

    same: list[PicturePair]
    conflicts: list[PicturePair]
    near: list[PicturePair]
    conflicting: Marks
    groups: Groups


def find_duplicates(records: Records, catalogue: Catalogue, options: PrepareOptions, progress: Progress) -> Duplicates:
    """Compare pixel hashes, perceptual hashes, and embeddings where the options name a bundle."""
    groups = Groups(len(catalogue))
    first, labels = catalogue.first, catalogue.labels
    copies = np.flatnonzero(first != np.arange(len(catalogue)))
    same: list[PicturePair] = []
    conflicts: list[PicturePair] = []
    for copy in copies.tolist():
        pair = PicturePair(int(first[copy]), copy, 1.0)
        (same if labels[pair.one] == labels[copy] else conflicts).append(pair)
        groups.join(pair.one, copy)
    conflicting = np.isin(first, first[[pair.other for pair in conflicts]])
    near = []
    for pair in itertools.chain(_by_hash(records, catalogue, options, groups, progress), _by_embedding(records, catalogue, options, progress)):
        if groups.join(pair.one, pair.other):
            near.append(pair)
            progress.step(f"comparing: {len(near)} nearly the same")
    near.sort(key=lambda pair: (-pair.likeness, pair))
    return Duplicates(same, conflicts, near, conflicting, groups)


def _by_hash(records: Records, catalogue: Catalogue, options: PrepareOptions, groups: Groups, progress: Progress) -> Iterator[PicturePair]:
    progress.step("comparing")
    one_each = np.flatnonzero(catalogue.hashed & (catalogue.first == np.arange(len(catalogue))))
    for ones, others in near_hashes(catalogue.hashes[one_each], options.near_bits):
        for a, b in zip(one_each[ones].tolist(), one_each[others].tolist(), strict=True):
            one, other = min(a, b), max(a, b)
            if groups.find(one) == groups.find(other):
                continue
            likeness = correlation(records.thumbnail(int(catalogue.ids[one])), records.thumbnail(int(catalogue.ids[other])))
            if likeness >= LEAST_CORRELATION:
                yield PicturePair(one, other, likeness)


def _by_embedding(records: Records, catalogue: Catalogue, options: PrepareOptions, progress: Progress) -> Iterator[PicturePair]:
    if options.bundle is None:
        return
    progress.step("comparing embeddings")
    one_each = np.flatnonzero(catalogue.decodable & (catalogue.first == np.arange(len(catalogue))))
    for one, other, cosine in near_embeddings(records, catalogue.ids[one_each].tolist(), options.alike):
        yield PicturePair(int(one_each[one]), int(one_each[other]), cosine)
