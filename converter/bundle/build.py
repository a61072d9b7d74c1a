"""`converter quantize`: from a training run to a bundle whose INT8 model was measured and found good enough, or to none."""

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
from converter.common.proportion import proportion
from converter.common.silence import silenced
from converter.data.isolated_view import GROUND, try_isolate
from converter.data.photos import Photo
from converter.data.run import Run
from converter.quantization import calibration
from converter.quantization.calibration import NetworkInputs
from converter.quantization.candidates import TITLES, Candidate, CandidateSpec, best_candidate
from converter.quantization.float_network import FloatNetwork
from converter.quantization.golden_output import golden_output
from converter.quantization.layer_errors import LayerError, layer_errors
from converter.quantization.tf_converter import ConversionError
from converter.quantization.trial_model import TrialModel
from converter.tflite.metadata import CARD_FILE, with_metadata
from device.common.arrays import Float32Array
from device.vision.inference.bundle import (
    Bundle,
    BundleError,
    BundleInfo,
    CalibrationSet,
    ForeignModel,
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

KNOWN_ANSWER_PHOTOS = 32
LAYER_PHOTOS = 16
LEARNT_PHOTOS = 900
"""about how many training photos fit what is in distribution; twice as many changed no figure (docs/research/quantization.md)"""
ALONE_PHOTOS = 240
"""training photos whose items are also looked at by themselves for what is known: enough for a few prototypes a label"""
WORST_LAYERS = 5
HELD_BACK = "photos held back by the converter; the network may have been trained on them"
"""what a network of another maker is measured on"""
FOREIGN_ADVICE = "more --calibration photos, --recipe auto, --precision int16x8 or float16, or another --tolerance"
"""for a network that `training fit` did not make"""
ADVICE = (
    "`training fit --data DATA --from RUN --out RUN-int8`, which trains with the rounding in it, and quantize that; or more --calibration photos, "
    "or another --tolerance"
)


class QuantizationRefused(Exception):
    """The model loses more than was allowed. The message, of several lines, gives both accuracies, whose recall was lost, which layers lose most, and
    what to try.
    """


@dataclass(frozen=True)
class QuantizeRequest:
    """What to make of a run. tolerance_points: how many points of validation accuracy may be lost; notes: Markdown for the model card.

    further: photos beside the run's own that it was trained on as well; they count as known. ground: what is shown round an isolated item.
    foreign: what is known of a network that `training fit` did not make.
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


@dataclass(frozen=True)
class QuantizedBundle:
    """A bundle, and what its maker should look into, a line each."""

    bundle: Bundle
    remarks: tuple[str, ...]


def quantize(run: Run, floating: FloatNetwork, order: QuantizeRequest, progress: Progress) -> QuantizedBundle:
    """Write the bundle to `order.out`, which does not exist yet, or raise and leave nothing there.

    floating: the network of the run. Raises QuantizationRefused when the model loses more than the tolerance; NetworkError, CandidateError,
    PhotosError, OutputError and BundleError for what was given.
    """
    keras.utils.set_random_seed(order.seed)
    with atomic_directory(order.out) as folder, tempfile.TemporaryDirectory(prefix="sortbin-") as scratch:
        size = floating.size
        chosen = calibration.choose_photos(run.train, order.calibration, order.seed)
        progress.step("isolating items of calibration photos")
        alone = calibration.photos_to_isolate(chosen)
        shown = calibration.view_partly_isolated(alone, order.ground)
        try:
            best = best_candidate(floating, run.labels, order.wanted, chosen, Path(scratch), progress, shown)
        except ConversionError as error:
            raise NetworkError(f"{run.model}: {error}") from error
        except BundleError as error:  # names a file that is gone by the time it is read
            raise NetworkError(f"{run.model}: what was made of it does not run: {str(error).partition(': ')[2]}") from error
        trial, title = best.trial, TITLES[order.wanted.precision]

        targets = np.array([run.target(photo) for photo in run.val])
        measured = best.floating.predict(progress.track(NetworkInputs(run.val, size), "measuring the float network on the validation photos"))
        before = Predictions(measured["logits"].astype(np.float64), targets)
        logits, unseen = trial.answers(progress.track(NetworkInputs(run.val, size), f"measuring {title} on the validation photos"))
        after = Predictions(logits, targets)
        if _lost_points(before, after) > order.tolerance_points + 1e-9:
            progress.step("looking for the layers that lose most")
            layers = layer_errors(best.float32, trial.model, NetworkInputs(chosen[:LAYER_PHOTOS], size, shown=shown))
            advice = ADVICE if order.foreign is None else FOREIGN_ADVICE
            raise QuantizationRefused(f"{_refusal(title, before, after, run.labels, order.tolerance_points, layers)}\ntry {advice}")

        remarks = tuple(plausibility_remarks(before, run.labels))
        by_itself = _by_itself(best, run, order, size, targets, progress)
        progress.step("working out the golden output")
        with silenced():
            answer = golden_output(trial.exact, trial.shipped, order.seed, NetworkInputs(chosen[:KNOWN_ANSWER_PHOTOS], size, shown=shown))
        embeddings, trained = _learnt(trial, run, order, size, progress)
        reference = fit_embedding_stats(embeddings, trained, len(run.labels))
        as_seen = after if by_itself is None else after.joined(by_itself.after)
        temperature = confidence.choose_temperature(as_seen)
        strange = unseen if by_itself is None else np.concatenate([unseen, by_itself.embeddings])
        known = fit_novelty_model(embeddings, trained, strange, softmax(as_seen.logits, temperature))

        progress.step("writing")
        info = BundleInfo(
            name=order.name,
            version=order.version,
            labels=run.labels,
            input=InputSpec(size),
            temperature=temperature,
            reject_below=confidence.choose_reject_below(as_seen, temperature),
            metrics=Metrics(
                data=f"{order.data}, {'validation photos' if order.foreign is None else HELD_BACK}",
                float32=before.measured(run.labels, temperature, best.floating.name),
                int8=after.measured(run.labels, temperature, trial.shipping.runtime.name),
                agreement=agreement(before, after),
                isolated=by_itself.metrics(run.labels, temperature, best) if by_itself else msgspec.UNSET,
            ),
            known_answer=answer,
            calibration=CalibrationSet(len(chosen), order.seed, calibration.fingerprint(chosen, names=False), len(alone) or msgspec.UNSET),
            data_fingerprint=calibration.fingerprint(sorted(run.train + run.val), names=True),
            files={},
            unknown_above=1 - FALSE_REJECTS,
            painted=order.ground.painted,
            precision=msgspec.UNSET if order.wanted.precision == "int8" else order.wanted.precision,
            foreign=order.foreign or msgspec.UNSET,
        )
        card = ModelCard(title, info, order.tolerance_points, run, before, after, best.recipe, best.correction, {}, order.notes, remarks)
        described = with_metadata(trial.model, name=order.name, version=order.version, labels=run.labels, card=card.text())
        (folder / model_file(info)).write_bytes(described)
        reference.write(folder / REFERENCE_FILE)
        known.write(folder / KNOWN_FILE)
        (folder / PHOTOS_FILE).write_text(photo_list(run.train, run.val).text(), encoding="utf-8")
        sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
        (folder / CARD_FILE).write_text(replace(card, sizes=sizes).text(), encoding="utf-8")
        bundle = write_bundle(folder, info)
        _require_known_answer(bundle)
    return QuantizedBundle(msgspec.structs.replace(bundle, folder=order.out), remarks)


@dataclass(frozen=True, eq=False)
class _ByItself:
    """What both networks make of the validation photos' items by themselves.

    items: how many could be isolated; embeddings: as what was quantized has them.
    """

    items: int
    before: Predictions
    after: Predictions
    embeddings: Float32Array

    def metrics(self, labels: tuple[str, ...], temperature: float, best: Candidate) -> IsolatedMetrics:
        float32 = self.before.measured(labels, temperature, best.floating.name)
        int8 = self.after.measured(labels, temperature, best.trial.shipping.runtime.name)
        return IsolatedMetrics(self.items, float32, int8, agreement(self.before, self.after))


def _by_itself(best: Candidate, run: Run, order: QuantizeRequest, size: int, targets: Ints, progress: Progress) -> _ByItself | None:
    """None where no item can be told from its ground."""
    progress.step("isolating items of validation photos")
    pictures, items = calibration.isolated_inputs(run.val, size, order.ground)
    if not items:
        return None
    logits = best.floating.predict(progress.track(pictures, "measuring the float network on isolated items"))["logits"].astype(np.float64)
    rounded, embeddings = best.trial.answers(progress.track(pictures, "measuring what was quantized on isolated items"))
    return _ByItself(items, Predictions(logits, targets), Predictions(rounded, targets), embeddings)


def _learnt(trial: TrialModel, run: Run, order: QuantizeRequest, size: int, progress: Progress) -> tuple[Float32Array, Ints]:
    """Embeddings of what the network was trained on, as photos and by itself, and the labels' numbers."""
    whole = calibration.thin_photos(run.train, max(1, round(len(run.train) / LEARNT_PHOTOS)))
    asked = (*calibration.choose_photos(run.train, ALONE_PHOTOS, order.seed), *order.further)
    told: set[Photo] = set()

    def by_itself(photo: Photo) -> Pixels:
        picture, found = try_isolate(photo, order.ground)
        if found:
            told.add(photo)
        return picture

    embeddings = trial.embeddings(progress.track(NetworkInputs(whole, size), "collecting the embeddings of the training photos"))
    alone = trial.embeddings(progress.track(NetworkInputs(asked, size, shown=by_itself), "collecting those of items by themselves"))
    items = [number for number, photo in enumerate(asked) if photo in told]
    targets = np.array([run.target(photo) for photo in (*whole, *(asked[number] for number in items))])
    return np.concatenate([embeddings, alone[items]]), targets


def _lost_points(before: Predictions, after: Predictions) -> float:
    return 100 * (before.accuracy - after.accuracy)


def _refusal(title: str, before: Predictions, after: Predictions, labels: tuple[str, ...], tolerance_points: float, layers: list[LayerError]) -> str:
    photos = np.bincount(before.targets, minlength=len(labels))
    pairs = zip(labels, photos, before.recall(), after.recall(), strict=True)
    changed = [f"{label} {was:.3f} -> {now:.3f} of {n}" for label, n, was, now in pairs if was != now]
    interval = proportion(int(after.right.sum()), len(after.targets)).interval()
    verdict = (
        f"{title} is right on {after.accuracy:.4f} (95 % interval {interval}) of {len(after.targets)} validation photos, "
        f"float on {before.accuracy:.4f}: {_lost_points(before, after):.2f} points lost, {tolerance_points:g} allowed; "
        f"recall {', '.join(changed) or 'unchanged'}. Nothing was written"
    )
    lines = [
        verdict,
        "the layers that lose most (error relative to the float network's output: all of it / what was added there):",
        *(f"  {layer.error:6.3f} / {layer.added:6.3f}  {layer.op:18}  {layer.name.partition(';')[0]}" for layer in layers[:WORST_LAYERS]),
    ]
    return "\n".join(lines)


def _require_known_answer(bundle: Bundle) -> None:
    """Ask the finished folder, as the device will."""
    with silenced():
        for runtime in (load_runtime(bundle), load_runtime(bundle, package="ai-edge-litert", kernels="builtin")):
            Classifier(bundle, runtime).check_known_answer()
