"""Which photos of a place belong together, so that no item or sequence is both taught and asked about.

A rule says it: `filename-block:N` and `filename-prefix` as for `training prepare --group-by`, or `FILE.csv:COLUMN`, a table in the place's folder
whose first column names the photo as `LABEL/NAME`. Without a rule `groups.csv:group` is taken where it is there. Near-duplicates of one label by
perceptual hash belong together in any case; photos of two labels that look alike show two items before one ground.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.common.progress import Progress
from converter.data.photos import Photo, read_pixels, report_all_unreadable
from device.common.errors import SortbinError
from training.prepare.groups import Groups, sequence_key
from training.prepare.layout import PathLabel
from training.prepare.options import PrepareError
from training.prepare.perceptual_hash import LEAST_CORRELATION, correlation, near_hashes, perceptual_hash, thumbnail

Ints = npt.NDArray[np.integer[Any]]

GROUPS_FILE, GROUP_COLUMN = "groups.csv", "group"
NEAR_BITS = 8
"""bits out of 64 by which the perceptual hashes of near-duplicates may differ, as in `training prepare`"""


class GroupingError(SortbinError, ValueError):
    """A rule or table of groups that cannot be used. The message names it and what was expected."""


def group_photos(folder: Path, photos: Sequence[Photo], rule: str | None, progress: Progress) -> Ints:
    """The group of each photo of a place, as the number of its first photo. rule: see above. Raises GroupingError and PhotosError."""
    groups = Groups(len(photos))
    if rule is None and (folder / GROUPS_FILE).is_file():
        rule = f"{GROUPS_FILE}:{GROUP_COLUMN}"
    if rule is not None:
        groups.join_by(_keys(folder, photos, rule))
    _join_near_duplicates(groups, photos, progress, f"comparing photos of {folder.resolve().name}")
    return groups.lowest()


def _keys(folder: Path, photos: Sequence[Photo], rule: str) -> list[str]:
    file, _, column = rule.partition(":")
    if file.endswith(".csv"):
        group_of = _read_table(folder / file, column)
        missing = [photo.name for photo in photos if photo.name not in group_of]
        if missing:
            raise GroupingError(f"{folder / file}: no line for {missing[0]}; expected one for each photo")
        return [group_of[photo.name] for photo in photos]
    try:
        key = sequence_key(rule)
    except PrepareError as error:
        raise GroupingError(f"{error}, or FILE.csv:COLUMN") from error
    return [key(photo.name, PathLabel(photo.label, "", "")) for photo in photos]


def _read_table(file: Path, column: str) -> dict[str, str]:
    """The group of each photo by its name."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            head, *rows = [row for row in csv.reader(opened) if row] or [[]]
    except OSError as error:
        raise GroupingError(f"{file}: {error.strerror}; expected a table of the photos and their groups") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise GroupingError(f"{file}: expected a table of comma-separated values in UTF-8: {error}") from error
    if column not in head[1:]:
        raise GroupingError(f"{file}: expected a column {column or GROUP_COLUMN} behind the photos' names, found {', '.join(head)}")
    place = head.index(column)
    short = [row for row in rows if len(row) <= place]
    if short:
        raise GroupingError(f"{file}: {short[0][0]}: expected a value in column {column}")
    return {row[0]: row[place] for row in rows}


def _join_near_duplicates(groups: Groups, photos: Sequence[Photo], progress: Progress, text: str) -> None:
    hashes, thumbnails, hashed = [], [], []
    with report_all_unreadable(photos):
        for number, photo in enumerate(progress.track(photos, text)):
            pixels = read_pixels(photo.path)
            found = perceptual_hash(pixels)
            if found is not None:
                hashes.append(found)
                thumbnails.append(thumbnail(pixels))
                hashed.append(number)
    for ones, others in near_hashes(np.array(hashes, np.uint64), NEAR_BITS):
        for one, other in zip(ones.tolist(), others.tolist(), strict=True):
            first, second = hashed[one], hashed[other]
            if photos[first].label == photos[second].label and correlation(thumbnails[one], thumbnails[other]) >= LEAST_CORRELATION:
                groups.join(first, second)
