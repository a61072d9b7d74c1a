"""Evaluation: every measure of a model on one split of a data set, as in `report.json`."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from converter.bundle import confidence
from converter.bundle.photo_list import photo_digest
from converter.common.accuracy import Ints, Predictions
from converter.common.progress import Progress
from converter.common.proportion import Proportion, proportion
from converter.data.isolated_view import PhotoView, whole_view
from converter.data.photos import Photo, PhotosError, read_pixels
from converter.quantization.calibration_photos import fingerprint
from device import __version__
from device.common.arrays import Float64Array
from device.policy.rules import RulePack
from device.vision.inference.classifier import softmax
from device.vision.inference.preprocess import Pixels
from training.evaluate import measures
from training.evaluate.confidence_calibration import CalibrationReport, calibrate
from training.evaluate.conformal import ConformalSets, conformal_sets
from training.evaluate.corruptions import CORRUPTIONS, corrupted_views
from training.evaluate.isolated_items import IsolatedItems
from training.evaluate.measures import ConfusedPair, LabelMeasures
from training.evaluate.models import Model
from training.evaluate.photo_selection import SelectedPhotos
from training.evaluate.selective import RiskCoverage, risk_coverage
from training.evaluate.sorting import SortingResult, measure_policy, measure_sorting

TOP = (1, 2, 3, 5, 10)
ALPHAS = (0.1, 0.05)
CHUNK = 256
"""photos judged at a time; bounds the memory"""


class ModelInfo(msgspec.Struct, frozen=True):
    """The model that was measured. temperature and reject_below: the bundle's, null for other models."""

    path: str
    kind: str
    runtime: str
    size_px: int
    labels: tuple[str, ...]
    temperature: float | None
    reject_below: float | None


class DataInfo(msgspec.Struct, frozen=True):
    """The photos it was measured on. photos: how many of each label. sha256: of names and bytes. left_out: photos that could not be decoded.

    trained_on: how many of the photos the model was trained on, null where that is unknown. isolated: how many were shown isolated; the others were
    shown whole, because their item cannot be isolated. Null where all were shown whole.
    """

    name: str
    split: str
    n: int
    photos: dict[str, int]
    sha256: str
    left_out: list[str]
    trained_on: int | None
    isolated: int | None = None


class PhotoPrediction(msgspec.Struct, frozen=True):
    """One photo: its true label, the predicted label (`named`), and the calibrated probabilities of both."""

    photo: str
    label: str
    named: str
    p_label: float
    p_named: float


class LevelAccuracy(msgspec.Struct, frozen=True):
    """The accuracy on all photos, each corrupted at one level."""

    level: float
    accuracy: Proportion


class CorruptionAccuracy(msgspec.Struct, frozen=True):
    """One corruption. meaning: unit of the levels. mean: over its levels."""

    name: str
    meaning: str
    levels: list[LevelAccuracy]
    mean: float


class Robustness(msgspec.Struct, frozen=True):
    """corrupted: mean over the corruptions, each with the same weight. both: mean of that and the clean accuracy. laid_back: with the item cut out
    and pasted back, a control for the corruptions with another background; not part of the means.

    The means have no interval, because they repeat the same n photos.
    """

    n: int
    seed: int
    clean: Proportion
    laid_back: Proportion
    corrupted: float
    both: float
    corruptions: list[CorruptionAccuracy]


class EvaluationReport(msgspec.Struct, frozen=True):
    """`report.json`. Shares are 0..1 and carry their n and 95 % Wilson interval; entropies are in bits, likelihoods in nats.

    confusion: photos by true label (rows) and named label (columns). top: by k. sorting and robustness: null when not asked for.
    All but `calibration.before` uses probabilities with `calibration.temperature`.
    """

    sortbin: str
    model: ModelInfo
    data: DataInfo
    accuracy: Proportion
    top: dict[int, Proportion]
    macro_f1: float
    macro_recall: float
    labels: list[LabelMeasures]
    confusion: list[list[int]]
    confused: list[ConfusedPair]
    calibration: CalibrationReport
    selective: RiskCoverage
    conformal: list[ConformalSets]
    sorting: SortingResult | None
    robustness: Robustness | None
    mistakes: list[PhotoPrediction]


@dataclass(frozen=True, eq=False)
class JudgedPhotos:
    """The outputs for the photos that could be decoded. bin_logits: of a second head, photos x bins. left_out: errors of the others."""

    photos: tuple[Photo, ...]
    answers: Predictions
    bin_logits: Float64Array | None
    left_out: list[str]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The report, and what its pictures are drawn from. photos and probabilities (photos x labels) are in the same order.

    shown: the view of each photo that the model was given.
    """

    report: EvaluationReport
    photos: tuple[Photo, ...]
    named: tuple[PhotoPrediction, ...]
    probabilities: Float64Array
    answers: Predictions
    shown: PhotoView


@dataclass(frozen=True)
class EvaluationOptions:
    """What to measure. pack: the rule pack for the bins, if any. wanted_error: share of the accepted photos that may be wrong, 0..1.

    corruptions: judge every photo again at each level of each corruption, drawn with `seed`. items: judge isolated items in place of whole photos.
    """

    pack: RulePack | None = None
    wanted_error: float = 0.02
    corruptions: bool = False
    seed: int = 0
    items: IsolatedItems | None = None


def evaluate(model: Model, chosen: SelectedPhotos, options: EvaluationOptions, progress: Progress) -> Evaluation:
    """Judge every chosen photo and measure.

    Photos that cannot be decoded are left out and named in the report. Raises PhotosError when none is left, and RuntimeFault.
    """
    pack, items = options.pack, options.items
    shown = items or whole_view
    judged = judge_photos(model, chosen, progress, shown)
    photos, answers, targets = judged.photos, judged.answers, judged.answers.targets
    progress.step("measuring")
    calibration = calibrate(answers, model.temperature)
    probabilities = softmax(answers.logits, calibration.temperature)
    by_label = measures.per_label(probabilities, targets, model.labels)
    named = photo_predictions(photos, probabilities, targets, model.labels)
    least = model.reject_below if model.reject_below is not None else confidence.choose_reject_below(answers, calibration.temperature)
    report = EvaluationReport(
        sortbin=__version__,
        model=ModelInfo(str(model.path), model.kind, model.runtime, model.size_px, model.labels, model.temperature, model.reject_below),
        data=DataInfo(
            chosen.name,
            chosen.split,
            len(photos),
            {label: int((targets == index).sum()) for index, label in enumerate(model.labels)},
            fingerprint(photos, names=True),
            judged.left_out,
            _trained_on(model, photos),
            sum(photo in items.isolated for photo in photos) if items else None,
        ),
        accuracy=answers.proportion_right(),
        top={k: measures.top_k(probabilities, targets, k) for k in TOP if k < len(model.labels)},
        macro_f1=measures.mean_of_labels([entry.f1 for entry in by_label]),
        macro_recall=measures.mean_of_labels([entry.recall.share if entry.recall else None for entry in by_label]),
        labels=by_label,
        confusion=answers.confusion().tolist(),
        confused=measures.confused_pairs(answers.confusion(), model.labels),
        calibration=calibration,
        selective=risk_coverage(probabilities, targets, options.wanted_error),
        conformal=[conformal_sets(probabilities, targets, alpha) for alpha in ALPHAS],
        sorting=_sorting(model, judged, probabilities, pack, least) if pack is not None else None,
        robustness=_robustness(model, photos, answers, options.seed, progress) if options.corruptions else None,
        mistakes=sorted((entry for entry in named if entry.label != entry.named), key=lambda entry: entry.p_label),
    )
    return Evaluation(report, photos, named, probabilities, answers, shown)


def _trained_on(model: Model, photos: Sequence[Photo]) -> int | None:
    """How many of the photos the model was trained on, None where that is unknown."""
    if model.photo_list is not None:
        return sum(photo_digest(photo) in model.photo_list.train for photo in photos)
    return sum(photo.name in model.trained_on for photo in photos) if model.trained_on else None


def judge_photos(model: Model, chosen: SelectedPhotos, progress: Progress, shown: PhotoView = whole_view) -> JudgedPhotos:
    """Judge every chosen photo that can be decoded. shown: the view that the model gets. Raises PhotosError when none can, and RuntimeFault."""
    decoded: list[int] = []
    left_out: list[str] = []

    def pixels_of_photos() -> Iterator[Pixels]:
        for index, photo in enumerate(chosen.photos):
            progress.step(f"judging photo {index + 1}/{len(chosen.photos)}")
            try:
                pixels = shown(photo)
            except PhotosError as error:
                left_out.append(str(error))
                continue
            decoded.append(index)
            yield pixels

    outputs = [(found.logits, found.bin_logits) for found in (model.judge(chunk) for chunk in _chunks(pixels_of_photos(), CHUNK))]
    if not decoded:
        raise PhotosError(f"{left_out[0]}; no photo of {chosen.name}, split {chosen.split}, can be decoded")
    targets = np.array([chosen.targets[index] for index in decoded], np.int64)
    bin_logits = [of_bins for _, of_bins in outputs if of_bins is not None]
    return JudgedPhotos(
        tuple(chosen.photos[index] for index in decoded),
        Predictions(np.concatenate([logits for logits, _ in outputs]), targets),
        np.concatenate(bin_logits) if bin_logits else None,
        left_out,
    )


def _sorting(model: Model, judged: JudgedPhotos, probabilities: Float64Array, pack: RulePack, least: float) -> SortingResult:
    """Measure the choice of bins; also that of a second head that was trained for the bins of this pack."""
    measured = measure_sorting(probabilities, judged.answers.targets, model.labels, pack, least)
    if judged.bin_logits is None or set(model.bins) != set(pack.bins):
        return measured
    named = [model.bins[index] for index in judged.bin_logits.argmax(axis=1).tolist()]
    belongs = [pack.bin_of(model.labels[target]) for target in judged.answers.targets.tolist()]
    return msgspec.structs.replace(measured, bin_head=measure_policy(belongs, named, pack))


def _robustness(model: Model, photos: tuple[Photo, ...], answers: Predictions, seed: int, progress: Progress) -> Robustness:
    variants = 1 + sum(len(corruption.levels) for corruption in CORRUPTIONS)

    def pictures() -> Iterator[Pixels]:
        for index, photo in enumerate(photos):
            progress.step(f"judging corrupted photos {index + 1}/{len(photos)}, {variants} of each")
            yield from corrupted_views(read_pixels(photo.path), photo.name, seed)

    named = np.concatenate([model.judge(chunk).logits.argmax(axis=1) for chunk in _chunks(pictures(), CHUNK)])
    right = (named.reshape(len(photos), variants) == answers.targets[:, np.newaxis]).sum(axis=0)
    laid_back, *found = (proportion(int(count), len(photos)) for count in right)
    accuracies = iter(found)
    measured = []
    for corruption in CORRUPTIONS:
        levels = [LevelAccuracy(level, next(accuracies)) for level in corruption.levels]
        mean = sum(entry.accuracy.share for entry in levels) / len(levels)
        measured.append(CorruptionAccuracy(corruption.name, corruption.meaning, levels, mean))
    clean = answers.proportion_right()
    corrupted = sum(entry.mean for entry in measured) / len(measured)
    return Robustness(len(photos), seed, clean, laid_back, corrupted, (clean.share + corrupted) / 2, measured)


def photo_predictions(photos: tuple[Photo, ...], probabilities: Float64Array, targets: Ints, labels: tuple[str, ...]) -> tuple[PhotoPrediction, ...]:
    """Each photo with its true and its most likely label, in the same order."""
    best = probabilities.argmax(axis=1)
    return tuple(
        PhotoPrediction(photo.name, labels[target], labels[called], float(row[target]), float(row[called]))
        for photo, row, target, called in zip(photos, probabilities, targets.tolist(), best.tolist(), strict=True)
    )


def _chunks(pictures: Iterable[Pixels], size: int) -> Iterator[Iterable[Pixels]]:
    """The pictures in chunks of `size`. Each chunk has to be used up before the next; nothing is stored."""
    rest = iter(pictures)
    for first in rest:
        yield itertools.chain([first], itertools.islice(rest, size - 1))
