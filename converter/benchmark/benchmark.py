"""`converter benchmark`: measures every format on every runtime, one after the other, each in a process of its own."""

import ctypes
import importlib.util
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from converter.benchmark import convert_formats, measure_runtime
from converter.benchmark.convert_formats import file_name
from converter.benchmark.formats import EDGETPU, FORMATS, HOW_TO_INSTALL, INT8, INT16X8, KERAS, Format, installed
from converter.benchmark.machine import is_busy, machine_state, read_machine
from converter.benchmark.report import BenchmarkReport, BenchmarkRow
from converter.benchmark.single_stream import QUERIES, SECONDS, is_mlperf
from converter.bundle.photo_list import choose_evaluation_photos
from converter.common.accuracy import Ints, Predictions, agreement
from converter.common.progress import Progress
from converter.data import pixel_cache
from converter.data.photos import Photo, PhotosError
from converter.data.training_run import RunError, read_run
from converter.quantization import calibration_photos as calibration
from converter.quantization.calibration_photos import NetworkInputs
from device.common.errors import SortbinError
from device.common.run_in_subprocess import ChildFault, ask
from device.common.wording import counted
from device.vision.inference.bundle import EDGETPU_FILE, Bundle, hash_file, read_bundle
from device.vision.inference.runtime import EDGETPU_LIBRARY

MAKING_S = 900.0
"""time limit for converting all formats of one batch size"""

START_S = 120.0
QUERY_S = 1.0
"""time limits for the start of a process and for each picture; enough for a Raspberry Pi Zero"""

NOISE = 16
"""number of noise pictures that are timed if there are no photos"""

ALONE = 0.9
"""a process with less processor time per second was disturbed by others"""


class BenchmarkError(SortbinError, ValueError):
    """A benchmark that cannot be carried out. The message says why, and the cure."""


@dataclass(frozen=True)
class BenchmarkRequest:
    """What to measure: a bundle, a run, or a bundle and the run it was made of. data: photos for accuracy and calibration.

    batches, threads: every pair is measured. queries, seconds: at least, per pair. timeout_s: for each process; None: by the work.
    """

    bundle: Path | None
    run: Path | None
    data: Path | None
    batches: tuple[int, ...]
    threads: tuple[int, ...]
    queries: int
    seconds: float
    timeout_s: float | None


@dataclass(frozen=True)
class BenchmarkInputs:
    """Labels of the network, photos for calibration, and photos for accuracy; both may be empty. remark: a note on the photos, or empty."""

    labels: tuple[str, ...]
    bundle: Bundle | None
    calibration: tuple[Photo, ...]
    judging: tuple[Photo, ...]
    remark: str = ""


@dataclass(frozen=True, eq=False)
class PreparedFiles:
    """files: by format and batch size; a text instead of a path says why there is none. pictures: a file of `pixel_cache.write_pixels`; count: how
    many. targets: index of each picture's label, None for noise.
    """

    files: dict[tuple[Format, int], Path | str]
    pictures: Path
    count: int
    targets: Ints | None


def benchmark(request: BenchmarkRequest, scratch: Path, progress: Progress) -> BenchmarkReport:
    """Measure everything. scratch: a folder for the converted files, which stay there.

    Raises SortbinError for a request that cannot be carried out. Failures of single formats or runtimes are in the report.
    """
    inputs, pictures = read_inputs(request), scratch / "pictures.npy"
    # If the size is known already, a damaged photo is reported before minutes of converting.
    count = _write_pictures(inputs, inputs.bundle.info.input.size, pictures, progress) if inputs.bundle is not None else 0
    progress.step("making the formats")
    size, files = _collect_files(request, inputs, scratch)
    count = count or _write_pictures(inputs, size, pictures, progress)
    targets = np.array([inputs.labels.index(photo.label) for photo in inputs.judging]) if inputs.judging else None
    prepared = PreparedFiles(files, pictures, count, targets)
    computer, before = read_machine(), machine_state()
    rows = _measure_all(request, inputs, prepared, progress)
    pictures.unlink()
    after = machine_state()
    named = request.bundle if request.bundle is not None else request.run
    assert named is not None
    measured = [row.measured for row in rows if row.measured is not None]
    return BenchmarkReport(
        subject=named.resolve().name,
        data=request.data.resolve().name if request.data is not None else None,
        photos=prepared.count if prepared.targets is not None else 0,
        queries=request.queries,
        seconds=request.seconds,
        mlperf=bool(measured) and all(is_mlperf(found.queries, found.seconds) for found in measured),
        machine=computer,
        before=before,
        after=after,
        notes=[*filter(None, [inputs.remark]), *_notes(request, measured, is_busy(before, computer.cores))],
        rows=rows,
    )


def read_inputs(request: BenchmarkRequest) -> BenchmarkInputs:
    """Read the bundle and the run. Raises BundleError, RunError and PhotosError."""
    bundle = read_bundle(request.bundle) if request.bundle is not None else None
    labels = bundle.info.labels if bundle is not None else ()
    chosen: tuple[Photo, ...] = ()
    judging: tuple[Photo, ...] = ()
    remark = ""
    run = read_run(request.run, request.data) if request.run is not None and request.data is not None else None
    if run is not None:
        chosen = calibration.choose_photos(run.train, convert_formats.CALIBRATION_PHOTOS, convert_formats.SEED)
        own, judging = run.labels, run.val
    elif request.run is not None:
        own = _read_labels(request.run)
    else:
        own = labels
    if bundle is not None and request.data is not None and own == labels:
        found = choose_evaluation_photos(bundle, request.data, "val", run)
        judging, remark = found.photos, found.remark
    if labels and own != labels:
        raise RunError(f"{request.run}: its labels are {', '.join(own)}, those of {request.bundle} are {', '.join(labels)}")
    strange = [photo for photo in judging if photo.label not in own]
    if strange:
        raise PhotosError(f"{request.data}: {strange[0].name} is labelled {strange[0].label}; expected one of {', '.join(own)}")
    return BenchmarkInputs(own, bundle, chosen, judging, remark)


def _read_labels(run: Path) -> tuple[str, ...]:
    for name in ("model.keras", "labels.txt"):
        if not (run / name).is_file():
            raise RunError(f"{run}: expected a finished training run, {name} is missing")
    return tuple(line for line in (run / "labels.txt").read_text(encoding="utf-8").split("\n") if line)


def _collect_files(request: BenchmarkRequest, inputs: BenchmarkInputs, scratch: Path) -> tuple[int, dict[tuple[Format, int], Path | str]]:
    """The side of the input in pixels, and the file of each format and batch size, or why there is none."""
    files: dict[tuple[Format, int], Path | str] = {}
    bundle = inputs.bundle
    size = bundle.info.input.size if bundle is not None else 0
    converted: convert_formats.ConversionResult | None = None
    why = "made from a training run; name it with --run"
    if request.run is not None:
        try:
            converted = _convert_formats(request, inputs, scratch)
        except ChildFault as fault:
            if bundle is None:
                raise BenchmarkError(f"{request.run / 'model.keras'}: {fault}") from fault
            why = f"could not be made: {fault}"
    if converted is not None:
        if bundle is not None and converted.size != size:
            raise BenchmarkError(
                f"{request.run}: takes pictures of {converted.size} pixels, {request.bundle} of {size}; it is not the run behind this bundle"
            )
        size = converted.size
    for form in FORMATS:
        for batch in request.batches:
            name = file_name(form.key, form.suffix, batch)
            found: Path | str = why if converted is None else converted.refused.get(name, scratch / name)
            if form is KERAS and request.run is not None:
                found = request.run / "model.keras"
            elif form.name == EDGETPU:
                found = _edgetpu_file(bundle, batch)
            elif bundle is not None and form.key == _precision_of(bundle) and form.suffix == ".tflite" and batch == 1:
                found = bundle.model
            elif form.name == INT16X8:
                continue
            elif form.name == INT8 and converted is not None and not inputs.calibration:
                found = "calibrated with training photos; name them with --data"
            elif form.name == INT8 and request.run is None and batch > 1:
                found = "the bundle's file is for batches of 1; others are made from the training run, name it with --run"
            elif form.suffix == ".onnx" and converted is not None and not _makes_onnx():
                found = "made with tf2onnx, which is not installed: pip install 'sortbin[benchmark]'"
            files[form, batch] = found
    return size, files


def _precision_of(bundle: Bundle) -> str:
    return "int8" if bundle.info.precision is msgspec.UNSET else bundle.info.precision


def _convert_formats(request: BenchmarkRequest, inputs: BenchmarkInputs, scratch: Path) -> convert_formats.ConversionResult:
    assert request.run is not None
    keys = [form.key for form in FORMATS if form.suffix == ".tflite" and form.name not in (EDGETPU, INT16X8)]
    if not inputs.calibration:
        keys = [key for key in keys if key != "int8"]
    if inputs.bundle is not None and request.batches == (1,):
        keys = [key for key in keys if key != _precision_of(inputs.bundle)]
    conversion = convert_formats.ConversionRequest(
        str((request.run / "model.keras").resolve()),
        len(inputs.labels),
        tuple(str(photo.path.resolve()) for photo in inputs.calibration),
        tuple(keys),
        _makes_onnx() and any(form.suffix == ".onnx" for form in FORMATS),
        request.batches,
        str(scratch.resolve()),
    )
    return ask(convert_formats.__name__, conversion, convert_formats.ConversionResult, timeout_s=MAKING_S * len(request.batches))


def _makes_onnx() -> bool:
    return importlib.util.find_spec("tf2onnx") is not None


def _edgetpu_file(bundle: Bundle | None, batch: int) -> Path | str:
    if bundle is None or EDGETPU_FILE not in bundle.info.files:
        return "no compiled model; `converter edgetpu` adds one to a bundle"
    if batch != 1:
        return "the Edge TPU takes batches of 1 only"
    try:
        ctypes.CDLL(EDGETPU_LIBRARY)
    except OSError as error:
        return f"no Edge TPU runtime: {error}"
    return bundle.folder / EDGETPU_FILE


def _write_pictures(inputs: BenchmarkInputs, size: int, file: Path, progress: Progress) -> int:
    """Write the pictures, photos or noise, and return their number."""
    if inputs.judging:
        return pixel_cache.write_pixels(progress.track(NetworkInputs(inputs.judging, size), "decoding photos"), size, file)
    return pixel_cache.write_pixels(np.random.default_rng(0).integers(0, 256, (NOISE, size, size, 3), dtype=np.uint8), size, file)


def _measure_all(request: BenchmarkRequest, inputs: BenchmarkInputs, prepared: PreparedFiles, progress: Progress) -> list[BenchmarkRow]:
    planned = list(_planned_rows(request, prepared))
    total = sum(row.state == "measured" for row in planned)
    rows: list[BenchmarkRow] = []
    floating: Predictions | None = None
    number = 0
    for row in planned:
        if row.state == "measured":
            number += 1
            threads = counted(row.threads, "thread")
            progress.step(f"{number}/{total} {row.format} on {row.runtime}, batch {row.batch}, {threads}")
            row, answers = _measure_row(request, inputs, prepared, row, floating)
            if floating is None and row.format == KERAS.name:
                floating = answers
        rows.append(row)
    return rows


def _planned_rows(request: BenchmarkRequest, prepared: PreparedFiles) -> Iterator[BenchmarkRow]:
    """A row without results for each measurement to make, and one for each that is missing."""
    for form in dict.fromkeys(form for form, _ in prepared.files):
        for runtime in form.runtimes:
            if not installed(runtime):
                yield BenchmarkRow(form.name, runtime, 0, 0, "missing", f"{runtime} is not installed: {HOW_TO_INSTALL[runtime]}")
                continue
            for batch in request.batches:
                file = prepared.files[form, batch]
                if isinstance(file, str):
                    yield BenchmarkRow(form.name, runtime, 0, 0, "missing", file)
                    continue
                for threads in request.threads:
                    yield BenchmarkRow(form.name, runtime, batch, threads, "measured", file=str(file))


def _measure_row(
    request: BenchmarkRequest, inputs: BenchmarkInputs, prepared: PreparedFiles, row: BenchmarkRow, floating: Predictions | None
) -> tuple[BenchmarkRow, Predictions | None]:
    file, logits = Path(row.file), prepared.pictures.with_name("logits.npy")
    row = msgspec.structs.replace(row, file=file.name, size_bytes=file.stat().st_size, sha256=hash_file(file))
    measurement = measure_runtime.MeasurementRequest(
        row.runtime,
        str(file.resolve()),
        row.batch,
        row.threads,
        len(inputs.labels),
        request.queries,
        request.seconds,
        str(prepared.pictures.resolve()),
        str(logits.resolve()) if prepared.targets is not None else None,
    )
    work = (request.queries + measure_runtime.SAMPLE_PICTURES) * row.batch + prepared.count
    timeout_s = START_S + 2 * request.seconds + QUERY_S * work if request.timeout_s is None else request.timeout_s
    try:
        found = ask(measure_runtime.__name__, measurement, measure_runtime.Measurement, timeout_s=timeout_s)
    except ChildFault as fault:
        return msgspec.structs.replace(row, state="failed", why=str(fault)), None
    row = msgspec.structs.replace(row, measured=found)
    if prepared.targets is None:
        return row, None
    answers = Predictions(np.load(logits).astype(np.float64), prepared.targets)
    logits.unlink()
    reference = answers if floating is None and row.format == KERAS.name else floating
    row = msgspec.structs.replace(row, accuracy=answers.proportion_right())
    if reference is not None:
        differs = float(np.abs(answers.logits - reference.logits).max())
        row = msgspec.structs.replace(row, agreement=agreement(answers, reference), differs=differs)
    return row, answers


def _notes(request: BenchmarkRequest, measured: Sequence[measure_runtime.Measurement], load: bool) -> Iterator[str]:
    if request.queries < QUERIES or request.seconds < SECONDS:
        yield f"fewer than MLPerf's mobile rules ask for ({QUERIES} queries and {SECONDS:g} s each): for orientation only"
    alone = [found.cpu_share for found in measured if found.cpu_share <= 1]
    if alone and 1 in request.threads:  # more reliable than the load average, which includes work that has ended
        got = statistics.median(alone)
        busy, how = got < ALONE, f"a process got {got:.2f} s of processor time a second"
    else:
        busy, how = load, "its load was high before measuring"
    if busy:
        yield f"the machine was busy ({how}): times are longer than its own"
    if request.run is not None and request.bundle is None and request.data is not None:
        yield "INT8 is the plain quantization of the run, without the bias correction of `converter quantize`; name a BUNDLE and --run for that"
    if request.run is None:
        yield "agreement with float is not known without the training run (--run)"
