"""The photos to explain: those a user names, or those a model gets most wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from converter.common.progress import Progress
from converter.data.photos import read_pixels
from device.vision.inference import images as pictures
from device.vision.inference.classifier import softmax
from device.vision.inference.images import PictureError
from device.vision.inference.preprocess import Pixels
from training.evaluate.evaluation import judge_photos, photo_predictions
from training.evaluate.models import Model
from training.evaluate.photo_selection import select_photos


@dataclass(frozen=True, eq=False)
class Subject:
    """A photo to explain: H x W x 3 uint8 RGB, and its true label where that is known."""

    name: str
    pixels: Pixels
    label: str | None = None


def named(paths: Sequence[Path]) -> tuple[list[Subject], list[str]]:
    """The pictures at these paths or in these folders, and one line for each that cannot be read.

    Raises PictureError when there is nothing at a path, or none can be read.
    """
    subjects: list[Subject] = []
    left_out: list[str] = []
    for file in chain.from_iterable(pictures.find_pictures(path) for path in paths):
        try:
            subjects.append(Subject(str(file), pictures.read_pixels(file)))
        except PictureError as error:
            left_out.append(str(error))
    if not subjects:
        raise PictureError(left_out[0])
    return subjects, left_out


def worst(model: Model, data: Path, split: str, count: int, progress: Progress) -> tuple[list[Subject], list[str]]:
    """The `count` photos of a split whose true label the model finds least likely, worst first; and one line for each unreadable photo.

    Raises what `select_photos` and `judge_photos` raise.
    """
    judged = judge_photos(model, select_photos(data, split, model), progress)
    entries = photo_predictions(judged.photos, softmax(judged.answers.logits, 1.0), judged.answers.targets, model.labels)
    ranked = sorted(zip(entries, judged.photos, strict=True), key=lambda pair: pair[0].p_label)[:count]
    return [Subject(entry.photo, read_pixels(photo.path), entry.label) for entry, photo in ranked], judged.left_out
