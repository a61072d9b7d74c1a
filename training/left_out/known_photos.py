"""Which photos of a place a model has seen in training, so that nobody takes such a place for one that was left out."""

from pathlib import Path

from converter.bundle.photo_list import listed_split, photo_digest
from converter.data.photos import PhotosError
from device.vision.inference.bundle import INFO_FILE, read_bundle
from training.evaluate.models import Model
from training.left_out.place import PhotoPlace

LISTS = "train.txt", "val.txt", "further.txt"
"""lists of a run: the photos that it was trained on, was chosen by, and was trained on beside those of its data set"""


def count_known(model: Model, place: PhotoPlace) -> int | None:
    """How many photos of a place a model was trained on or chosen by; None where that is not known.

    A bundle lists digests. A run lists names: `LABEL/NAME` may be a photo of any place, `PLACE/LABEL/NAME` is one of that place.
    """
    if model.photo_list is not None:
        listed = model.photo_list.train + model.photo_list.val
        return sum(photo_digest(photo) in listed for photo in place.photos)
    if (model.path / INFO_FILE).is_file():
        return _count_of_older_bundle(model.path, place)
    listed_names = {name for file in LISTS if (model.path / file).is_file() for name in (model.path / file).read_text(encoding="utf-8").split("\n")}
    if not any(listed_names):
        return None
    return sum(not listed_names.isdisjoint((photo.name, f"{place.name}/{photo.name}")) for photo in place.photos)


def _count_of_older_bundle(folder: Path, place: PhotoPlace) -> int | None:
    """It has no list, only a hash over all of its photos: known where the place holds just these."""
    try:
        split = listed_split(read_bundle(folder), place.folder)
    except PhotosError:
        return None
    if split is None:
        return None
    listed = {photo.name for photo in split.train + split.val}
    return sum(photo.name in listed for photo in place.photos)
