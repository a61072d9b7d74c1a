"""Remarks on the pictures for a person, one line each: which file, what is wrong, what was done."""

from collections.abc import Iterable, Iterator

import numpy as np

from converter.data.manifest import SPLITS
from converter.data.photos import MASKS
from device.common.label_names import label_remarks
from device.common.wording import counted
from device.vision.inference.ground import PLAIN
from device.vision.inference.images import describe_unread_kinds
from training.prepare.assignment import TEST, TRAIN, VAL, Assignment
from training.prepare.masks import EMPTY, NONE, NonItems
from training.prepare.name_filter import LISTS_FOLDER, NameFilter
from training.prepare.options import PrepareOptions
from training.prepare.picture_arrays import Catalogue
from training.prepare.survey import Survey

MOST = 20
"""most lines of one kind; the rest is counted"""

NOTABLE_IMBALANCE = 3.0
NOTABLE_GROUP = 0.2
"""share of a label's pictures in one group from which splits get coarse"""


def remarks(survey: Survey, names: NameFilter, strays: list[str], non_items: NonItems) -> list[str]:
    """All remarks, in the order of the steps. strays: pictures in no label's folder."""
    records, catalogue, options = survey.records, survey.catalogue, survey.options
    kinds: tuple[Iterable[str], ...] = (
        (f"{name}: {reason}; left out" for name, reason in sorted(names.strange.items())),
        (f"{path}: lies in no label's folder; left out" for path in strays),
        _others(names),
        _non_items(non_items, options),
        label_remarks(survey.layout.label_folders(records.paths())),
        _empty(survey, names, non_items),
        _broken(survey),
        _transparent(survey),
        _sizes(survey),
        _conflicts(survey),
        _near_conflicts(survey),
        _labels(catalogue, survey.assignment, options),
        _coarse(catalogue, survey.assignment, options),
        _straddling(survey.assignment),
        _imbalance(catalogue, survey.assignment),
        _unmasked(survey),
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


def _done(flag: str, options: PrepareOptions) -> str:
    return "left out" if flag in options.leave_out or flag == "unreadable" else "kept"


def _others(names: NameFilter) -> Iterator[str]:
    if names.others:
        yield describe_unread_kinds(names.others)


def _non_items(non_items: NonItems, options: PrepareOptions) -> Iterator[str]:
    if non_items.masks and not options.isolate:
        yield f"{counted(len(non_items.masks), 'mask')} in the source, as {min(non_items.masks.values())}; --isolate takes them over"
    for path in non_items.strays:
        yield f"{path}: mask of no picture; passed over"


def _unmasked(survey: Survey) -> Iterator[str]:
    masks = survey.masks
    without = [picture for picture, masked in masks.of.items() if masked.origin == NONE] if masks else []
    if masks and without:
        yield (
            f"{len(without)} of {counted(len(masks.of), 'picture')} have no mask, as {min(map(survey.records.path, without))}: "
            "the item cannot be told from its ground, and the whole picture is shown where others are isolated"
        )


def _empty(survey: Survey, names: NameFilter, non_items: NonItems) -> Iterator[str]:
    passed_over = {LISTS_FOLDER, *([MASKS] if non_items.masks else []), *([EMPTY] if non_items.empty else [])}
    named = {place.label: folder for folder in sorted(names.folders - {"."}) if (place := survey.layout.place(f"{folder}/x"))}
    for label, folder in named.items():
        if label not in survey.catalogue.names and label not in passed_over:
            yield f"{folder}: holds no picture; it is no label"


def _broken(survey: Survey) -> Iterator[str]:
    for known in survey.records.known():
        if known.fault:
            done = _done(known.fault, survey.options) if known.width else "left out"
            yield f"{known.path}: {known.fault} ({known.reason}); {done}"


def _transparent(survey: Survey) -> Iterator[str]:
    found = np.flatnonzero(survey.catalogue.transparent)
    if len(found):
        done = "left out" if "transparent" in survey.options.leave_out else f"kept, with plain ground {PLAIN.colour} in place of what is hidden there"
        yield f"{counted(len(found), 'picture')} with transparent parts, as {survey.path(found[0])}; {done}"


def _sizes(survey: Survey) -> Iterator[str]:
    catalogue, options = survey.catalogue, survey.options
    for flag, limit in (("tiny", f"--min-side {options.min_side}"), ("aspect", f"--max-aspect {options.max_aspect:g}")):
        for index in np.flatnonzero(survey.assignment.flags[flag]).tolist():
            size = f"{catalogue.width[index]} x {catalogue.height[index]}"
            yield f"{survey.path(index)}: {size}, outside {limit}; {_done(flag, options)}"


def _conflicts(survey: Survey) -> Iterator[str]:
    for pair in survey.duplicates.conflicts:
        one, other = survey.path(pair.one), survey.path(pair.other)
        yield f"{other}: the same picture as {one}, which has another label; both {_done('conflict', survey.options)}"


def _near_conflicts(survey: Survey) -> Iterator[str]:
    for pair in survey.duplicates.near:
        if survey.label(pair.one) != survey.label(pair.other):
            one, other = survey.path(pair.one), survey.path(pair.other)
            yield f"{other}: nearly the same as {one} ({pair.likeness:.3f}), which has another label; kept in one group, look at them"


def _labels(catalogue: Catalogue, assignment: Assignment, options: PrepareOptions) -> Iterator[str]:
    for number, name in enumerate(catalogue.names):
        own = catalogue.labels == number
        splits = assignment.split[own]
        used, in_training = int((splits >= 0).sum()), int((splits == TRAIN).sum())
        groups = len(np.unique(assignment.group[own & (assignment.split >= 0)]))
        if not used:
            yield f"{name}: {counted(int(own.sum()), 'picture')}, none that can be used; it is no label"
            continue
        if not in_training:
            yield f"{name}: no picture for training; its {used} are in {' and '.join(SPLITS[part] for part in np.unique(splits[splits >= 0]))}"
        wanted = [part for part in _wanted(assignment, options) if not (splits == part).any()]
        if wanted and in_training:
            what = f"{counted(used, 'picture')} in {counted(groups, 'group')}"
            yield f"{name}: only {what}, all for training: none in {' or '.join(SPLITS[part] for part in wanted)}"
        without = options.folds - len(np.unique(assignment.fold[own & (assignment.fold >= 0)]))
        if options.folds and without:
            yield f"{name}: {without} of {options.folds} folds have no picture of it"


def _wanted(assignment: Assignment, options: PrepareOptions) -> list[int]:
    """The splits beside training that should have pictures of every label."""
    drawn = {VAL: options.val_share > 0, TEST: options.test_share > 0} if not options.lists else {}
    return [part for part in (VAL, TEST) if drawn.get(part) or (assignment.split == part).any()]


def _coarse(catalogue: Catalogue, assignment: Assignment, options: PrepareOptions) -> Iterator[str]:
    if assignment.unnumbered:
        yield f"{counted(assignment.unnumbered, 'picture')} with nothing in the name for --group-by {options.group_by}; each is a group of its own"
    for number, name in enumerate(catalogue.names):
        sizes = np.bincount(assignment.group[(catalogue.labels == number) & (assignment.split >= 0)])
        if sizes.sum() > MOST and sizes.max() > NOTABLE_GROUP * sizes.sum():
            yield f"{name}: {sizes.max()} of its {sizes.sum()} pictures are one group, so its shares are coarse"


def _straddling(assignment: Assignment) -> Iterator[str]:
    if assignment.count("straddles"):
        for part in (VAL, TEST):
            own = assignment.split == part
            if count := int((assignment.flags["straddles"] & own).sum()):
                yield (
                    f"{count} of {own.sum()} pictures in {SPLITS[part]} are of a group that is in another split too; "
                    "the given splits were kept to, and what is measured on them flatters"
                )


def _imbalance(catalogue: Catalogue, assignment: Assignment) -> Iterator[str]:
    sizes = np.bincount(catalogue.labels[assignment.split >= 0], minlength=len(catalogue.names))
    largest, smallest = int(sizes.argmax()), int(np.where(sizes, sizes, sizes.max()).argmin())
    if sizes[largest] >= NOTABLE_IMBALANCE * sizes[smallest]:
        yield (
            f"{catalogue.names[largest]} has {counted(int(sizes[largest]), 'picture')}, {sizes[largest] / sizes[smallest]:.1f} times the "
            f"{sizes[smallest]} of {catalogue.names[smallest]}; class weights or --cap even that out"
        )
