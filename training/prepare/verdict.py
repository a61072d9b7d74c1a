"""What becomes of each picture: its flags, its group, its split and its fold."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converter.data.manifest import SPLITS
from training.prepare.alike import Alike
from training.prepare.catalogue import UNKNOWN, Catalogue, Marks, Numbers
from training.prepare.groups import sequence_key
from training.prepare.layout import Layout
from training.prepare.order import FLAGS, Order, PrepareError
from training.prepare.records import Records
from training.prepare.splits import share_out

TRAIN, VAL, TEST = range(len(SPLITS))


@dataclass(frozen=True)
class Verdict:
    """One entry a picture, as in the catalogue.

    flags: a mark per flag. group: the first picture of its group. split: index into SPLITS, UNKNOWN where it is left out. fold: UNKNOWN
    outside of cross-validation. unnumbered: pictures that --group-by could not place, each a group of its own as far as that goes.
    """

    flags: dict[str, Marks]
    group: Numbers
    split: Numbers
    fold: Numbers
    unnumbered: int

    def count(self, flag: str) -> int:
        """Pictures with this flag."""
        return int(self.flags[flag].sum())


def judge(records: Records, catalogue: Catalogue, alike: Alike, layout: Layout, order: Order) -> Verdict:
    """Decide. Raises PrepareError when a list names what is not there, or when no picture is left."""
    flags = _findings(catalogue, alike, order)
    alike_group = alike.groups.lowest()
    flags["near"] = (alike_group != np.arange(len(catalogue))) & ~flags["duplicate"]
    groups, unnumbered = alike.groups, 0
    if order.group_by:
        key = sequence_key(order.group_by)
        unnumbered = groups.join_by(key(path, place) for path in records.paths() if (place := layout.place(path)))
    group = groups.lowest()

    kept = catalogue.decodable.copy()
    for flag in order.leave_out:
        kept &= ~flags[flag]
    given = catalogue.given
    if order.lists:
        given = _listed(records, layout, order.lists)
        flags["unlisted"] = given == UNKNOWN
        kept &= given != UNKNOWN
    if order.cap is not None:
        flags["capped"] = kept & ~_within_cap(records, catalogue, kept, order.cap, order.seed)
        kept &= ~flags["capped"]
    if not kept.any():
        raise PrepareError(f"{order.source}: none of its {len(catalogue)} pictures is left to use; see --leave-out")

    split = np.where(kept, given, UNKNOWN)
    _draw(split, kept, group, catalogue.labels, order)
    flags["straddles"] = _straddling(split, group)
    fold = np.full(len(catalogue), UNKNOWN)
    if order.folds:
        turn = np.flatnonzero((split == TRAIN) | (split == VAL))
        fold[turn] = share_out(group[turn], catalogue.labels[turn], [1 / order.folds] * order.folds, order.seed)
    return Verdict({flag: flags[flag] for flag in FLAGS}, group, split, fold, unnumbered)


def _findings(catalogue: Catalogue, alike: Alike, order: Order) -> dict[str, Marks]:
    shorter, longer = np.minimum(catalogue.width, catalogue.height), np.maximum(catalogue.width, catalogue.height)
    flags = {flag: np.zeros(len(catalogue), np.bool_) for flag in FLAGS}
    flags["truncated"] = catalogue.truncated
    flags["transparent"] = catalogue.transparent
    flags["unreadable"] = ~catalogue.decodable & ~catalogue.truncated
    flags["tiny"] = catalogue.decodable & (shorter < order.min_side)
    flags["aspect"] = catalogue.decodable & (longer > order.max_aspect * shorter)
    flags["duplicate"] = catalogue.first != np.arange(len(catalogue))
    flags["conflict"] = alike.conflicting
    return flags


def _listed(records: Records, layout: Layout, lists: tuple[Path, ...]) -> Numbers:
    """The split of each picture that the lists give it."""
    wanted: dict[str, int] = {}
    for split, file in enumerate(lists):
        for name in _names(file):
            if wanted.setdefault(name, split) != split:
                raise PrepareError(f"{file}: {name} is in {lists[wanted[name]]} too")
    given = np.full(records.count(), UNKNOWN)
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


def _draw(split: Numbers, kept: Marks, group: Numbers, labels: Numbers, order: Order) -> None:
    """Give a split to the kept pictures without one, and to the training pictures of a source that says train and test but not validation."""
    open_to_draw = kept & (split == UNKNOWN)
    shares = {TRAIN: 1 - order.val_share - order.test_share, VAL: order.val_share, TEST: order.test_share}
    if not open_to_draw.any() and not order.lists and not (split == VAL).any():
        open_to_draw = split == TRAIN
        shares = {TRAIN: 1 - order.val_share, VAL: order.val_share}
    drawn = np.flatnonzero(open_to_draw)
    parts = [part for part, share in shares.items() if share > 0]
    split[drawn] = np.array(parts)[share_out(group[drawn], labels[drawn], [shares[part] for part in parts], order.seed)]


def _straddling(split: Numbers, group: Numbers) -> Marks:
    """Pictures whose group is in more than one split."""
    used = split != UNKNOWN
    lowest, highest = np.full(len(split), len(SPLITS)), np.full(len(split), UNKNOWN)
    np.minimum.at(lowest, group[used], split[used])
    np.maximum.at(highest, group[used], split[used])
    straddling: Marks = used & (lowest[group] != highest[group])
    return straddling
