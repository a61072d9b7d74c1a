"""Assign to each picture its flags, group, split and fold."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converter.data.manifest import SPLITS
from training.prepare.duplicates import Duplicates
from training.prepare.groups import sequence_key
from training.prepare.layout import Layout
from training.prepare.options import FLAGS, PrepareError, PrepareOptions
from training.prepare.picture_arrays import UNASSIGNED, Catalogue, Marks, Numbers
from training.prepare.records import Records
from training.prepare.splits import share_out

TRAIN, VAL, TEST = range(len(SPLITS))


@dataclass(frozen=True)
class Assignment:
    """One entry a picture, as in the catalogue.

    flags: one array per flag. group: the first picture of its group. split: index into SPLITS, UNASSIGNED where left out. fold: UNASSIGNED
    outside cross-validation. unnumbered: number of pictures whose name --group-by could not read; each is a group of its own.
    """

    flags: dict[str, Marks]
    group: Numbers
    split: Numbers
    fold: Numbers
    unnumbered: int

    def count(self, flag: str) -> int:
        """Pictures with this flag."""
        return int(self.flags[flag].sum())


def assign(records: Records, catalogue: Catalogue, duplicates: Duplicates, layout: Layout, options: PrepareOptions) -> Assignment:
    """Assign all pictures. Raises PrepareError when a list names a missing picture, or when no picture is left."""
    flags = _findings(catalogue, duplicates, options)
    alike_group = duplicates.groups.lowest()
    flags["near"] = (alike_group != np.arange(len(catalogue))) & ~flags["duplicate"]
    groups, unnumbered = duplicates.groups, 0
    if options.group_by:
        key = sequence_key(options.group_by)
        unnumbered = groups.join_by(key(path, place) for path in records.paths() if (place := layout.place(path)))
    group = groups.lowest()

    kept = catalogue.decodable.copy()
    for flag in options.leave_out:
        kept &= ~flags[flag]
    given = catalogue.given
    if options.lists:
        given = _listed(records, layout, options.lists)
        flags["unlisted"] = given == UNASSIGNED
        kept &= given != UNASSIGNED
    if options.cap is not None:
        flags["capped"] = kept & ~_within_cap(records, catalogue, kept, options.cap, options.seed)
        kept &= ~flags["capped"]
    if not kept.any():
        raise PrepareError(f"{options.source}: none of its {len(catalogue)} pictures is left to use; see --leave-out")

    split = np.where(kept, given, UNASSIGNED)
    _draw(split, kept, group, catalogue.labels, options)
    flags["straddles"] = _straddling(split, group)
    fold = np.full(len(catalogue), UNASSIGNED)
    if options.folds:
        turn = np.flatnonzero((split == TRAIN) | (split == VAL))
        fold[turn] = share_out(group[turn], catalogue.labels[turn], [1 / options.folds] * options.folds, options.seed)
    return Assignment({flag: flags[flag] for flag in FLAGS}, group, split, fold, unnumbered)


def _findings(catalogue: Catalogue, duplicates: Duplicates, options: PrepareOptions) -> dict[str, Marks]:
    shorter, longer = np.minimum(catalogue.width, catalogue.height), np.maximum(catalogue.width, catalogue.height)
    flags = {flag: np.zeros(len(catalogue), np.bool_) for flag in FLAGS}
    flags["truncated"] = catalogue.truncated
    flags["transparent"] = catalogue.transparent
    flags["unreadable"] = ~catalogue.decodable & ~catalogue.truncated
    flags["tiny"] = catalogue.decodable & (shorter < options.min_side)
    flags["aspect"] = catalogue.decodable & (longer > options.max_aspect * shorter)
    flags["duplicate"] = catalogue.first != np.arange(len(catalogue))
    flags["conflict"] = duplicates.conflicting
    return flags


def _listed(records: Records, layout: Layout, lists: tuple[Path, ...]) -> Numbers:
    """The split of each picture that the lists give it."""
    wanted: dict[str, int] = {}
    for split, file in enumerate(lists):
        for name in _names(file):
            if wanted.setdefault(name, split) != split:
                raise PrepareError(f"{file}: {name} is in {lists[wanted[name]]} too")
    given = np.full(records.count(), UNASSIGNED)
    found = set()
    for index, path in enumerate(records.paths()):
        for name in (path, layout.unwrapped(path)):
            if name in wanted:
                given[index] = wanted[name]
                found.add(name)
    if missing := wanted.keys() - found:
        name = min(missing)
        raise PrepareError(f"{lists[wanted[name]]}: names {name}, which is no picture of the source ({len(missing)} such names)")
    return given


def _names(file: Path) -> Iterator[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise PrepareError(f"{file}: {error.strerror}; expected a list of pictures, one name a line") from error
    except UnicodeDecodeError as error:
        raise PrepareError(f"{file}: expected UTF-8 text") from error
    for line in lines:
        if name := line.rstrip("\r").removeprefix("./"):
            yield name


def _within_cap(records: Records, catalogue: Catalogue, kept: Marks, cap: int, seed: int) -> Marks:
    """At most `cap` of the kept pictures of each label, the same ones again when others are added to the source."""
    drawn = np.array([int.from_bytes(hashlib.sha256(f"{seed} {path}".encode()).digest()[:8]) for path in records.paths()], np.uint64)
    within = np.zeros(len(catalogue), np.bool_)
    for label in range(len(catalogue.names)):
        own = np.flatnonzero(kept & (catalogue.labels == label))
        within[own[np.argsort(drawn[own], kind="stable")[:cap]]] = True
    return within


def _draw(split: Numbers, kept: Marks, group: Numbers, labels: Numbers, options: PrepareOptions) -> None:
    """Give a split to the kept pictures without one, and to the training pictures of a source that says train and test but not validation."""
    open_to_draw = kept & (split == UNASSIGNED)
    shares = {TRAIN: 1 - options.val_share - options.test_share, VAL: options.val_share, TEST: options.test_share}
    if not open_to_draw.any() and not options.lists and not (split == VAL).any():
        open_to_draw = split == TRAIN
        shares = {TRAIN: 1 - options.val_share, VAL: options.val_share}
    drawn = np.flatnonzero(open_to_draw)
    parts = [part for part, share in shares.items() if share > 0]
    split[drawn] = np.array(parts)[share_out(group[drawn], labels[drawn], [shares[part] for part in parts], options.seed)]


def _straddling(split: Numbers, group: Numbers) -> Marks:
    """Pictures whose group is in more than one split."""
    used = split != UNASSIGNED
    lowest, highest = np.full(len(split), len(SPLITS)), np.full(len(split), UNASSIGNED)
    np.minimum.at(lowest, group[used], split[used])
    np.maximum.at(highest, group[used], split[used])
    straddling: Marks = used & (lowest[group] != highest[group])
    return straddling
