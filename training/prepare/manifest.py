"""Write `manifest.csv` and `dataset.json`, each complete or not at all."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from converter.data.manifest import COLUMNS, FORMATS, INFO_FILE, MANIFEST_FILE, MASK_COLUMN, SPLITS, DatasetInfo
from device.common.files import replacing_durably, write_durably
from device.vision.inference.bundle import hash_file
from training.prepare.assignment import TRAIN, Assignment
from training.prepare.picture_arrays import UNASSIGNED, Catalogue
from training.prepare.survey import Survey


def write_manifest(folder: Path, survey: Survey) -> None:
    """Write one row for each picture, ordered by path."""
    catalogue, assignment, masks = survey.catalogue, survey.assignment, survey.masks
    several = np.bincount(assignment.group, minlength=len(catalogue)) > 1
    group_names: dict[int, str] = {}
    with replacing_durably(folder / MANIFEST_FILE) as new, new.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow((*COLUMNS, MASK_COLUMN) if masks else COLUMNS)
        for index, known in enumerate(survey.records.known()):
            group = int(assignment.group[index])
            if several[group]:
                group_names.setdefault(group, known.path)
            flags = " ".join(flag for flag, marks in assignment.flags.items() if marks[index])
            split = "" if assignment.split[index] == UNASSIGNED else SPLITS[assignment.split[index]]
            fold = "" if assignment.fold[index] == UNASSIGNED else int(assignment.fold[index])
            label = catalogue.names[catalogue.labels[index]]
            row = (known.path, label, group_names.get(group, known.path), split, fold, known.sha256, known.width, known.height, flags)
            table.writerow((*row, masks.file(known.id, known.path)) if masks else row)


def write_info(folder: Path, source: Path, survey: Survey, recorded: dict[str, Any]) -> DatasetInfo:
    """Write `dataset.json`. It is written last: its presence says that the data set is complete.

    source: where the pictures are. recorded: the options, see `PrepareOptions.recorded`.
    """
    catalogue, assignment, masks = survey.catalogue, survey.assignment, survey.masks
    mean, std = channel_statistics(catalogue, assignment)
    info = DatasetInfo(
        origin=survey.options.source,
        source="images" if source == folder / "images" else str(source),
        labels=used_labels(catalogue, assignment),
        pictures=len(catalogue),
        counts=counts(catalogue, assignment),
        flags={flag: assignment.count(flag) for flag in assignment.flags},
        folds=survey.options.folds,
        mean=mean,
        std=std,
        options=recorded,
        fingerprint=hash_file(folder / MANIFEST_FILE),
        format=FORMATS[1] if masks else FORMATS[0],
        masks=masks.counts() if masks else msgspec.UNSET,
    )
    write_json(folder / INFO_FILE, info)
    return info


def channel_statistics(catalogue: Catalogue, assignment: Assignment) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of R, G, B over the training pictures, 0..1, each picture weighing the same. All 0 without any."""
    moments = catalogue.moments[assignment.split == TRAIN]
    mean, square = np.split(moments.mean(axis=0) if len(moments) else np.zeros(6), 2)
    red, green, blue = np.sqrt(np.maximum(square - mean**2, 0)).tolist()
    return (float(mean[0]), float(mean[1]), float(mean[2])), (red, green, blue)


def used_labels(catalogue: Catalogue, assignment: Assignment) -> tuple[str, ...]:
    """The labels with a picture in a split, sorted."""
    used = np.unique(catalogue.labels[assignment.split != UNASSIGNED]).tolist()
    return tuple(catalogue.names[label] for label in used)


def counts(catalogue: Catalogue, assignment: Assignment) -> dict[str, dict[str, int]]:
    """Pictures per split and label; of the labels that are used, and of splits that hold any."""
    used = used_labels(catalogue, assignment)
    found: dict[str, dict[str, int]] = {}
    for number, split in enumerate(SPLITS):
        within = Counter(catalogue.labels[assignment.split == number].tolist())
        if within:
            found[split] = {label: within[catalogue.names.index(label)] for label in used}
    return found


def write_json(file: Path, value: Any) -> None:
    """Write a value as indented JSON."""
    write_durably(file, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
