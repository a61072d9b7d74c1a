"""Open a model with all that it judges and learns with, and measure it at a place."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from converter.common.progress import Progress
from converter.data.photos import Photo, read_pixels, report_all_unreadable
from converter.data.training_run import read_run
from device.vision.inference.bundle import INFO_FILE
from training.evaluate.models import Model, ModelError, open_model
from training.left_out.judging import Judging, OwnPhotos, bare_judging, bundle_judging, run_judging, see
from training.left_out.known_photos import count_known
from training.left_out.measure import PlaceReport, Protocol, measure
from training.left_out.place import PhotoPlace


def open_judging(path: Path, data: Path | None, progress: Progress) -> tuple[Model, Judging]:
    """A run or bundle. data: the photos of a run; without them it is neither calibrated nor taught. Raises ModelError, BundleError, RunError and
    PhotosError.
    """
    if path.suffix == ".tflite":
        raise ModelError(f"{path}: expected a run or a bundle: a bare .tflite has neither calibration nor statistics for teaching")
    progress.step(f"opening {path}")
    model = open_model(path)
    if (path / INFO_FILE).is_file():
        return model, bundle_judging(path)
    if data is None:
        return model, bare_judging(model)
    run = read_run(path, data)
    train, val = (own_photos(model, photos, progress) for photos in (run.train, run.val))
    return model, run_judging(model, train, val)


def own_photos(model: Model, photos: Sequence[Photo], progress: Progress) -> OwnPhotos:
    """What a model makes of the photos that it was trained on or chosen by. Raises PhotosError."""
    with report_all_unreadable(photos):
        outputs = model.judge(read_pixels(photo.path) for photo in progress.track(photos, f"showing {model.name} its own photos"))
    return OwnPhotos(outputs.logits, outputs.embeddings, np.array([model.labels.index(photo.label) for photo in photos], np.int64))


def measure_at(model: Model, judging: Judging, place: PhotoPlace, protocol: Protocol, progress: Progress) -> PlaceReport:
    """Measure a model at one place, by the photos of its labels. Raises PhotoPlaceError where there are none, PhotosError and RuntimeFault."""
    counted = place.of_labels(model.labels)
    seen = see(model, progress.track(counted.photos, f"showing {model.name} {place.name}"))
    progress.step(f"teaching {model.name} {place.name}")
    others = len(place.photos) - len(counted.photos)
    return measure(judging, counted, others, seen, count_known(model, counted), protocol)
