"""A finished training run: the network, its labels, its training photos and its validation photos."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from converter.data.photos import Photo, read_list, read_photos, read_split
from device.common.errors import SortbinError


class RunError(SortbinError, ValueError):
    """A run folder that is unfinished or does not match the data. The message names the file and what was expected."""


@dataclass(frozen=True)
class Run:
    """What `training fit` wrote. labels: in the network's order. train, val: photos below the data folder; none is in both."""

    model: Path
    labels: tuple[str, ...]
    train: tuple[Photo, ...]
    val: tuple[Photo, ...]

    def target(self, photo: Photo) -> int:
        """The index of the photo's label."""
        return self.labels.index(photo.label)


def run_from_labels_file(model: Path, labels_file: Path, data: Path, seed: int) -> Run:
    """A run of a model that another program trained. labels_file: one label per line, in the model's order. The photos are split by `read_split`.

    Raises RunError for a labels file that cannot be read or that differs from the labels of `data`; PhotosError.
    """
    labels = _read_labels(labels_file)
    split = read_split(data, seed=seed)
    differing = set(labels) ^ set(split.labels)
    if differing:
        where = labels_file if min(differing) in labels else data
        raise RunError(f"{labels_file}: expected the labels of {data}; {min(differing)} is only in {where}")
    return Run(model, labels, split.train, split.val)


def read_run(folder: Path, data: Path) -> Run:
    """Read a run folder and find its photos below `data`. No photo is decoded.

    Raises RunError for a folder without a finished run or with labels that differ from those of `data`; PhotosError for a missing photo.
    """
    files = require_finished(folder)
    labels = _read_labels(files["labels.txt"])
    by_name = {photo.name: photo for photo in read_photos(data)}
    train, val = (tuple(read_list(files[name], data, by_name)) for name in ("train.txt", "val.txt"))
    for name, photos in (("train.txt", train), ("val.txt", val)):
        if not photos:
            raise RunError(f"{files[name]}: expected the name of one photo per line, found none")
        strange = [photo for photo in photos if photo.label not in labels]
        if strange:
            raise RunError(f"{files[name]}: {strange[0].name} lies in a folder that {files['labels.txt']} does not name")
    without = set(labels) - {photo.label for photo in train}
    if without:
        raise RunError(f"{files['train.txt']}: no photo of {min(without)}, which {files['labels.txt']} names")
    both = set(train) & set(val)
    if both:
        raise RunError(f"{files['val.txt']}: {min(both).name} is in train.txt too")
    return Run(files["model.keras"], labels, train, val)


def require_finished(folder: Path) -> dict[str, Path]:
    """The files of a finished run by name. Raises RunError if one is missing."""
    if not folder.is_dir():
        raise RunError(f"{folder}: expected the folder that `training fit --out` wrote, found none")
    files = {name: folder / name for name in ("model.keras", "labels.txt", "train.txt", "val.txt")}
    for name, file in files.items():
        if not file.is_file():
            raise RunError(f"{folder}: no finished training run: {name} is missing")
    return files


def _read_labels(file: Path) -> tuple[str, ...]:
    try:
        text = unicodedata.normalize("NFC", file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RunError(f"{file}: {error.strerror}; expected a text file with one label per line") from error
    except UnicodeDecodeError as error:
        raise RunError(f"{file}: expected UTF-8 text with one label per line") from error
    labels = _without_numbers(tuple(line for line in text.split("\n") if line))
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise RunError(f"{file}: expected at least two labels, one per line, none twice")
    return labels


def _without_numbers(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The labels without their numbers, as in a file of Teachable Machine: "0 cardboard", "1 glass". Other lines are returned unchanged."""
    numbered = [line.partition(" ") for line in lines]
    if any(number != str(index) or not label.strip() for index, (number, _, label) in enumerate(numbered)):
        return lines
    return tuple(label.strip() for _, _, label in numbered)
