"""`converter verify`: hashes, contract, the golden output on every runtime, and accuracy on photos, each in the order in which it can fail."""

import importlib.util
import tempfile
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from converter.bundle.photo_list import choose_evaluation_photos
from converter.common.accuracy import Ints, Predictions, agreement
from converter.common.atomic_directory import OutputError
from converter.common.progress import Progress
from converter.common.proportion import Proportion, proportion
from converter.data import pixel_cache
from converter.data.photos import Photo, PhotosError
from converter.data.run import Run, RunError, read_run
from converter.quantization.calibration import NetworkInputs, fingerprint, isolated_inputs
from converter.tflite.flatbuffer import ModelFileError, read_model
from converter.verify import contract, float_probe, runtime_probe
from converter.verify.report import Check, PhotoResults, RuntimeResult, Verification
from device.common.arrays import Float64Array
from device.common.run_in_subprocess import ChildFault, ask
from device.common.wording import counted
from device.vision.inference.bundle import EDGETPU_FILE, INFO_FILE, Bundle, BundleError, read_bundle
from device.vision.inference.runtime import PACKAGES, Kernels, Package

START_S = 120.0
"""time that a process has to start, load and answer once; each photo gives it a second more"""

OTHER_RUNTIMES_POINTS = 2.0
"""accuracy that a runtime which does not ship may lose, in points: other kernels round otherwise, and 8 of 431 names changed by that once"""


@dataclass(frozen=True)
class VerifyRequest:
    """What to verify. data, split: photos to measure on; run: what the bundle was made of, for its float network and its validation photos.

    tolerance_points: accuracy that may be missing against what the bundle claims. timeout_s: for each process, None to go by the work.
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


def verify(order: VerifyRequest, progress: Progress) -> Verification:
    """Look at everything; what is wrong is in the answer. Raises SortbinError for an order that cannot be carried out: no such folder,
    photos that cannot be read or are labelled otherwise.
    """
    if not order.bundle.is_dir():
        raise BundleError(f"{order.bundle}: expected the folder of a bundle, as `converter quantize` writes it, found none")
    progress.step("hashing")
    try:
        bundle = read_bundle(order.bundle)
    except BundleError as error:
        return Verification(str(order.bundle), "", "", False, [Check("files", False, str(error))], [])
    checks = [_files(bundle), *_contract(bundle)]
    with tempfile.TemporaryDirectory(prefix="sortbin-") as scratch:
        material = _material(order, bundle, Path(scratch), progress)
        runtimes, logits, ways = _ask_all(order, bundle, material, Path(scratch), progress)
        photos = None
        if material is not None:
            if material.remark:
                checks.append(Check("photos seen", None, material.remark))
            if material.run is not None:
                provenance = _provenance(bundle, material.run)
                checks.append(provenance)
                if not provenance.good:
                    checks.append(Check("float", None, "not measured: another run's network says nothing about this bundle"))
                    material = replace(material, run=None)
            runtimes, photos, more = _judge(order, bundle, material, runtimes, logits, Path(scratch), progress)
            checks += more
            if photos is not None and bundle.info.metrics.isolated is not msgspec.UNSET:
                photos, check = _by_themselves(order, bundle, material, photos, ways[photos.ships], Path(scratch), progress)
                checks.append(check)
    found: list[Check | RuntimeResult] = [*checks, *runtimes]
    good = all(each.good is not False for each in found) and any(runtime.good for runtime in runtimes)
    return Verification(str(order.bundle), f"{bundle.info.name} {bundle.info.version}", bundle.info.digest, good, checks, runtimes, photos)


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


def _material(order: VerifyRequest, bundle: Bundle, scratch: Path, progress: Progress) -> _TestPhotos | None:
    if order.data is None:
        return None
    labels = bundle.info.labels
    run = read_run(order.run, order.data) if order.run is not None else None
    if run is not None and run.labels != labels:
        raise RunError(f"{order.run}: its labels are {', '.join(run.labels)}, those of {order.bundle} are {', '.join(labels)}")
    judging = choose_evaluation_photos(bundle, order.data, order.split, run)
    photos = judging.photos
    known = {unicodedata.normalize("NFC", label): index for index, label in enumerate(labels)}
    spelled = [unicodedata.normalize("NFC", photo.label) for photo in photos]
    for photo, label in zip(photos, spelled, strict=True):
        if label not in known:
            raise PhotosError(f"{order.data}: {photo.name} is labelled {photo.label}, which {order.bundle} does not know: {', '.join(labels)}")
    size, pictures = bundle.info.input.size, scratch / "pictures.npy"
    try:
        pixel_cache.write_pixels(progress.track(NetworkInputs(photos, size), "decoding photos"), size, pictures)
    except OSError as error:
        raise OutputError(f"{scratch}: {error.strerror}; decoded photos take {len(photos) * size * size * 3 / 1e6:.0f} MB there") from error
    return _TestPhotos(photos, np.array([known[label] for label in spelled]), judging.claimed, judging.remark, pictures, run)


def _ask_all(
    order: VerifyRequest, bundle: Bundle, material: _TestPhotos | None, scratch: Path, progress: Progress
) -> tuple[list[RuntimeResult], dict[str, Float64Array], dict[str, tuple[Package, Kernels]]]:
    """What each runtime answers, and by its name the logits of those that ran on photos and what was asked for; the one that ships comes first."""
    ways: list[tuple[Package, Kernels]] = [(package, kernels) for package in PACKAGES for kernels in ("default", "builtin")]
    if EDGETPU_FILE in bundle.info.files:
        ways += [(package, "edgetpu") for package in PACKAGES]
    found: list[RuntimeResult] = []
    logits: dict[str, Float64Array] = {}
    asked_for: dict[str, tuple[Package, Kernels]] = {}
    for package, kernels in ways:
        if importlib.util.find_spec(package.replace("-", "_")) is None:
            found.append(RuntimeResult(f"{package} {kernels}", None, "not installed"))
            continue
        progress.step(f"asking {package} {kernels}")
        file = scratch / f"{package}-{kernels}.npy"
        pictures = str(material.pictures) if material is not None else None
        question = runtime_probe.ProbeRequest(str(order.bundle.resolve()), package, kernels, pictures, str(file))
        try:
            told = ask(runtime_probe.__name__, question, runtime_probe.ProbeResult, timeout_s=_timeout_s(order, material))
        except ChildFault as fault:
            found.append(RuntimeResult(f"{package} {kernels}", False, str(fault)))
            continue
        if told.degraded:
            found.append(RuntimeResult(f"{package} {kernels}", None, told.degraded))
            continue
        found.append(_asked(told, bundle))
        if material is not None:
            logits[told.runtime] = np.load(file).astype(np.float64)
            asked_for[told.runtime] = package, kernels
    return found, logits, asked_for


def _asked(told: runtime_probe.ProbeResult, bundle: Bundle) -> RuntimeResult:
    allowed = 0 if told.exact else bundle.info.known_answer.tolerance
    good = told.off <= allowed
    text = f"{counted(told.off, 'step')} off" if told.off else "exact"
    text += f", {allowed} allowed" if told.off or allowed else ""
    return RuntimeResult(told.runtime, good, text if good else f"{text} (at {told.worst}); do not run the bundle on it", told.off, allowed)


def _provenance(bundle: Bundle, run: Run) -> Check:
    found = fingerprint(sorted(run.train + run.val), names=True)
    if found != bundle.info.data_fingerprint:
        said = bundle.info.data_fingerprint
        return Check("photos", False, f"the run's photos have sha256 {found[:12]}..., the bundle was made of {said[:12]}...: another run or data set")
    return Check("photos", True, f"the {len(run.train)} training and {len(run.val)} validation photos that the bundle was made of")


def _judge(
    order: VerifyRequest,
    bundle: Bundle,
    material: _TestPhotos,
    runtimes: list[RuntimeResult],
    logits: dict[str, Float64Array],
    scratch: Path,
    progress: Progress,
) -> tuple[list[RuntimeResult], PhotoResults | None, list[Check]]:
    """Every runtime's answers for the photos beside those of the runtime that ships, and that one's beside what the bundle claims."""
    if not logits:
        return runtimes, None, [Check("accuracy", None, "no runtime to measure it on")]
    answers = {name: Predictions(found, material.targets) for name, found in logits.items()}
    ships = next(iter(answers))
    claim = bundle.info.metrics.int8
    claimed = proportion(round(claim.accuracy * claim.n), claim.n)
    same = material.claimed
    step = contract.logits_step(read_model(bundle.model))
    measured = []
    for asked in runtimes:
        if asked.name in answers:
            allowed = order.tolerance_points if asked.name == ships else max(order.tolerance_points, OTHER_RUNTIMES_POINTS)
            asked = _measured(asked, answers[asked.name], answers[ships], step, claimed.share - allowed / 100 if same else None)
        measured.append(asked)
    int8 = _of(answers[ships])
    precision = "INT8" if bundle.info.precision is msgspec.UNSET else bundle.info.precision
    told = f"{precision} {int8} on {ships}"
    if same:
        lost = 100 * (claimed.share - int8.share)
        checks = [Check("accuracy", lost <= order.tolerance_points + 1e-9, f"{told}; the bundle claims {claimed.share:.4f}")]
    else:
        other = f"; the bundle claims {claimed.share:.4f} of {claimed.n} other photos"
        checks = [Check("accuracy", None, told + other)]
    photos = PhotoResults(material.photos[0].path.parents[1].name, len(material.photos), ships, claimed, int8)
    if material.run is not None:
        progress.step("asking the float network")
        try:
            floating = _floating(order, bundle, material, material.run, scratch)
        except ChildFault as fault:
            return measured, photos, [*checks, Check("float", False, f"{material.run.model}: {fault}")]
        photos = msgspec.structs.replace(photos, float32=_of(floating), agreement=agreement(floating, answers[ships]))
        checks += _against_float(order, bundle, photos, same)
    return measured, photos, checks


def _by_themselves(
    order: VerifyRequest, bundle: Bundle, material: _TestPhotos, photos: PhotoResults, way: tuple[Package, Kernels], scratch: Path, progress: Progress
) -> tuple[PhotoResults, Check]:
    """What the runtime that ships makes of the photos' items by themselves, beside what the bundle claims of them."""
    claim = bundle.info.metrics.isolated
    assert claim is not msgspec.UNSET
    progress.step("isolating items")
    size, pictures, file = bundle.info.input.size, scratch / "isolated.npy", scratch / "isolated-logits.npy"
    shown, items = isolated_inputs(material.photos, size, bundle.info.ground)
    try:
        pixel_cache.write_pixels(shown, size, pictures)
    except OSError as error:
        raise OutputError(f"{scratch}: {error.strerror}; decoded photos take {len(shown) * size * size * 3 / 1e6:.0f} MB there") from error
    question = runtime_probe.ProbeRequest(str(order.bundle.resolve()), *way, str(pictures), str(file))
    try:
        ask(runtime_probe.__name__, question, runtime_probe.ProbeResult, timeout_s=_timeout_s(order, material))
    except ChildFault as fault:
        return photos, Check("isolated", False, str(fault))
    found = _of(Predictions(np.load(file).astype(np.float64), material.targets))
    told = f"{found} with {items} items by themselves; the bundle claims {claim.int8.accuracy:.4f}"
    if not material.claimed:
        check = Check("isolated", None, f"{told} of {claim.int8.n} other photos")
    elif items != claim.items:
        check = Check("isolated", None, f"{told} with {claim.items}: other masks than those it was made with")
    else:
        check = Check("isolated", 100 * (claim.int8.accuracy - found.share) <= order.tolerance_points + 1e-9, told)
    return msgspec.structs.replace(photos, isolated=found), check


def _measured(asked: RuntimeResult, own: Predictions, ships: Predictions, step: float | None, least: float | None) -> RuntimeResult:
    """The same with what it made of the photos. least: accuracy that it must have, or None where the bundle claims nothing for them."""
    accuracy, agrees = _of(own), agreement(own, ships)
    differs = float(np.abs(own.logits - ships.logits).max())
    steps = round(differs / step) if step else None
    text = f"{asked.text}; accuracy {accuracy.share:.4f}"
    if own is not ships:
        most = f"{differs:.3g}" if steps is None else f"{counted(steps, 'step')} ({differs:.3g})"
        text += f", agrees with what ships on {agrees:.4f}, logits differ by at most {most}"
    else:
        text += ", ships"
    good = asked.good
    if least is not None and accuracy.share < least - 1e-9:
        good, text = False, f"{text}: too much below what the bundle claims"
    return msgspec.structs.replace(asked, good=good, text=text, accuracy=accuracy, agreement=agrees, differs_steps=steps, differs=differs)


def _floating(order: VerifyRequest, bundle: Bundle, material: _TestPhotos, run: Run, scratch: Path) -> Predictions:
    file = scratch / "float.npy"
    question = float_probe.FloatProbeRequest(str(run.model.resolve()), len(bundle.info.labels), str(material.pictures), str(file))
    ask(float_probe.__name__, question, str, timeout_s=_timeout_s(order, material))
    return Predictions(np.load(file).astype(np.float64), material.targets)


def _against_float(order: VerifyRequest, bundle: Bundle, photos: PhotoResults, same: bool) -> list[Check]:
    metrics = bundle.info.metrics
    found, agrees = photos.float32, photos.agreement
    assert found is not None and agrees is not None
    claimed_loss = 100 * (metrics.float32.accuracy - metrics.int8.accuracy)
    lost = 100 * (found.share - photos.int8.share)
    float_text = f"float {found}" + (f"; the bundle claims {metrics.float32.accuracy:.4f}" if same else "")
    float_good = abs(100 * (found.share - metrics.float32.accuracy)) <= order.tolerance_points + 1e-9 if same else None
    return [
        Check("float", float_good, float_text),
        Check(
            "loss",
            lost <= claimed_loss + order.tolerance_points + 1e-9 if same else None,
            f"{lost:.2f} points lost against float (the bundle claims {claimed_loss:.2f}); both name the same label on {agrees:.4f} of the photos",
        ),
    ]


def _timeout_s(order: VerifyRequest, material: _TestPhotos | None) -> float:
    return START_S + (len(material.photos) if material is not None else 0) if order.timeout_s is None else order.timeout_s


def _of(answers: Predictions) -> Proportion:
    return proportion(int(answers.right.sum()), len(answers.targets))
