"""Compare recipes on the same photos: accuracy, size, and latency of the INT8 model of each."""

import io
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import msgspec
import numpy as np
from matplotlib.figure import Figure
from tensorflow.lite.python.convert_phase import ConverterError

from converter.common.accuracy import Ints, Predictions
from converter.common.progress import Progress
from converter.common.proportion import Proportion, proportion
from converter.data.manifest import is_dataset, read_info
from converter.data.photos import Photo, Split, read_part
from converter.data.training_run import Run, read_run
from converter.quantization import calibration_photos as calibration
from converter.quantization import float_network as network
from converter.quantization import tf_converter as tflite
from converter.quantization.calibration_photos import CalibrationPhotos, NetworkInputs
from converter.quantization.candidates import CandidateSpec, best_candidate
from device.common.errors import SortbinError
from device.policy.rules import find_rules, read_rules
from training.fit.curves import EXPLAINED as CURVES_EXPLAINED
from training.fit.curves import render_curves
from training.fit.history import read_history, train_sample
from training.fit.job import TrainingJob
from training.fit.recipe import RECIPE_FILE, read_recipe, read_run_recipe
from training.fit.trainer import fit
from training.report.colours import BLUE, GREY, INK, ORANGE
from training.report.page import Page

Report = Callable[[str], None]
CALIBRATION_PHOTOS = 200
CURVES = "curves.png"
WARM_UP, TIMED = 5, 50
HEAD = (
    "recipe",
    "validation (95 %)",
    "n",
    "train (95 %)",
    "n",
    "test (95 %)",
    "n",
    "INT8 validation (95 %)",
    "epochs",
    "parameters",
    "INT8 kB",
    "INT8 ms (p95)",
)


class CompareError(SortbinError, ValueError):
    """A run that cannot be compared: trained by another recipe, or chosen by other photos. The message says what to do."""


class Int8Result(msgspec.Struct, frozen=True):
    """The INT8 model that `converter quantize` makes of a run. Milliseconds: of `timed` runs on one thread, of a picture of the input's size."""

    accuracy: Proportion
    size_bytes: int
    median_ms: float
    p95_ms: float
    timed: int
    runtime: str


class ComparisonRow(msgspec.Struct, frozen=True):
    """One recipe. accuracy: on the validation photos. train: on some of the training photos, without augmentation. test: None where the data has no
    test part. epochs: that were run over all stages, and the recipe's number. refused: why there is no INT8 model, else empty.
    """

    name: str
    accuracy: Proportion
    parameters: int
    input_size: int
    int8: Int8Result | None
    refused: str
    train: Proportion | None = None
    test: Proportion | None = None
    epochs: tuple[int, int] | None = None


class Comparison(msgspec.Struct, frozen=True):
    """rows: the best validation accuracy first."""

    data: str
    machine: str
    rows: list[ComparisonRow]


def compare(recipes: Mapping[str, Path], weights: Mapping[str, str | None], split: Split, data: Path, out: Path, report: Report) -> Comparison:
    """Train each recipe into `out`/name, unless that holds its finished run; measure all and sort them.

    weights: start of each trunk, see `build_trunk`. Raises CompareError, RunError, and what `fit` raises.
    """
    rows, test = [], read_test_part(data)
    for name, file in recipes.items():
        _train(file, weights[name], split, out / name, _named(name, report))
        run = read_run(out / name, data)
        if {photo.name for photo in run.val} != {photo.name for photo in split.val} or run.labels != split.labels:
            raise CompareError(f"{out / name}: expected a run chosen by the photos of {data}; remove it to train again")
        report(f"{name}: measuring")
        rows.append(_measured(name, run, test))
        keras.backend.clear_session()
    rows.sort(key=lambda row: -row.accuracy.share)
    return Comparison(data.resolve().name, f"{platform.machine()}, {platform.system()}", rows)


def _named(name: str, report: Report) -> Report:
    return lambda line: report(f"{name}: {line}")


def table(rows: Sequence[ComparisonRow]) -> list[tuple[str, ...]]:
    """The rows as text, with the columns of HEAD."""
    return [
        (
            row.name,
            *_with_n(row.accuracy),
            *_with_n(row.train),
            *_with_n(row.test),
            row.int8.accuracy.with_interval() if row.int8 else "-",
            f"{row.epochs[0]} of {row.epochs[1]}" if row.epochs else "-",
            f"{row.parameters:,}",
            f"{row.int8.size_bytes / 1000:,.0f}" if row.int8 else "-",
            f"{row.int8.median_ms:.2f} ({row.int8.p95_ms:.2f})" if row.int8 else f"refused: {row.refused}",
        )
        for row in rows
    ]


def write(found: Comparison, out: Path) -> None:
    """Write compare.json, compare.png and compare.html."""
    encoded = io.BytesIO()
    plot(found.rows).savefig(encoded, format="png", dpi=150)
    (out / "compare.png").write_bytes(encoded.getvalue())
    (out / "compare.json").write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2))
    page = Page(f"{len(found.rows)} recipes on {found.data}")
    page.table(HEAD, table(found.rows))
    page.note(
        f"{_how(found)} Validation accuracy is of the best epoch, chosen on the same photos, which flatters it a little. Choose by it; test photos "
        "measure the chosen one. Train accuracy is of training photos without augmentation."
    )
    page.picture(encoded.getvalue(), "png", "accuracy with intervals, parameters, INT8 size and latency of each recipe")
    histories = {row.name: history for row in found.rows if (history := read_history(out / row.name))}
    if histories:
        side_by_side = render_curves(histories)
        (out / CURVES).write_bytes(side_by_side)
        page.heading("How they were trained")
        page.picture(side_by_side, "png", "loss and accuracy of each epoch on training and validation photos, a column a recipe, on the same scales")
        page.note(CURVES_EXPLAINED)
    (out / "compare.html").write_text(page.html(), encoding="utf-8")


def plot(rows: Sequence[ComparisonRow]) -> Figure:
    """Four panels with the same rows: accuracy (float and INT8) with 95 % intervals, parameters, INT8 size, INT8 latency."""
    figure = Figure(figsize=(10, 1.8 + 0.55 * len(rows)), layout="constrained")
    columns = figure.subplots(1, 4, sharey=True, width_ratios=(2, 1, 1, 1))
    places = np.arange(len(rows))
    for offset, colour, name, shares in (
        (-0.12, BLUE, "float", [row.accuracy for row in rows]),
        (0.12, ORANGE, "INT8", [row.int8.accuracy if row.int8 else None for row in rows]),
    ):
        for place, found in zip(places, shares, strict=True):
            if found is not None:
                columns[0].plot([found.low, found.high], [place + offset] * 2, color=colour, linewidth=2)
                columns[0].plot(found.share, place + offset, "o", color=colour)
        columns[0].plot([], [], "o-", color=colour, label=name)
    columns[0].set(xlabel="accuracy, 95 % intervals", title=f"{rows[0].accuracy.n} validation photos")
    columns[0].grid(axis="x", color="#dddddd")
    columns[0].invert_yaxis()
    columns[0].set_yticks(places, [row.name for row in rows])
    for axes, title, unit, values in (
        (columns[1], "parameters", "thousands", [row.parameters / 1000 for row in rows]),
        (columns[2], "INT8 size", "kB", [row.int8.size_bytes / 1000 if row.int8 else None for row in rows]),
        (columns[3], "INT8 latency", "ms, median", [row.int8.median_ms if row.int8 else None for row in rows]),
    ):
        axes.barh(places, [value or 0 for value in values], 0.5, color=GREY)
        for place, value in zip(places, values, strict=True):
            text = "refused" if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
            axes.annotate(text, (value or 0, place), (3, 0), textcoords="offset points", va="center", size=8, color=INK)
        axes.set(xlabel=unit, title=title, xlim=(0, 1.45 * max([value for value in values if value], default=1)))
        axes.tick_params(axis="y", length=0)
    for axes in columns:
        axes.title.set_size(10)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _train(file: Path, weights: str | None, split: Split, run: Path, report: Report) -> None:
    recipe, copied = read_recipe(file), run / RECIPE_FILE
    if copied.is_file() and read_run_recipe(run) != recipe:
        raise CompareError(f"{run}: expected a run trained by {file}; remove it to train again")
    if (run / "model.keras").is_file():
        report("finished already")
        return
    run.mkdir(parents=True, exist_ok=True)
    copied.write_bytes(file.read_bytes())
    rules = read_rules(find_rules(recipe.rules), split.labels) if recipe.rules else None
    fit(TrainingJob(recipe, split, rules), run, weights, report)


def read_test_part(data: Path) -> tuple[Photo, ...]:
    """The test part of the data; empty where it has none."""
    has = "test" in read_info(data).counts if is_dataset(data) else any((data / "splits").glob("*test.txt"))
    return read_part(data, "test") if has else ()


def _measured(name: str, run: Run, test: Sequence[Photo]) -> ComparisonRow:
    floating = network.read_network(run.model, len(run.labels))
    size = int(floating.inputs[0].shape[1])
    targets = np.array([run.target(photo) for photo in run.val])
    accuracy, train, on_test = (_accuracy(floating, run, photos) for photos in (run.val, train_sample(run.train), test))
    try:
        int8, refused = _int8(run, targets), ""
    except (SortbinError, ConverterError, RuntimeError, ValueError) as error:
        int8, refused = None, _reason(error)
    assert accuracy is not None  # every run has validation photos
    return ComparisonRow(name, accuracy, floating.count_params(), size, int8, refused, train, on_test, _epochs(run.model.parent))


def _accuracy(floating: keras.Model, run: Run, photos: Sequence[Photo]) -> Proportion | None:
    if not photos:
        return None
    logits = network.predict(floating, NetworkInputs(photos, int(floating.inputs[0].shape[1])))["logits"]
    return proportion(int((logits.argmax(axis=1) == [run.target(photo) for photo in photos]).sum()), len(photos))


def _epochs(run: Path) -> tuple[int, int] | None:
    history = read_history(run)
    return (len(history.epochs), sum(stage.epochs for stage in read_run_recipe(run).stage)) if history else None


def _int8(run: Run, targets: Ints) -> Int8Result:
    floating = tflite.KerasNetwork(run.model, len(run.labels))
    chosen = calibration.choose_photos(run.train, CALIBRATION_PHOTOS, seed=1)
    photos = CalibrationPhotos(chosen, calibration.photos_to_isolate(chosen))
    with tempfile.TemporaryDirectory(prefix="sortbin-") as scratch:
        trial = best_candidate(floating, run.labels, CandidateSpec("int8", "tensorflow", "cpu"), photos, Path(scratch), Progress()).trial
        answers = Predictions(trial.logits(NetworkInputs(run.val, floating.size)), targets)
        picture = next(iter(NetworkInputs(run.val, floating.size)))
        for _ in range(WARM_UP + TIMED):
            trial.classifier.logits(picture)
        took_ms = np.array(trial.classifier.took_ms)[-TIMED:]
    right = answers.proportion_right()
    median_ms, p95_ms = np.percentile(took_ms, (50, 95)).tolist()
    return Int8Result(right, len(trial.model), median_ms, p95_ms, len(took_ms), trial.classifier.runtime.name)


def _reason(error: Exception) -> str:
    """The line of a converter error that names the operation, or the first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    naming = (line for line in lines if "not supported" in line or "neither a custom op" in line or line.startswith("Flex ops"))
    return next(naming, lines[0])[:200]


def _how(found: Comparison) -> str:
    timed = next((row.int8 for row in found.rows if row.int8), None)
    return f"Latency: {timed.timed} runs after {WARM_UP}, one thread, {timed.runtime}, {found.machine}." if timed else "No INT8 model could be made."


def _with_n(found: Proportion | None) -> tuple[str, str]:
    return ("-", "-") if found is None else (found.with_interval(), str(found.n))
