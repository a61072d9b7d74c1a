"""What a person should know about the pictures, a line each: which file, what is wrong with it, what was done about it."""

from collections.abc import Iterable, Iterator

import numpy as np

from converter.data.manifest import SPLITS
from converter.data.photos import MASKS
from device.common.label_names import label_remarks
from device.common.wording import counted
from device.vision.inference.ground import PLAIN
from device.vision.inference.images import kinds_told
from training.prepare.alike import Alike
from training.prepare.catalogue import Catalogue
from training.prepare.layout import Layout
from training.prepare.masks import EMPTY, NONE, Aside, Masks
from training.prepare.order import Order
from training.prepare.records import Records
from training.prepare.sieve import LISTS_FOLDER, Sieve
from training.prepare.verdict import TEST, TRAIN, VAL, Verdict

MOST = 20
"""lines of one kind; what there is beyond them is counted"""

NOTABLE_IMBALANCE = 3.0
NOTABLE_GROUP = 0.2
"""share of a label's pictures in one group from which splits get coarse"""


def remarks(
    records: Records,
    catalogue: Catalogue,
    alike: Alike,
    verdict: Verdict,
    layout: Layout,
    sieve: Sieve,
    beside: list[str],
    aside: Aside,
    masks: Masks | None,
    order: Order,
) -> list[str]:
    """All of them, in the order in which they came up. beside: pictures that lie in no label's folder; aside: those that are no items."""
    kinds: tuple[Iterable[str], ...] = (
        (f"{name}: {reason}; left out" for name, reason in sorted(sieve.strange.items())),
        (f"{path}: lies in no label's folder; left out" for path in beside),
        _others(sieve),
        _aside(aside, order),
        label_remarks(layout.label_folders(records.paths())),
        _empty(catalogue, layout, sieve, aside),
        _broken(records, order),
        _transparent(records, catalogue, order),
        _sizes(records, catalogue, verdict, order),
        _conflicts(records, catalogue, alike, order),
        _near_conflicts(records, catalogue, alike),
        _labels(catalogue, verdict, order),
        _coarse(catalogue, verdict, order),
        _straddling(verdict),
        _imbalance(catalogue, verdict),
        _unmasked(records, masks),
    )
    return [line for kind in kinds for line in _shortened(kind)]


def _shortened(lines: Iterable[str]) -> Iterator[str]:
    beyond = 0
    for number, line in enumerate(lines):
        if number < MOST:
            yield line
        else:
            beyond += 1
    if beyond:
        yield f"and {beyond} more like this; flags in manifest.csv name them"


def _done(flag: str, order: Order) -> str:
    return "left out" if flag in order.leave_out or flag == "unreadable" else "kept"


def _others(sieve: Sieve) -> Iterator[str]:
    if sieve.others:
        yield kinds_told(sieve.others)


def _aside(aside: Aside, order: Order) -> Iterator[str]:
    if aside.masks and not order.isolate:
        yield f"{counted(len(aside.masks), 'mask')} in the source, as {min(aside.masks.values())}; --isolate takes them over"
    for path in aside.strays:
        yield f"{path}: mask of no picture; passed over"


def _unmasked(records: Records, masks: Masks | None) -> Iterator[str]:
    without = [picture for picture, masked in masks.of.items() if masked.origin == NONE] if masks else []
    if masks and without:
        yield (
            f"{len(without)} of {counted(len(masks.of), 'picture')} have no mask, as {min(map(records.path, without))}: "
            "the item cannot be told from its ground, and the whole picture is shown where others are isolated"
        )


def _empty(catalogue: Catalogue, layout: Layout, sieve: Sieve, aside: Aside) -> Iterator[str]:
    passed_over = {LISTS_FOLDER, *([MASKS] if aside.masks else []), *([EMPTY] if aside.empty else [])}
    named = {place.label: folder for folder in sorted(sieve.folders - {"."}) if (place := layout.place(f"{folder}/x"))}
    for label, folder in named.items():
        if label not in catalogue.names and label not in passed_over:
            yield f"{folder}: holds no picture; it is no label"


def _broken(records: Records, order: Order) -> Iterator[str]:
    for known in records.known():
        if known.fault:
            done = _done(known.fault, order) if known.width else "left out"
            yield f"{known.path}: {known.fault} ({known.reason}); {done}"


def _transparent(records: Records, catalogue: Catalogue, order: Order) -> Iterator[str]:
    found = np.flatnonzero(catalogue.transparent)
    if len(found):
        done = "left out" if "transparent" in order.leave_out else f"kept, with plain ground {PLAIN.colour} in place of what is hidden there"
        yield f"{counted(len(found), 'picture')} with transparent parts, as {records.path(int(catalogue.ids[found[0]]))}; {done}"


def _sizes(records: Records, catalogue: Catalogue, verdict: Verdict, order: Order) -> Iterator[str]:
    for flag, limit in (("tiny", f"--min-side {order.min_side}"), ("aspect", f"--max-aspect {order.max_aspect:g}")):
        for index in np.flatnonzero(verdict.flags[flag]).tolist():
            size = f"{catalogue.width[index]} x {catalogue.height[index]}"
            yield f"{records.path(int(catalogue.ids[index]))}: {size}, outside {limit}; {_done(flag, order)}"


def _conflicts(records: Records, catalogue: Catalogue, alike: Alike, order: Order) -> Iterator[str]:
    for pair in alike.conflicts:
        one, other = (records.path(int(catalogue.ids[index])) for index in (pair.one, pair.other))
        yield f"{other}: the same picture as {one}, which has another label; both {_done('conflict', order)}"


def _near_conflicts(records: Records, catalogue: Catalogue, alike: Alike) -> Iterator[str]:
    for pair in alike.near:
        if catalogue.labels[pair.one] != catalogue.labels[pair.other]:
            one, other = (records.path(int(catalogue.ids[index])) for index in (pair.one, pair.other))
            yield f"{other}: nearly the same as {one} ({pair.likeness:.3f}), which has another label; kept in one group, look at them"


def _labels(catalogue: Catalogue, verdict: Verdict, order: Order) -> Iterator[str]:
    for number, name in enumerate(catalogue.names):
        own = catalogue.labels == number
        splits = verdict.split[own]
        used, in_training = int((splits >= 0).sum()), int((splits == TRAIN).sum())
        groups = len(np.unique(verdict.group[own & (verdict.split >= 0)]))
        if not used:
            yield f"{name}: {counted(int(own.sum()), 'picture')}, none that can be used; it is no label"
            continue
        if not in_training:
            yield f"{name}: no picture for training; its {used} are in {' and '.join(SPLITS[part] for part in np.unique(splits[splits >= 0]))}"
        wanted = [part for part in _wanted(verdict, order) if not (splits == part).any()]
        if wanted and in_training:
            what = f"{counted(used, 'picture')} in {counted(groups, 'group')}"
            yield f"{name}: only {what}, all for training: none in {' or '.join(SPLITS[part] for part in wanted)}"
        without = order.folds - len(np.unique(verdict.fold[own & (verdict.fold >= 0)]))
        if order.folds and without:
            yield f"{name}: {without} of {order.folds} folds have no picture of it"


def _wanted(verdict: Verdict, order: Order) -> list[int]:
    """The splits beside training that should have pictures of every label."""
    drawn = {VAL: order.val_share > 0, TEST: order.test_share > 0} if not order.lists else {}
    return [part for part in (VAL, TEST) if drawn.get(part) or (verdict.split == part).any()]


def _coarse(catalogue: Catalogue, verdict: Verdict, order: Order) -> Iterator[str]:
    if verdict.unnumbered:
        yield f"{counted(verdict.unnumbered, 'picture')} with nothing in the name for --group-by {order.group_by}; each is a group of its own"
    for number, name in enumerate(catalogue.names):
        sizes = np.bincount(verdict.group[(catalogue.labels == number) & (verdict.split >= 0)])
        if sizes.sum() > MOST and sizes.max() > NOTABLE_GROUP * sizes.sum():
            yield f"{name}: {sizes.max()} of its {sizes.sum()} pictures are one group, so its shares are coarse"


def _straddling(verdict: Verdict) -> Iterator[str]:
    if verdict.count("straddles"):
        for part in (VAL, TEST):
            own = verdict.split == part
            if count := int((verdict.flags["straddles"] & own).sum()):
                yield (
                    f"{count} of {own.sum()} pictures in {SPLITS[part]} are of a group that is in another split too; "
                    "the given splits were kept to, and what is measured on them flatters"
                )


def _imbalance(catalogue: Catalogue, verdict: Verdict) -> Iterator[str]:
    sizes = np.bincount(catalogue.labels[verdict.split >= 0], minlength=len(catalogue.names))
    largest, smallest = int(sizes.argmax()), int(np.where(sizes, sizes, sizes.max()).argmin())
    if sizes[largest] >= NOTABLE_IMBALANCE * sizes[smallest]:
        yield (
            f"{catalogue.names[largest]} has {counted(int(sizes[largest]), 'picture')}, {sizes[largest] / sizes[smallest]:.1f} times the "
            f"{sizes[smallest]} of {catalogue.names[smallest]}; class weights or --cap even that out"
        )
