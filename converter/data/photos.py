"""Labelled photos on disk: a folder per label with optional split lists, or a data set that `training prepare` wrote."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from converter.common.parallel_map import parallel_map
from converter.data import manifest
from converter.data.manifest import ManifestError, ManifestRow, is_dataset
from device.common.errors import SortbinError
from device.common.label_names import label_of, label_remarks
from device.common.wording import counted
from device.vision.inference import images as pictures
from device.vision.inference.images import SUFFIXES
from device.vision.inference.preprocess import Pixels

MASKS = "masks"
"""folder of the items' masks, below a plain data folder or a place"""
ITEMS = "items"
"""folder of the labelled items of a place"""
OUTSIDE = "extra-"
"""begins the names of folders, in a place, of things that are none of the labels"""


class PhotosError(SortbinError, ValueError):
    """A data folder, a split list or a picture that cannot be used. The message names it and what was expected."""


@dataclass(frozen=True, order=True)
class Photo:
    """A labelled picture. name: its path below the data folder, or below the source of a prepared data set, with forward slashes.

    mask: a grey picture of the same view, 0 ground to 255 item, or None. In a plain data folder it is `masks/<label>/<name>.png`; in a prepared
    data set the manifest names it. place: the folder that an extra photo was read from, such as `kitchen`; empty for a photo of the data set itself.
    """

    name: str
    label: str
    path: Path
    mask: Path | None = None
    place: str = ""


@dataclass(frozen=True)
class Split:
    """Labels in the network's order, training photos and validation photos. No photo is in both."""

    labels: tuple[str, ...]
    train: tuple[Photo, ...]
    val: tuple[Photo, ...]

    def counts(self) -> dict[str, int]:
        """The number of training photos of each label, in label order."""
        found = Counter(photo.label for photo in self.train)
        return {label: found[label] for label in self.labels}


def read_split(data: Path, val_share: float = 0.15, seed: int = 0) -> Split:
    """Read the training and validation photos of a prepared data set or of a folder per label.

    The manifest of a prepared data set names the split of each photo. A plain folder is split by `splits/*train.txt` and `splits/*val.txt`.
    Without these lists `val_share` of each label's photos are drawn for validation with `seed`, at least one and never all.

    Raises PhotosError for a missing or empty folder, a list that names a missing photo, a photo in both lists, and a prepared data set that is
    unfinished or has no photos for training or validation.
    """
    if is_dataset(data):
        prepared = _read_prepared(data)
        return Split(prepared.labels, prepared.part(data, "train"), prepared.part(data, "val"))
    photos = read_photos(data)
    labels = tuple(sorted({photo.label for photo in photos}))
    if len(labels) < 2:
        raise PhotosError(f"{data}: expected a folder for each of at least two labels, found {', '.join(labels)}")
    lists = sorted((data / "splits").glob("*train.txt")), sorted((data / "splits").glob("*val.txt"))
    if any(lists):
        if len(lists[0]) != 1 or len(lists[1]) != 1:
            raise PhotosError(f"{data / 'splits'}: expected exactly one *train.txt and one *val.txt")
        by_name = {photo.name: photo for photo in photos}
        train, val = (read_list(file, data, by_name) for (file,) in lists)
        both = {photo.name for photo in train} & {photo.name for photo in val}
        if both:
            raise PhotosError(f"{lists[1][0]}: {min(both)} is in the training list too")
    else:
        train, val = _draw_split(photos, labels, val_share, seed)
    return Split(labels, tuple(sorted(train)), tuple(sorted(val)))


def read_fold(data: Path, fold: int) -> Split:
    """One round of cross-validation of a prepared data set: `fold` is for validation, all other folds are for training.

    Raises PhotosError if the data set cannot be read or has no such fold.
    """
    if not is_dataset(data):
        raise PhotosError(f"{data}: has no folds; `training prepare --folds` makes some")
    prepared = _read_prepared(data)
    val = prepared.part(data, f"fold{fold}")
    train = tuple(photo for parts, photo in prepared.photos if len(parts) == 2 and f"fold{fold}" not in parts)
    return Split(prepared.labels, train, val)


def read_part(data: Path, part: str) -> tuple[Photo, ...]:
    """The photos of one part, sorted by name: train, val, test, all, or a fold of a prepared data set, such as `fold0`.

    In a plain folder train and val are those of `read_split`, and test is `splits/*test.txt`. Raises PhotosError as `read_split` does, and for a part
    that does not exist or is empty.
    """
    if part == "all":
        return tuple(read_photos(data))
    if is_dataset(data):
        return _read_prepared(data).part(data, part)
    match part:
        case "train":
            return read_split(data).train
        case "val":
            return read_split(data).val
        case "test":
            lists = sorted((data / "splits").glob("*test.txt"))
            if len(lists) != 1:
                raise PhotosError(f"{data / 'splits'}: expected exactly one *test.txt")
            return tuple(sorted(read_list(lists[0], data, {photo.name: photo for photo in read_photos(data)})))
        case _:
            raise PhotosError(f"{data}: no part {part}; a plain folder has train, val, test and all, `training prepare` makes folds")


def read_photos(data: Path) -> list[Photo]:
    """Every picture in the label folders of `data`, sorted by name. Of a prepared data set: every picture that is in a split.

    Hidden files are skipped. `label_of` makes the label from the folder's name. Raises PhotosError if there is no picture, and for a name that a list
    cannot hold; LabelError.
    """
    if is_dataset(data):
        return [photo for _, photo in _read_prepared(data).photos]
    if not data.is_dir():
        raise PhotosError(f"{data}: expected a folder with a folder of photos for each label, found none")
    photos = [
        _make_photo(data, folder.name, path, _mask_file(data, folder.name, path))
        for folder in sorted(data.iterdir())
        if folder.is_dir() and not pictures.is_hidden(folder.name)
        for path in sorted(folder.iterdir())
        if _is_picture(path)
    ]
    if not photos:
        raise PhotosError(f"{data}: expected a folder of photos for each label, found no photo ({', '.join(sorted(SUFFIXES))})")
    return photos


def read_extra_photos(folder: Path, labels: Sequence[str]) -> tuple[Photo, ...]:
    """Photos to train on in addition to a data set: a folder per label, or places as `training render` writes them.

    A rendered place is a folder with `items/<label>/` and `masks/<label>/`. The names of its photos begin with its name. The `place` of all photos is
    the name of `folder`. Folders whose names begin with `extra-` hold things outside the labels and are passed over. Raises PhotosError if there is
    no photo, and for a label that is not in `labels`.
    """
    places = sorted(items.parent for items in folder.glob(f"*/{ITEMS}") if items.is_dir())
    found = [photo for place in places for photo in _photos_of_place(folder, place)] if places else read_photos(folder)
    photos = [photo for photo in found if not photo.label.startswith(OUTSIDE)]
    strange = sorted({photo.label for photo in photos} - set(labels))
    if strange:
        raise PhotosError(f"{folder}: expected folders named as labels ({', '.join(labels)}), found {strange[0]}")
    if not photos:
        raise PhotosError(f"{folder}: expected a folder of photos for each label, found no photo in its places")
    return tuple(replace(photo, place=folder.resolve().name) for photo in photos)


def _photos_of_place(album: Path, place: Path) -> list[Photo]:
    return [
        _make_photo(album, path.parent.name, path, _mask_file(place, path.parent.name, path))
        for path in sorted((place / ITEMS).glob("*/*"))
        if _is_picture(path)
    ]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not pictures.is_hidden(path.name) and not path.is_dir()


def _make_photo(data: Path, folder: str, path: Path, mask: Path | None) -> Photo:
    name = path.relative_to(data).as_posix()
    reason = unlistable_reason(name)
    if reason:
        raise PhotosError(f"{data}: {name!r}: {reason}; give it another one")
    return Photo(name, label_of(folder), path, mask)


def unlistable_reason(name: str) -> str:
    """Why a list with one name per line cannot hold this name. Empty if it can."""
    if "\n" in name or "\r" in name:
        return "its name has a line break"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return ""


def _mask_file(data: Path, label: str, picture: Path) -> Path | None:
    file = data / MASKS / label / f"{picture.stem}.png"
    return file if file.is_file() else None


def empty_folders(data: Path) -> list[Path]:
    """Folders of a plain data folder without a photo, which therefore are no labels. The folders of lists and masks are not among them."""
    if is_dataset(data) or not data.is_dir():
        return []
    named = {photo.label for photo in read_photos(data)}
    return [folder for folder in _label_folders(data) if label_of(folder.name) not in named]


def folder_remarks(data: Path) -> list[str]:
    """Remarks about a plain data folder, one line each: unusual label names, empty folders, files that are skipped.

    Empty for a prepared data set: `training prepare` has printed them.
    """
    if is_dataset(data) or not data.is_dir():
        return []
    folders = _label_folders(data)
    files = [file for folder in folders for file in folder.iterdir() if not pictures.is_hidden(file.name) and not file.is_dir()]
    others = pictures.count_unread_kinds(file.name for file in files)
    deeper = sum(_is_picture(file) for folder in folders for file in folder.glob("*/**/*"))
    beside = sum(_is_picture(file) for file in data.iterdir())
    return [
        *label_remarks(folder.name for folder in folders),
        *(f"{folder}: no photo in it, so it is no label" for folder in empty_folders(data)),
        *([f"{data}: {pictures.describe_unread_kinds(others)}"] if others else []),
        *(
            [f"{data}: {counted(deeper, 'picture')} in folders below those of the labels; passed over, `training prepare` takes them"]
            if deeper
            else []
        ),
        *([f"{data}: {counted(beside, 'picture')} in no label's folder; passed over"] if beside else []),
    ]


def _label_folders(data: Path) -> list[Path]:
    names = ("splits", MASKS)
    return [folder for folder in sorted(data.iterdir()) if folder.is_dir() and folder.name not in names and not pictures.is_hidden(folder.name)]


def read_list(file: Path, data: Path, by_name: dict[str, Photo]) -> list[Photo]:
    """The photos that a list names, one name per line, in the order of the list.

    Raises PhotosError for a list that cannot be read, and for a name of no photo below `data`.
    """
    try:
        names = [name for name in file.read_text(encoding="utf-8-sig").split("\n") if name]
    except OSError as error:
        raise PhotosError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PhotosError(f"{file}: expected UTF-8 text with the name of one photo per line") from error
    missing = [name for name in names if name not in by_name]
    if missing:
        raise PhotosError(f"{file}: names {missing[0]}, which is not below {data}")
    return [by_name[name] for name in names]


def read_pixels(path: Path) -> Pixels:
    """Decode a picture to H x W x 3 uint8, RGB. Raises PhotosError if the file is missing, empty or no picture."""
    try:
        return pictures.read_pixels(path)
    except pictures.PictureError as error:
        raise PhotosError(str(error)) from error


def require_readable(photos: Sequence[Photo]) -> None:
    """Decode each photo and its mask once, on all processors, so that a bad file does not end hours of training.

    Raises PhotosError, which names every file that cannot be read.
    """
    files = [file for photo in photos for file in (photo.path, photo.mask) if file is not None]
    problems = [
        line for lines in parallel_map(len(files), lambda: lambda number: pictures.find_unreadable(files[number : number + 1])) for line in lines
    ]
    if problems:
        raise PhotosError(pictures.unreadable_message(problems, len(files)))


@contextlib.contextmanager
def report_all_unreadable(photos: Sequence[Photo]) -> Iterator[None]:
    """If the block raises PhotosError, check all photos and raise one PhotosError that names every unreadable file."""
    try:
        yield
    except PhotosError:
        require_readable(photos)
        raise


def read_mask(file: Path) -> Pixels:
    """Decode a mask to H x W uint8, 0 ground to 255 item. Raises PhotosError as `read_pixels` does."""
    return np.ascontiguousarray(read_pixels(file)[..., 0])


@dataclass(frozen=True)
class _PreparedPhotos:
    """The pictures of a prepared data set that are in a split. labels: in the network's order. photos: each with the names of its parts, which are
    its split and its fold, such as `fold0`, if it has one.
    """

    labels: tuple[str, ...]
    photos: tuple[tuple[tuple[str, ...], Photo], ...]

    def part(self, data: Path, name: str) -> tuple[Photo, ...]:
        """The photos of a split or of a fold. Raises PhotosError if there are none."""
        found = tuple(photo for parts, photo in self.photos if name in parts)
        if not found:
            parts = sorted({part for own, _ in self.photos for part in own})
            raise PhotosError(f"{data / manifest.MANIFEST_FILE}: no picture in {name}; expected one of {', '.join(parts)}")
        return found


def photo_of(row: ManifestRow, data: Path, source: Path) -> Photo:
    """The photo of a row in the manifest of the prepared data set `data`. source: the folder of its pictures."""
    return Photo(row.path, row.label, source / row.path, data / row.mask if row.mask else None)


def _parts(row: ManifestRow) -> tuple[str, ...]:
    return (row.split,) if row.fold is None else (row.split, f"fold{row.fold}")


def _read_prepared(data: Path) -> _PreparedPhotos:
    try:
        info = manifest.read_info(data)
        source = manifest.source_of(data, info)
        rows = manifest.read_rows(data)
        photos = tuple((_parts(row), photo_of(row, data, source)) for row in rows if row.split)
    except ManifestError as error:
        raise PhotosError(str(error)) from error
    if not photos:
        raise PhotosError(f"{data / manifest.MANIFEST_FILE}: leaves every picture out")
    return _PreparedPhotos(info.labels, photos)


def _draw_split(photos: list[Photo], labels: tuple[str, ...], share: float, seed: int) -> tuple[list[Photo], list[Photo]]:
    rng = np.random.default_rng(seed)
    train: list[Photo] = []
    val: list[Photo] = []
    for label in labels:
        own = [photo for photo in photos if photo.label == label]
        if len(own) < 2:
            raise PhotosError(f"{own[0].path.parent}: expected at least two photos of {label}, found one")
        order = rng.permutation(len(own))
        cut = min(max(1, round(share * len(own))), len(own) - 1)
        val += [own[i] for i in order[:cut]]
        train += [own[i] for i in order[cut:]]
    return train, val
