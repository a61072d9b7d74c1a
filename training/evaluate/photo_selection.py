"""Select the photos to measure a model on: one split of a prepared data set, or of plain folders, one a label."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.bundle.photo_list import photos_with_digests
from converter.data.manifest import is_dataset, read_info, read_rows, source_of
from converter.data.photos import Photo, PhotosError, photo_of, read_list, read_part, read_photos
from training.evaluate.models import Model

SPLITS = ("train", "val", "test", "all")


@dataclass(frozen=True)
class SelectedPhotos:
    """Photos, at least one, and the index of each one's label in the model. name: of the data set. split: one of SPLITS, or a fold."""

    name: str
    split: str
    photos: tuple[Photo, ...]
    targets: tuple[int, ...]


def select_photos(data: Path, split: str, model: Model) -> SelectedPhotos:
    """The photos of `split` below `data`, with the indices of their labels in the model.

    In plain folders the lists `splits/*train.txt`, `*val.txt`, `*test.txt` define the splits; without them the lists of the run or bundle.
    Raises PhotosError for data without that split or with an empty one, and for a label that the model does not have; ManifestError.
    """
    photos = _prepared(data, split) if is_dataset(data) else _plain(data, split, model)
    if not photos:
        raise PhotosError(f"{data}: no photo in split {split}; choose another with --split ({', '.join(SPLITS)})")
    index_of = {_composed(label): index for index, label in enumerate(model.labels)}
    unknown = [photo for photo in photos if _composed(photo.label) not in index_of]
    if unknown:
        raise PhotosError(f"{data}: {unknown[0].name} is labelled {unknown[0].label}; expected a label of {model.path}: {', '.join(model.labels)}")
    return SelectedPhotos(data.resolve().name, split, tuple(photos), tuple(index_of[_composed(photo.label)] for photo in photos))


def _plain(data: Path, split: str, model: Model) -> Sequence[Photo]:
    photos = read_photos(data)
    if split == "all":
        return photos
    by_name = {photo.name: photo for photo in photos}
    lists = sorted((data / "splits").glob(f"*{split}.txt"))
    if len(lists) > 1:
        raise PhotosError(f"{data / 'splits'}: expected exactly one *{split}.txt, found {', '.join(file.name for file in lists)}")
    if lists:
        return read_list(lists[0], data, by_name)
    if model.photo_list is not None and split in ("train", "val"):
        wanted = model.photo_list.train if split == "train" else model.photo_list.val
        listed = photos_with_digests(photos, wanted)
        if len(listed) == wanted.total():
            return listed
    names = {"train": sorted(model.trained_on), "val": model.chosen_by}.get(split, ())
    found = [by_name[name] for name in names if name in by_name]
    if not names or len(found) < len(names):
        raise PhotosError(f"{data}: no list splits/*{split}.txt says which photos are in split {split}; measure on all with --split all")
    return found


def _prepared(dataset: Path, split: str) -> Sequence[Photo]:
    if split not in SPLITS:
        return read_part(dataset, split)
    source = source_of(dataset, read_info(dataset))
    wanted = SPLITS if split == "all" else (split,)
    return [photo_of(row, dataset, source) for row in read_rows(dataset) if row.split in wanted]


def _composed(label: str) -> str:
    """In Unicode NFC: file systems differ in how they encode accents."""
    return unicodedata.normalize("NFC", label)
