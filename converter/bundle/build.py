"""`converter quantize`: makes a bundle of a training run. A model that loses too much accuracy is refused, and nothing is written."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import msgspec
import numpy as np

from converter.bundle import confidence
from converter.bundle.embedding_stats import fit_embedding_stats
from converter.bundle.model_card import ModelCard
from converter.bundle.novelty import FALSE_REJECTS, fit_novelty_model
from converter.bundle.photo_list import FILE as PHOTOS_FILE
from converter.bundle.photo_list import photo_list
from converter.bundle.plausibility import plausibility_remarks
from converter.common.accuracy import Ints, Predictions, agreement
from converter.common.atomic_directory import atomic_directory
from converter.common.network_error import NetworkError
from converter.common.progress import Progress
from converter.common.silence import silenced
from converter.data.isolated_view import GROUND, try_isolate
from converter.data.photos import Photo
from converter.data.training_run import Run
from converter.quantization import calibration_photos as calibration
from converter.quantization.calibration_photos import CalibrationPhotos, NetworkInputs
from converter.quantization.candidates import TITLES, Candidate, CandidateSpec, best_candidate
from converter.quantization.float_network import FloatNetwork
from converter.quantization.golden_output import golden_output
from converter.quantization.layer_errors import LayerError, layer_errors
from converter.quantization.tf_converter import ConversionError
from converter.quantization.trial_model import TrialModel
from converter.tflite.metadata import CARD_FILE, with_metadata
from device.common.arrays import Float32Array, Float64Array
from device.vision.inference.bundle import (
    Bundle,
    BundleError,
    BundleInfo,
    CalibrationSet,
    ForeignModel,
    GoldenOutput,
    InputSpec,
    IsolatedMetrics,
    Metrics,
    model_file,
    write_bundle,
)
from device.vision.inference.classifier import Classifier, softmax
from device.vision.inference.embedding_stats import FILE as REFERENCE_FILE
from device.vision.inference.ground import Ground
from device.vision.inference.novelty import FILE as KNOWN_FILE
from device.vision.inference.preprocess import Pixels
from device.vision.inference.runtime import load_runtime

GOLDEN_OUTPUT_PHOTOS = 32
LAYER_PHOTOS = 16
EMBEDDING_PHOTOS = 900
"""about how many training photos the embedding statistics are fitted to; twice as many changed no figure (docs/research/quantization.md)"""
ISOLATED_EMBEDDING_PHOTOS = 240
"""training photos whose isolated items are added to those; enough for a few prototypes per label"""
WORST_LAYERS = 5
HELD_BACK = "photos held back by the converter; the network may have been trained on them"
"""describes the validation photos of a foreign network"""
FOREIGN_ADVICE = "more --calibration photos, --recipe auto, --precision int16x8 or float16, or another --tolerance"
"""for a network that `training fit` did not make"""
ADVICE = (
    "`training fit --data DATA --from RUN --out RUN-int8`, which trains with the rounding in it, and quantize that; or more --calibration photos, "
    "or another --tolerance"
)


class QuantizationRefused(Exception):
    """The model loses more accuracy than allowed. The message has several lines: both accuracies, the labels whose recall changed, the layers with
    the largest errors, and what to try.
    """


@dataclass(frozen=True)
class QuantizeRequest:
    """What to make of a run. tolerance_points: points of validation accuracy that may be lost. calibration: number of photos.

    notes: Markdown for the model card. further: photos beside those of the run that the network was trained on too; they count as in distribution.
    ground: what surrounds an isolated item. foreign: set for a network that `training fit` did not make.
    """

    out: Path
    wanted: CandidateSpec
    name: str
    version: str
    data: str
    tolerance_points: float
    calibration: int
    seed: int
    notes: str
    further: tuple[Photo, ...] = ()
    ground: Ground = GROUND
    foreign: ForeignModel | None = None

    @property
    def title(self) -> str:
        """What the model computes in, as people call it."""
        return TITLES[self.wanted.precision]


@dataclass(frozen=True)
class QuantizedBundle:
    """A bundle. remarks: what its maker should look into, one line each."""

    bundle: Bundle
    remarks: tuple[str, ...]


def quantize(run: Run, floating: FloatNetwork, request: QuantizeRequest, progress: Progress) -> QuantizedBundle:
    """Write the bundle to `request.out`. On an error nothing is left there.

    floating: the network of the run. Raises QuantizationRefused when the model loses more than the tolerance; NetworkError, CandidateError,
    PhotosError, OutputError and BundleError for bad input.
    """
    keras.utils.set_random_seed(request.seed)
    with atomic_directory(request.out) as folder, tempfile.TemporaryDirectory(prefix="sortbin-") as scratch:
        photos = _calibration_photos(run, request, progress)
        candidate = _best_candidate(run, floating, request, photos, Path(scratch), progress)
        trial, size = candidate.trial, floating.size

        whole = _compare_on_photos(candidate, run, request, size, progress)
        if whole.lost_points > request.tolerance_points + 1e-9:
            progress.step("looking for the layers that lose most")
            layers = layer_errors(candidate.float32, trial.model, photos.inputs(size, LAYER_PHOTOS))
            raise QuantizationRefused(_refusal_message(request, run.labels, whole, layers))
        remarks = tuple(plausibility_remarks(whole.before, run.labels))
        isolated = _compare_on_isolated_items(candidate, run, request, size, progress)
        progress.step("working out the golden output")
        with silenced():
            answer = golden_output(trial.exact_classifier, trial.new_classifier, request.seed, photos.inputs(size, GOLDEN_OUTPUT_PHOTOS))
        embeddings, targets = _training_embeddings(trial, run, request, size, progress)

        both = whole if isolated is None else whole.joined(isolated.comparison)
        temperature = confidence.choose_temperature(both.after)
        reject_below = confidence.choose_reject_below(both.after, temperature)
        novelty = fit_novelty_model(embeddings, targets, both.embeddings, softmax(both.after.logits, temperature))

        progress.step("writing")
        measured = _Measured(run, request, photos, candidate, whole, isolated, answer, temperature, reject_below, remarks)
        fit_embedding_stats(embeddings, targets, len(run.labels)).write(folder / REFERENCE_FILE)
        novelty.write(folder / KNOWN_FILE)
        bundle = _write_bundle_files(measured, folder, size)
    return QuantizedBundle(msgspec.structs.replace(bundle, folder=request.out), remarks)


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Predictions of the float network and of the quantized model for the same photos. embeddings: of the quantized model."""

    before: Predictions
    after: Predictions
    embeddings: Float32Array

    @property
    def lost_points(self) -> float:
        """Points of accuracy that quantizing cost."""
        return 100 * (self.before.accuracy - self.after.accuracy)

    @property
    def agreement(self) -> float:
        """The share of photos on which both name the same label."""
        return agreement(self.before, self.after)

    def joined(self, other: "_Comparison") -> "_Comparison":
        return _Comparison(self.before.joined(other.before), self.after.joined(other.after), np.concatenate([self.embeddings, other.embeddings]))


@dataclass(frozen=True, eq=False)
class _IsolatedComparison:
    """The same for the validation photos with their items isolated. items: how many could be isolated; the other photos are whole."""

    items: int
    comparison: _Comparison


@dataclass(frozen=True, eq=False)
class _Measured:
    """Everything that `bundle.json` and the model card are written from."""

    run: Run
    request: QuantizeRequest
    photos: CalibrationPhotos
    candidate: Candidate
    whole: _Comparison
    isolated: _IsolatedComparison | None
    golden_output: GoldenOutput
    temperature: float
    reject_below: float
    remarks: tuple[str, ...]


def _calibration_photos(run: Run, request: QuantizeRequest, progress: Progress) -> CalibrationPhotos:
    chosen = calibration.choose_photos(run.train, request.calibration, request.seed)
    progress.step("isolating items of calibration photos")
    return CalibrationPhotos(chosen, calibration.photos_to_isolate(chosen), request.ground)


def _best_candidate(
    run: Run, floating: FloatNetwork, request: QuantizeRequest, photos: CalibrationPhotos, scratch: Path, progress: Progress
) -> Candidate:
    try:
        return best_candidate(floating, run.labels, request.wanted, photos, scratch, progress)
    except ConversionError as error:
        raise NetworkError(f"{run.model}: {error}") from error
    except BundleError as error:  # it names a file in `scratch`, which is gone when the user reads the message
        raise NetworkError(f"{run.model}: what was made of it does not run: {str(error).partition(': ')[2]}") from error


def _compare_on_photos(candidate: Candidate, run: Run, request: QuantizeRequest, size: int, progress: Progress) -> _Comparison:
    inputs = NetworkInputs(run.val, size)
    outputs = candidate.floating.predict(progress.track(inputs, "measuring the float network on the validation photos"))
    logits, embeddings = candidate.trial.logits_and_embeddings(progress.track(inputs, f"measuring {request.title} on the validation photos"))
    return _comparison(outputs["logits"], logits, embeddings, run)


def _compare_on_isolated_items(candidate: Candidate, run: Run, request: QuantizeRequest, size: int, progress: Progress) -> _IsolatedComparison | None:
    """None where no item can be isolated."""
    progress.step("isolating items of validation photos")
    pictures, items = calibration.isolated_inputs(run.val, size, request.ground)
    if not items:
        return None
    outputs = candidate.floating.predict(progress.track(pictures, "measuring the float network on isolated items"))
    logits, embeddings = candidate.trial.logits_and_embeddings(progress.track(pictures, f"measuring {request.title} on isolated items"))
    return _IsolatedComparison(items, _comparison(outputs["logits"], logits, embeddings, run))


def _comparison(before: Float32Array, after: Float64Array, embeddings: Float32Array, run: Run) -> _Comparison:
    targets = np.array([run.target(photo) for photo in run.val])
    return _Comparison(Predictions(before.astype(np.float64), targets), Predictions(after, targets), embeddings)


def _training_embeddings(trial: TrialModel, run: Run, request: QuantizeRequest, size: int, progress: Progress) -> tuple[Float32Array, Ints]:
    """Embeddings of training photos, whole and then isolated, and the index of each one's label."""
    whole = calibration.thin_photos(run.train, max(1, round(len(run.train) / EMBEDDING_PHOTOS)))
    to_isolate = (*calibration.choose_photos(run.train, ISOLATED_EMBEDDING_PHOTOS, request.seed), *request.further)
    isolated: set[Photo] = set()

    def view(photo: Photo) -> Pixels:
        picture, found = try_isolate(photo, request.ground)
        if found:
            isolated.add(photo)
        return picture

    embeddings = trial.embeddings(progress.track(NetworkInputs(whole, size), "collecting the embeddings of the training photos"))
    others = trial.embeddings(progress.track(NetworkInputs(to_isolate, size, view=view), "collecting the embeddings of isolated items"))
    rows = [number for number, photo in enumerate(to_isolate) if photo in isolated]
    targets = np.array([run.target(photo) for photo in (*whole, *(to_isolate[number] for number in rows))])
    return np.concatenate([embeddings, others[rows]]), targets


def _write_bundle_files(measured: _Measured, folder: Path, size: int) -> Bundle:
    """Write model, photo list, model card and `bundle.json`, and check the golden output of the finished bundle."""
    run, request = measured.run, measured.request
    info = _bundle_info(measured, size)
    card = ModelCard(
        title=request.title,
        info=info,
        tolerance_points=request.tolerance_points,
        run=run,
        float32=measured.whole.before,
        int8=measured.whole.after,
        recipe=measured.candidate.recipe,
        correction=measured.candidate.correction,
        sizes={},
        notes=request.notes,
        remarks=measured.remarks,
    )
    described = with_metadata(measured.candidate.trial.model, name=request.name, version=request.version, labels=run.labels, card=card.text())
    (folder / model_file(info)).write_bytes(described)
    (folder / PHOTOS_FILE).write_text(photo_list(run.train, run.val).text(), encoding="utf-8")
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    (folder / CARD_FILE).write_text(replace(card, sizes=sizes).text(), encoding="utf-8")
    bundle = write_bundle(folder, info)
    with silenced():
        for runtime in (load_runtime(bundle), load_runtime(bundle, package="ai-edge-litert", kernels="builtin")):
            Classifier(bundle, runtime).check_golden_output()
    return bundle


def _bundle_info(measured: _Measured, size: int) -> BundleInfo:
    run, request, chosen = measured.run, measured.request, measured.photos.photos
    return BundleInfo(
        name=request.name,
        version=request.version,
        labels=run.labels,
        input=InputSpec(size),
        temperature=measured.temperature,
        reject_below=measured.reject_below,
        metrics=_metrics(measured),
        known_answer=measured.golden_output,
        calibration=CalibrationSet(
            len(chosen), request.seed, calibration.fingerprint(chosen, names=False), len(measured.photos.isolated) or msgspec.UNSET
        ),
        data_fingerprint=calibration.fingerprint(sorted(run.train + run.val), names=True),
        files={},
        unknown_above=1 - FALSE_REJECTS,
        painted=request.ground.painted,
        precision=msgspec.UNSET if request.wanted.precision == "int8" else request.wanted.precision,
        foreign=request.foreign or msgspec.UNSET,
    )


def _metrics(measured: _Measured) -> Metrics:
    labels, request, whole, isolated = measured.run.labels, measured.request, measured.whole, measured.isolated
    float_runtime, runtime = measured.candidate.floating.name, measured.candidate.trial.classifier.runtime.name
    return Metrics(
        data=f"{request.data}, {'validation photos' if request.foreign is None else HELD_BACK}",
        float32=whole.before.measured(labels, measured.temperature, float_runtime),
        int8=whole.after.measured(labels, measured.temperature, runtime),
        agreement=whole.agreement,
        isolated=msgspec.UNSET
        if isolated is None
        else IsolatedMetrics(
            isolated.items,
            isolated.comparison.before.measured(labels, measured.temperature, float_runtime),
            isolated.comparison.after.measured(labels, measured.temperature, runtime),
            isolated.comparison.agreement,
        ),
    )


def _refusal_message(request: QuantizeRequest, labels: tuple[str, ...], compared: _Comparison, layers: list[LayerError]) -> str:
    before, after = compared.before, compared.after
    photos = np.bincount(before.targets, minlength=len(labels))
    pairs = zip(labels, photos, before.recall(), after.recall(), strict=True)
    changed = [f"{label} {was:.3f} -> {now:.3f} of {n}" for label, n, was, now in pairs if was != now]
    verdict = (
        f"{request.title} is right on {after.accuracy:.4f} (95 % interval {after.proportion_right().interval()}) of {len(after.targets)} "
        f"validation photos, float on {before.accuracy:.4f}: {compared.lost_points:.2f} points lost, {request.tolerance_points:g} allowed; "
        f"recall {', '.join(changed) or 'unchanged'}. Nothing was written"
    )
    lines = [
        verdict,
        "the layers that lose most (error relative to the float network's output: all of it / what was added there):",
        *(f"  {layer.error:6.3f} / {layer.added:6.3f}  {layer.op:18}  {layer.name.partition(';')[0]}" for layer in layers[:WORST_LAYERS]),
        f"try {ADVICE if request.foreign is None else FOREIGN_ADVICE}",
    ]
    return "\n".join(lines)
