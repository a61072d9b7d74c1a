"""`converter quantize`: makes a bundle of a training run or of any Keras classifier."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from converter.common.atomic_directory import OutputError, require_free
from converter.common.progress import Progress
from converter.common.silence import silenced
from converter.data.isolated_view import GROUND
from converter.data.photos import read_extra_photos, report_all_unreadable
from converter.data.training_run import Run, RunError, read_run, run_from_labels_file
from converter.foreign.file_checks import require_model
from converter.foreign.pixel_range import RANGES
from device import __version__
from device.common.cli import float_range, int_range
from device.common.errors import UsageError
from device.vision.inference.bundle import Bundle, ForeignModel

if TYPE_CHECKING:
    from converter.quantization.float_network import FloatNetwork


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `quantize` to the command line."""
    quantize = commands.add_parser(
        "quantize",
        help="make an INT8 bundle of a trained network",
        description="Quantize a network, to INT8 by default, measure it on the validation photos with the runtime of the device, and write a bundle. "
        "If it loses more accuracy than the tolerance, nothing is written. Exit status: 0 written, 1 refused, 2 bad usage or input.",
        epilog="example: converter quantize runs/trashnet --data photos/trashnet --out bundle",
    )
    option = quantize.add_argument
    option(
        "model",
        type=Path,
        metavar="MODEL",
        help="the folder that `training fit --out` wrote, or any Keras classifier with --labels: .keras, .h5, SavedModel",
    )
    option("--data", type=Path, required=True, metavar="DIR", help="its photos: what `training prepare` wrote, or a folder for each label")
    option(
        "--also",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="the folder given to `training fit --also`: items like these are not taken for unknown; may be repeated",
    )
    option("--out", type=Path, required=True, metavar="BUNDLE", help="the folder to write; it must not exist yet")
    option("--name", metavar="NAME", help="name of the bundle (default: the name of the folder)")
    option("--notes", type=Path, metavar="FILE", help="Markdown for the model card: sources and licences of data and weights")
    _add_foreign_options(quantize.add_argument_group("a classifier that training fit did not make"))
    _add_quantization_options(quantize.add_argument_group("quantization"))
    quantize.set_defaults(run=_quantize)


def _add_foreign_options(group: "argparse._ArgumentGroup") -> None:
    option = group.add_argument
    option("--labels", type=Path, metavar="FILE", help="its labels, one per line, in the order of its output")
    option(
        "--pixels",
        choices=tuple(RANGES),
        metavar="RANGE",
        help=f"pixel values it was trained on: {' or '.join(RANGES)} (default: found with validation photos)",
    )
    option("--output", metavar="NAME", help="which output, if it has several")
    option("--size", type=int_range(2), metavar="PIXELS", help="side of its input, if it takes any size")


def _add_quantization_options(group: "argparse._ArgumentGroup") -> None:
    option = group.add_argument
    option(
        "--tolerance",
        type=float_range(unit="points"),
        default=0.5,
        metavar="POINTS",
        help="accuracy that may be lost, in points (default: %(default)s)",
    )
    option(
        "--precision",
        default="int8",
        choices=("int8", "int16x8", "float16", "dynamic", "float32"),
        help="number format that the model computes in (default: %(default)s)",
    )
    option(
        "--recipe",
        default="tensorflow",
        choices=("tensorflow", "ai-edge-quantizer", "auto"),
        help="quantizer for INT8; auto: the one closest to the float network",
    )
    option("--target", default="cpu", choices=("cpu", "edgetpu", "both"), help="where all of it must run (default: %(default)s)")
    option(
        "--painted",
        type=float_range(ge=0, le=1),
        default=GROUND.painted,
        metavar="SHARE",
        help="how strongly the ground of an isolated item is painted over: from 0, for networks trained on many grounds, to 1 (default: %(default)s)",
    )
    option("--calibration", type=int_range(2), default=200, metavar="N", help="number of training photos for calibration (default: %(default)s)")
    option("--seed", type=int_range(0), default=1, metavar="N", help="seed for the calibration photos and the golden output (default: %(default)s)")


def _quantize(arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    require_free(arguments.out)
    if arguments.precision != "int8" and (arguments.recipe != "tensorflow" or arguments.target != "cpu"):
        raise UsageError(f"--precision {arguments.precision}: cannot be combined with --recipe or --target; they are for int8")
    run = _read_run(arguments)
    further = tuple(photo for folder in arguments.also for photo in read_extra_photos(folder, run.labels))
    notes = _read_notes(arguments.notes) if arguments.notes else ""
    progress = Progress()
    progress.step("starting TensorFlow")
    with silenced():
        from converter.bundle.build import QuantizationRefused, QuantizeRequest, quantize
        from converter.quantization.candidates import TITLES, CandidateSpec
    try:
        with report_all_unreadable((*run.train, *run.val, *further)):
            floating, foreign = _read_network(arguments, run, progress)
            request = QuantizeRequest(
                out=arguments.out,
                wanted=CandidateSpec(arguments.precision, arguments.recipe, arguments.target),
                name=arguments.name or arguments.out.resolve().name,
                version=__version__,
                data=arguments.data.resolve().name,
                tolerance_points=arguments.tolerance,
                calibration=arguments.calibration,
                seed=arguments.seed,
                notes=notes,
                further=further,
                ground=GROUND._replace(painted=arguments.painted),
                foreign=foreign,
            )
            made = quantize(run, floating, request, progress)
    except QuantizationRefused as refusal:
        progress.close()
        print(f"converter quantize: refused: {refusal}", file=sys.stderr)
        return 1
    finally:
        progress.close()
    _print_summary(made.bundle, TITLES[arguments.precision], time.monotonic() - began)
    for remark in made.remarks:
        print(f"converter quantize: look out: {remark}", file=sys.stderr)
    return 0


def _print_summary(bundle: Bundle, title: str, took_s: float) -> None:
    metrics = bundle.info.metrics
    alone = metrics.isolated
    isolated = f", isolated {title} {alone.int8.accuracy:.4f}, float {alone.float32.accuracy:.4f}" if alone is not msgspec.UNSET else ""
    size = sum(file.stat().st_size for file in bundle.folder.iterdir())
    print(
        f"wrote {bundle.folder}: {size / 1e6:.1f} MB, accuracy {title} {metrics.int8.accuracy:.4f}, float {metrics.float32.accuracy:.4f} "
        f"of {metrics.int8.n} photos, agreement {metrics.agreement:.4f}{isolated}, {took_s:.0f} s"
    )


def _read_network(arguments: argparse.Namespace, run: Run, progress: Progress) -> tuple["FloatNetwork", ForeignModel | None]:
    """The network to quantize, and its description if `training fit` did not make it. Raises NetworkError."""
    progress.step("reading the network")
    with silenced():
        if not arguments.labels:
            from converter.quantization.tf_converter import KerasNetwork

            return KerasNetwork(run.model, len(run.labels)), None
        from converter.foreign.foreign_model import ForeignClassifier
        from converter.foreign.pixel_choice import choose_pixels

        classifier = ForeignClassifier(run.model, len(run.labels), arguments.output, arguments.size)
        choice = choose_pixels(classifier, arguments.pixels, run, arguments.seed, progress)
    if choice.text:
        progress.step("")
        print(choice.text)
    foreign = ForeignModel(run.model.name, choice.pixels, arguments.labels.name, arguments.target, arguments.output)
    return choice.network, foreign


def _read_run(arguments: argparse.Namespace) -> Run:
    """The run to quantize. Most errors of the user are found here, before TensorFlow is imported. Raises RunError, NetworkError, PhotosError."""
    model: Path = arguments.model
    if arguments.labels:
        require_model(model)
        return run_from_labels_file(model, arguments.labels, arguments.data, arguments.seed)
    for name in ("pixels", "output", "size"):
        if getattr(arguments, name) is not None:
            raise RunError(f"--{name}: goes with --labels, for a classifier that `training fit` did not make")
    if model.is_file() or (model / "saved_model.pb").is_file():
        require_model(model)
        raise RunError(f"{model}: a classifier that `training fit` did not make; name its labels with --labels FILE, one per line in its order")
    return read_run(model, arguments.data)


def _read_notes(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise OutputError(f"{file}: expected UTF-8 text") from error
