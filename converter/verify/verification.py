"""`converter verify`: hashes, model contract, the golden output on every runtime, and accuracy on photos."""

import importlib.util
import tempfile
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from converter.bundle.photo_list import choose_evaluation_photos
from converter.common.accuracy import Ints, Predictions, agreement
from converter.common.progress import Progress
from converter.common.proportion import Proportion, proportion
from converter.data import pixel_cache
from converter.data.photos import Photo, PhotosError
from converter.data.training_run import Run, RunError, read_run
from converter.quantization.calibration_photos import NetworkInputs, fingerprint, isolated_inputs
from converter.tflite.flatbuffer import ModelFileError, read_model
from converter.verify import contract, float_probe, runtime_probe
from converter.verify.report import Check, PhotoResults, RuntimeResult, Verification
from device.common.run_in_subprocess import ChildFault, ask
from device.common.wording import counted
from device.vision.inference.bundle import EDGETPU_FILE, INFO_FILE, Bundle, BundleError, read_bundle
from device.vision.inference.runtime import PACKAGES, Kernels, Package

START_S = 120.0
"""time that a process has to start, load and answer once; each photo gives it a second more"""

OTHER_RUNTIMES_POINTS = 2.0
"""points of accuracy that a runtime may lose which does not ship: its kernels round otherwise, which once changed 8 of 431 labels"""

ROUNDING = 1e-9
"""difference of two accuracies that counts as none"""


@dataclass(frozen=True)
class VerifyRequest:
    """What to verify. data, split: photos to measure on. run: the run that the bundle was made of, to measure its float network too.

    tolerance_points: points of accuracy that may be missing from what the bundle claims. timeout_s: for each process; None: by the work.
    """

    bundle: Path
    data: Path | None
    split: str
    run: Path | None
    tolerance_points: float
    timeout_s: float | None


@dataclass(frozen=True, eq=False)
class _TestPhotos:
    """Labelled photos, decoded to the file `pictures`. run: the run they come from, if one was named. claimed: whether the claims of the
    bundle are about these photos. remark: a note for the user, or empty.
    """

    photos: tuple[Photo, ...]
    targets: Ints
    claimed: bool
    remark: str
    pictures: Path
    run: Run | None


@dataclass(frozen=True, eq=False)
class _Asked:
    """A runtime that answered. predictions: for the photos, None without photos. package, kernels: how it was loaded."""

    package: Package
    kernels: Kernels
    result: RuntimeResult
    predictions: Predictions | None


@dataclass(frozen=True)
class _Session:
    """What all steps of a verification need. scratch: a folder for files."""

    request: VerifyRequest
    bundle: Bundle
    scratch: Path
    progress: Progress

    @property
    def claimed(self) -> Proportion:
        """The accuracy that the bundle claims."""
        claim = self.bundle.info.metrics.int8
        return proportion(round(claim.accuracy * claim.n), claim.n)

    def within_tolerance(self, lost_points: float) -> bool:
        return lost_points <= self.request.tolerance_points + ROUNDING

    def timeout_s(self, photos: _TestPhotos | None) -> float:
        given = self.request.timeout_s
        return START_S + (len(photos.photos) if photos is not None else 0) if given is None else given


def verify(request: VerifyRequest, progress: Progress) -> Verification:
    """Check everything. Faults of the bundle are in the result.

    Raises SortbinError for a request that cannot be carried out: no such folder, photos that cannot be read or have other labels.
    """
    if not request.bundle.is_dir():
        raise BundleError(f"{request.bundle}: expected the folder of a bundle, as `converter quantize` writes it, found none")
    progress.step("hashing")
    try:
        bundle = read_bundle(request.bundle)
    except BundleError as error:
        return Verification(str(request.bundle), "", "", False, [Check("files", False, str(error))], [])
    with tempfile.TemporaryDirectory(prefix="sortbin-") as scratch:
        session = _Session(request, bundle, Path(scratch), progress)
        photos = _read_photos(session)
        runtimes, answered = _ask_runtimes(session, photos)
        checks = [_files(bundle), *_contract(bundle)]
        results = None
        if photos is not None:
            more, runtimes, results = _check_on_photos(session, photos, runtimes, answered)
            checks += more
    found: list[Check | RuntimeResult] = [*checks, *runtimes]
    good = all(each.good is not False for each in found) and any(runtime.good for runtime in runtimes)
    return Verification(str(request.bundle), f"{bundle.info.name} {bundle.info.version}", bundle.info.digest, good, checks, runtimes, results)


def _files(bundle: Bundle) -> Check:
    listed = {INFO_FILE, *bundle.info.files}
    strange = sorted(file.name for file in bundle.folder.iterdir() if file.name not in listed)
    also = f"; no part of it: {', '.join(strange)}" if strange else ""
    return Check("files", True, f"{len(listed)} files, every sha256 and the digest are right{also}")


def _contract(bundle: Bundle) -> list[Check]:
    try:
        return contract.contract_checks(read_model(bundle.model), bundle.info)
    except ModelFileError as error:
        return [Check("model", False, str(error))]


def _read_photos(session: _Session) -> _TestPhotos | None:
    """The photos to measure on, decoded; None where no data was named."""
    request, bundle = session.request, session.bundle
    if request.data is None:
        return None
    labels = bundle.info.labels
    run = read_run(request.run, request.data) if request.run is not None else None
    if run is not None and run.labels != labels:
        raise RunError(f"{request.run}: its labels are {', '.join(run.labels)}, those of {request.bundle} are {', '.join(labels)}")
    chosen = choose_evaluation_photos(bundle, request.data, request.split, run)
    index = {unicodedata.normalize("NFC", label): number for number, label in enumerate(labels)}
    spelled = [unicodedata.normalize("NFC", photo.label) for photo in chosen.photos]
    for photo, label in zip(chosen.photos, spelled, strict=True):
        if label not in index:
            raise PhotosError(f"{request.data}: {photo.name} is labelled {photo.label}, which {request.bundle} does not know: {', '.join(labels)}")
    file = session.scratch / "pictures.npy"
    inputs = NetworkInputs(chosen.photos, bundle.info.input.size)
    pixel_cache.write_pixels(session.progress.track(inputs, "decoding photos"), bundle.info.input.size, file)
    return _TestPhotos(chosen.photos, np.array([index[label] for label in spelled]), chosen.claimed, chosen.remark, file, run)


def _ask_runtimes(session: _Session, photos: _TestPhotos | None) -> tuple[list[RuntimeResult], list[_Asked]]:
    """The result of every runtime, and those that ran as asked for. The runtime that ships comes first."""
    ways: list[tuple[Package, Kernels]] = [(package, kernels) for package in PACKAGES for kernels in ("default", "builtin")]
    if EDGETPU_FILE in session.bundle.info.files:
        ways += [(package, "edgetpu") for package in PACKAGES]
    results: list[RuntimeResult] = []
    answered: list[_Asked] = []
    for package, kernels in ways:
        if importlib.util.find_spec(package.replace("-", "_")) is None:
            results.append(RuntimeResult(f"{package} {kernels}", None, "not installed"))
            continue
        session.progress.step(f"asking {package} {kernels}")
        file = session.scratch / f"{package}-{kernels}.npy"
        try:
            answer = _probe(session, package, kernels, None if photos is None else photos.pictures, file, session.timeout_s(photos))
        except ChildFault as fault:
            results.append(RuntimeResult(f"{package} {kernels}", False, str(fault)))
            continue
        if answer.degraded:
            results.append(RuntimeResult(f"{package} {kernels}", None, answer.degraded))
            continue
        predictions = None if photos is None else Predictions(np.load(file).astype(np.float64), photos.targets)
        results.append(_golden_output_result(answer, session.bundle))
        answered.append(_Asked(package, kernels, results[-1], predictions))
    return results, answered


def _probe(
    session: _Session, package: Package, kernels: Kernels, pictures: Path | None, logits: Path, timeout_s: float
) -> runtime_probe.RuntimeProbeResult:
    """Run the bundle in a process of its own. pictures: those to write the logits of. Raises ChildFault."""
    folder = str(session.request.bundle.resolve())
    request = runtime_probe.RuntimeProbeRequest(folder, package, kernels, None if pictures is None else str(pictures), str(logits))
    return ask(runtime_probe.__name__, request, runtime_probe.RuntimeProbeResult, timeout_s=timeout_s)


def _golden_output_result(answer: runtime_probe.RuntimeProbeResult, bundle: Bundle) -> RuntimeResult:
    allowed = 0 if answer.exact else bundle.info.known_answer.tolerance
    good = answer.off <= allowed
    text = f"{counted(answer.off, 'step')} off" if answer.off else "exact"
    text += f", {allowed} allowed" if answer.off or allowed else ""
    return RuntimeResult(answer.runtime, good, text if good else f"{text} (at {answer.worst}); do not run the bundle on it", answer.off, allowed)


def _check_on_photos(
    session: _Session, photos: _TestPhotos, runtimes: list[RuntimeResult], answered: list[_Asked]
) -> tuple[list[Check], list[RuntimeResult], PhotoResults | None]:
    """Compare the runtimes with one another, with what the bundle claims, and with the float network."""
    checks = [Check("photos seen", None, photos.remark)] if photos.remark else []
    run = photos.run
    if run is not None:
        provenance = _provenance(session.bundle, run)
        checks.append(provenance)
        if not provenance.good:
            checks.append(Check("float", None, "not measured: another run's network says nothing about this bundle"))
            run = None
    predictions = {asked.result.name: asked.predictions for asked in answered if asked.predictions is not None}
    if not predictions:
        return [*checks, Check("accuracy", None, "no runtime to measure it on")], runtimes, None
    ships = next(iter(predictions))
    compared = _compare_runtimes(session, photos, runtimes, predictions)
    check, results = _check_accuracy(session, photos, ships, predictions[ships])
    checks.append(check)
    if run is not None:
        more, results = _check_float(session, photos, run, results, predictions[ships])
        checks += more
    if session.bundle.info.metrics.isolated is not msgspec.UNSET:
        way = next(asked for asked in answered if asked.result.name == ships)
        check, results = _check_isolated(session, photos, way, results)
        checks.append(check)
    return checks, compared, results


def _provenance(bundle: Bundle, run: Run) -> Check:
    found, wanted = fingerprint(sorted(run.train + run.val), names=True), bundle.info.data_fingerprint
    if found != wanted:
        text = f"the run's photos have sha256 {found[:12]}..., the bundle was made of {wanted[:12]}...: another run or data set"
        return Check("photos", False, text)
    return Check("photos", True, f"the {len(run.train)} training and {len(run.val)} validation photos that the bundle was made of")


def _compare_runtimes(
    session: _Session, photos: _TestPhotos, runtimes: list[RuntimeResult], predictions: dict[str, Predictions]
) -> list[RuntimeResult]:
    """The results with accuracy and agreement added. The first of `predictions` is the runtime that ships."""
    ships = next(iter(predictions))
    step = contract.logits_step(read_model(session.bundle.model))
    results = []
    for result in runtimes:
        if result.name in predictions:
            tolerance = session.request.tolerance_points
            allowed = tolerance if result.name == ships else max(tolerance, OTHER_RUNTIMES_POINTS)
            least = session.claimed.share - allowed / 100 if photos.claimed else None
            result = _add_photo_results(result, predictions[result.name], predictions[ships], step, least)
        results.append(result)
    return results


def _add_photo_results(result: RuntimeResult, own: Predictions, ships: Predictions, step: float | None, least: float | None) -> RuntimeResult:
    """The result with what was measured on photos. least: accuracy that it must have; None where the bundle claims nothing for these photos."""
    accuracy, agrees = own.proportion_right(), agreement(own, ships)
    differs = float(np.abs(own.logits - ships.logits).max())
    steps = round(differs / step) if step else None
    text = f"{result.text}; accuracy {accuracy.share:.4f}"
    if own is not ships:
        most = f"{differs:.3g}" if steps is None else f"{counted(steps, 'step')} ({differs:.3g})"
        text += f", agrees with what ships on {agrees:.4f}, logits differ by at most {most}"
    else:
        text += ", ships"
    good = result.good
    if least is not None and accuracy.share < least - ROUNDING:
        good, text = False, f"{text}: too much below what the bundle claims"
    return msgspec.structs.replace(result, good=good, text=text, accuracy=accuracy, agreement=agrees, differs_steps=steps, differs=differs)


def _check_accuracy(session: _Session, photos: _TestPhotos, ships: str, predictions: Predictions) -> tuple[Check, PhotoResults]:
    """Hold the runtime that ships against what the bundle claims."""
    info, claimed = session.bundle.info, session.claimed
    found = predictions.proportion_right()
    text = f"{'INT8' if info.precision is msgspec.UNSET else info.precision} {found} on {ships}; the bundle claims {claimed.share:.4f}"
    if photos.claimed:
        check = Check("accuracy", session.within_tolerance(100 * (claimed.share - found.share)), text)
    else:
        check = Check("accuracy", None, f"{text} of {claimed.n} other photos")
    return check, PhotoResults(photos.photos[0].path.parents[1].name, len(photos.photos), ships, claimed, found)


def _check_float(session: _Session, photos: _TestPhotos, run: Run, results: PhotoResults, ships: Predictions) -> tuple[list[Check], PhotoResults]:
    """Run the float network on the photos and compare."""
    session.progress.step("asking the float network")
    metrics, file = session.bundle.info.metrics, session.scratch / "float.npy"
    request = float_probe.FloatProbeRequest(str(run.model.resolve()), len(session.bundle.info.labels), str(photos.pictures), str(file))
    try:
        ask(float_probe.__name__, request, str, timeout_s=session.timeout_s(photos))
    except ChildFault as fault:
        return [Check("float", False, f"{run.model}: {fault}")], results
    floating = Predictions(np.load(file).astype(np.float64), photos.targets)
    found, agrees = floating.proportion_right(), agreement(floating, ships)
    claimed_loss = 100 * (metrics.float32.accuracy - metrics.int8.accuracy)
    lost = 100 * (found.share - results.int8.share)
    text = f"float {found}" + (f"; the bundle claims {metrics.float32.accuracy:.4f}" if photos.claimed else "")
    good = session.within_tolerance(abs(100 * (found.share - metrics.float32.accuracy))) if photos.claimed else None
    loss_text = f"{lost:.2f} points lost against float (the bundle claims {claimed_loss:.2f}); both name the same label on {agrees:.4f} of the photos"
    checks = [
        Check("float", good, text),
        Check("loss", session.within_tolerance(lost - claimed_loss) if photos.claimed else None, loss_text),
    ]
    return checks, msgspec.structs.replace(results, float32=found, agreement=agrees)


def _check_isolated(session: _Session, photos: _TestPhotos, way: _Asked, results: PhotoResults) -> tuple[Check, PhotoResults]:
    """Run the runtime that ships on the photos with their items isolated, and compare with what the bundle claims."""
    claim = session.bundle.info.metrics.isolated
    assert claim is not msgspec.UNSET
    session.progress.step("isolating items")
    file, logits = session.scratch / "isolated.npy", session.scratch / "isolated-logits.npy"
    pictures, items = isolated_inputs(photos.photos, session.bundle.info.input.size, session.bundle.info.ground)
    pixel_cache.write_pixels(pictures, session.bundle.info.input.size, file)
    try:
        _probe(session, way.package, way.kernels, file, logits, session.timeout_s(photos))
    except ChildFault as fault:
        return Check("isolated", False, str(fault)), results
    found = Predictions(np.load(logits).astype(np.float64), photos.targets).proportion_right()
    text = f"{found} with {items} items by themselves; the bundle claims {claim.int8.accuracy:.4f}"
    if not photos.claimed:
        check = Check("isolated", None, f"{text} of {claim.int8.n} other photos")
    elif items != claim.items:
        check = Check("isolated", None, f"{text} with {claim.items}: other masks than those it was made with")
    else:
        check = Check("isolated", session.within_tolerance(100 * (claim.int8.accuracy - found.share)), text)
    return check, msgspec.structs.replace(results, isolated=found)
