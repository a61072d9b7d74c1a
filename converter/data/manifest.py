"""A prepared data set: the folder that `training prepare` writes and that `--data` options read.

`manifest.csv` has one row per picture. `dataset.json` names the folder of the pictures, the labels, and how the data set was made.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from device.common.errors import SortbinError, describe_error
from device.vision.inference.bundle import hash_file

INFO_FILE = "dataset.json"
MANIFEST_FILE = "manifest.csv"
RECORDS_FILE = "records.sqlite3"
"""from which `training prepare` resumes; while there is no INFO_FILE beside it, the data set is unfinished"""

SPLITS = ("train", "val", "test")
COLUMNS = ("path", "label", "group", "split", "fold", "sha256", "width", "height", "flags")
MASK_COLUMN = "mask"
"""the column after COLUMNS in format 2"""
FORMATS = (1, 2)
"""2 with masks (`training prepare --isolate`), 1 without"""


class ManifestError(SortbinError, ValueError):
    """A prepared data set that is unfinished, damaged or edited by hand. The message names the file and the cure."""


class ManifestRow(msgspec.Struct, frozen=True):
    """One picture. path: below the source folder, with forward slashes. group: path of the group's first picture; pictures of a group look alike
    or are of one sequence. split: train, val, test, or empty for one that is left out. fold: from 0, None outside of cross-validation.
    sha256: of the file. width, height: in pixels, 0 for a picture that cannot be decoded. flags: problems that were found. mask: file of the same
    size, below the data set, with forward slashes; empty without one.
    """

    path: str
    label: str
    group: str
    split: str
    fold: int | None
    sha256: str
    width: int
    height: int
    flags: tuple[str, ...]
    mask: str = ""


class DatasetInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`dataset.json`.

    origin: the source as the user named it. source: the folder of the pictures, absolute or relative to the data set. mean, std: of the training
    pictures, per channel (RGB), 0..1; every picture has the same weight. counts: pictures by split and label. flags: pictures by flag.
    options: of the command. fingerprint: sha256 of `manifest.csv`. masks: pictures by where their mask comes from, `none` for those without one; not
    in format 1.
    """

    origin: str
    source: str
    labels: tuple[str, ...]
    pictures: int
    counts: dict[str, dict[str, int]]
    flags: dict[str, int]
    folds: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    options: dict[str, Any]
    fingerprint: str
    format: int = FORMATS[0]
    masks: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


def is_dataset(folder: Path) -> bool:
    """Whether `training prepare` wrote this folder, even if it did not finish."""
    return (folder / INFO_FILE).is_file() or (folder / RECORDS_FILE).is_file()


def read_info(folder: Path) -> DatasetInfo:
    """Read `dataset.json` and check that `manifest.csv` belongs to it. Raises ManifestError."""
    file = folder / INFO_FILE
    try:
        info = msgspec.json.decode(file.read_bytes(), type=DatasetInfo)
        found = hash_file(folder / MANIFEST_FILE)
    except FileNotFoundError as error:
        raise ManifestError(f"{error.filename}: missing, the data set is unfinished; run `training prepare` again, it resumes") from error
    except OSError as error:
        raise ManifestError(f"{error.filename}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ManifestError(f"{file}: {describe_error(error) if isinstance(error, msgspec.MsgspecError) else error}") from error
    if info.format not in FORMATS:
        raise ManifestError(f"{file}: format: expected {' or '.join(map(str, FORMATS))}, got {info.format}; prepare the data set again")
    if found != info.fingerprint:
        raise ManifestError(f"{folder / MANIFEST_FILE}: not the one that {INFO_FILE} was written with; prepare the data set again")
    return info


def read_rows(folder: Path) -> Iterator[ManifestRow]:
    """The rows of `manifest.csv`, sorted by path as in the file. Raises ManifestError."""
    file = folder / MANIFEST_FILE
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            rows = csv.reader(opened)
            columns = tuple(next(rows, ()))
            if columns not in (COLUMNS, (*COLUMNS, MASK_COLUMN)):
                raise ManifestError(f"{file}: expected the columns {','.join(COLUMNS)} and maybe {MASK_COLUMN}")
            for row in rows:
                yield _parse_row(row if MASK_COLUMN in columns else [*row, ""])
    except OSError as error:
        raise ManifestError(f"{file}: {error.strerror}") from error
    except (ValueError, csv.Error) as error:
        raise ManifestError(f"{file}: line {rows.line_num}: {error}") from error


def source_of(folder: Path, info: DatasetInfo) -> Path:
    """The folder of the pictures. Raises ManifestError if it no longer exists."""
    source = folder / info.source
    if not source.is_dir():
        raise ManifestError(f"{source}: the pictures of {folder} were in this folder, which no longer exists; prepare the data set again")
    return source


def _parse_row(values: list[str]) -> ManifestRow:
    path, label, group, split, fold, sha256, width, height, flags, mask = values
    return ManifestRow(path, label, group, split, int(fold) if fold else None, sha256, int(width), int(height), tuple(flags.split()), mask)
