"""Writing `manifest.csv` and `dataset.json`, each whole or not at all."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from converter.data.manifest import COLUMNS, FORMATS, INFO_FILE, MANIFEST_FILE, MASK_COLUMN, SPLITS, DatasetInfo
from device.common.files import replacing_durably, write_durably
from device.vision.inference.bundle import hash_file
from training.prepare.catalogue import UNKNOWN, Catalogue
from training.prepare.masks import Masks
from training.prepare.records import Records
from training.prepare.verdict import TRAIN, Verdict


def write_manifest(folder: Path, records: Records, catalogue: Catalogue, verdict: Verdict, masks: Masks | None) -> None:
    """Write a row for each picture, ordered by path. masks: where some were made."""
    several = np.bincount(verdict.group, minlength=len(catalogue)) > 1
    group_names: dict[int, str] = {}
    with replacing_durably(folder / MANIFEST_FILE) as new, new.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow((*COLUMNS, MASK_COLUMN) if masks else COLUMNS)
        for index, known in enumerate(records.known()):
            group = int(verdict.group[index])
            if several[group]:
                group_names.setdefault(group, known.path)
            flags = " ".join(flag for flag, marks in verdict.flags.items() if marks[index])
            split = "" if verdict.split[index] == UNKNOWN else SPLITS[verdict.split[index]]
            fold = "" if verdict.fold[index] == UNKNOWN else int(verdict.fold[index])
            label = catalogue.names[catalogue.labels[index]]
            row = (known.path, label, group_names.get(group, known.path), split, fold, known.sha256, known.width, known.height, flags)
            table.writerow((*row, masks.file(known.id, known.path)) if masks else row)


def write_info(
    folder: Path, origin: str, source: Path, options: dict[str, Any], folds: int, catalogue: Catalogue, verdict: Verdict, masks: Masks | None
) -> DatasetInfo:
    """Write `dataset.json` for the manifest that lies in `folder`: last of all, since it says that the data set is complete."""
    mean, std = channel_statistics(catalogue, verdict)
    info = DatasetInfo(
        origin=origin,
        source="images" if source == folder / "images" else str(source),
        labels=used_labels(catalogue, verdict),
        pictures=len(catalogue),
        counts=counts(catalogue, verdict),
        flags={flag: verdict.count(flag) for flag in verdict.flags},
        folds=folds,
        mean=mean,
        std=std,
        options=options,
        fingerprint=hash_file(folder / MANIFEST_FILE),
        format=FORMATS[1] if masks else FORMATS[0],
        masks=masks.counts() if masks else msgspec.UNSET,
    )
    write_json(folder / INFO_FILE, info)
    return info


def channel_statistics(catalogue: Catalogue, verdict: Verdict) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of R, G, B over the training pictures, 0..1, each picture weighing the same. All 0 without any."""
    moments = catalogue.moments[verdict.split == TRAIN]
    mean, square = np.split(moments.mean(axis=0) if len(moments) else np.zeros(6), 2)
    red, green, blue = np.sqrt(np.maximum(square - mean**2, 0)).tolist()
    return (float(mean[0]), float(mean[1]), float(mean[2])), (red, green, blue)


def used_labels(catalogue: Catalogue, verdict: Verdict) -> tuple[str, ...]:
    """The labels with a picture in a split, sorted."""
    used = np.unique(catalogue.labels[verdict.split != UNKNOWN]).tolist()
    return tuple(catalogue.names[label] for label in used)


def counts(catalogue: Catalogue, verdict: Verdict) -> dict[str, dict[str, int]]:
    """Pictures per split and label; of the labels that are used, and of splits that hold any."""
    used = used_labels(catalogue, verdict)
    found: dict[str, dict[str, int]] = {}
    for number, split in enumerate(SPLITS):
        within = Counter(catalogue.labels[verdict.split == number].tolist())
        if within:
            found[split] = {label: within[catalogue.names.index(label)] for label in used}
    return found


def write_json(file: Path, value: Any) -> None:
    """Write a value as indented JSON."""
    write_durably(file, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
