"""`converter quantize`: a training run, or any Keras classifier, to a bundle."""

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
from converter.data.run import Run, RunError, read_run, run_from_labels_file
from converter.foreign.file_checks import require_model
from converter.foreign.pixel_range import RANGES
from device import __version__
from device.common.cli import float_range, int_range
from device.vision.inference.bundle import Bundle, ForeignModel

if TYPE_CHECKING:
    from converter.quantization.float_network import FloatNetwork


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `quantize` to the command line."""
    quantize = commands.add_parser(
        "quantize",
        help="make an INT8 bundle of a trained network",
        description="Quantize a network, to INT8 unless told otherwise, measure it on the validation photos on the runtime that ships, and write a "
        "bundle. Refuses with exit status 1, and writes nothing, when it loses more than the tolerance.",
        epilog="example: converter quantize runs/trashnet --data photos/trashnet --out bundle",
    )
    option = quantize.add_argument
    option(
        "model",
        type=Path,
        metavar="MODEL",
        help="the folder that `training fit --out` wrote, or any Keras classifier with --labels: .keras, .h5, SavedModel",
    )
    option("--labels", type=Path, metavar="FILE", help="labels of a classifier that training fit did not make, one a line in its order")
    option(
        "--pixels",
        choices=tuple(RANGES),
        metavar="RANGE",
        help=f"pixel values that classifier was trained on: {' or '.join(RANGES)} (default: found out on validation photos)",
    )
    option("--output", metavar="NAME", help="which output of that classifier, where it has several")
    option("--size", type=int_range(2), metavar="PIXELS", help="side of its input, where that classifier takes any size")
    option("--data", type=Path, required=True, metavar="DIR", help="its photos: what `training prepare` wrote, or a folder for each label")
    option(
        "--also",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="what `training fit --also` was given: items that look like these are known ones; may be given again",
    )
    option("--out", type=Path, required=True, metavar="BUNDLE", help="the folder to write; it must not exist")
    option(
        "--tolerance",
        type=float_range(unit="points"),
        default=0.5,
        metavar="POINTS",
        help="accuracy that may be lost, in points (default: %(default)s)",
    )
    option(
        "--precision", default="int8", choices=("int8", "int16x8", "float16", "dynamic", "float32"), help="what it computes in (default: %(default)s)"
    )
    option("--recipe", default="tensorflow", choices=("tensorflow", "ai-edge-quantizer", "auto"), help="whose INT8; auto: the most faithful of all")
    option("--target", default="cpu", choices=("cpu", "edgetpu", "both"), help="where it has to run, whole (default: %(default)s)")
    option(
        "--painted",
        type=float_range(ge=0, le=1),
        default=GROUND.painted,
        metavar="SHARE",
        help="how far what is round an isolated item is painted over: 0, for networks trained on many grounds, to 1 (default: %(default)s)",
    )
    option("--name", metavar="NAME", help="name of the bundle (default: that of the folder)")
    option("--calibration", type=int_range(2), default=200, metavar="N", help="training photos that set the ranges (default: %(default)s)")
    option("--seed", type=int_range(0), default=1, metavar="N", help="draws the calibration photos and the golden output (default: %(default)s)")
    option("--notes", type=Path, metavar="FILE", help="Markdown to add to the model card: where data and weights come from, their licences")
    quantize.set_defaults(run=_quantize)


def _quantize(arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    require_free(arguments.out)
    if arguments.precision != "int8" and (arguments.recipe != "tensorflow" or arguments.target != "cpu"):
        print(f"converter quantize: --precision {arguments.precision}: goes with neither --recipe nor --target, which are for int8", file=sys.stderr)
        return 2
    run = _read(arguments)
    further = tuple(photo for folder in arguments.also for photo in read_extra_photos(folder, run.labels))
    notes = _read_notes(arguments.notes) if arguments.notes else ""
    progress = Progress()
    progress.step("starting TensorFlow")
    with silenced():
        from converter.bundle.build import QuantizationRefused, QuantizeRequest, quantize
        from converter.quantization.candidates import TITLES, CandidateSpec
    try:
        with report_all_unreadable((*run.train, *run.val, *further)):
            floating, foreign = _network(arguments, run, progress)
            order = QuantizeRequest(
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
            made = quantize(run, floating, order, progress)
    except QuantizationRefused as refusal:
        progress.close()
        print(f"converter quantize: refused: {refusal}", file=sys.stderr)
        return 1
    finally:
        progress.close()
    _tell(made.bundle, TITLES[arguments.precision], time.monotonic() - began)
    for remark in made.remarks:
        print(f"converter quantize: look out: {remark}", file=sys.stderr)
    return 0


def _tell(bundle: Bundle, title: str, took_s: float) -> None:
    metrics = bundle.info.metrics
    alone = metrics.isolated
    isolated = f", isolated {title} {alone.int8.accuracy:.4f}, float {alone.float32.accuracy:.4f}" if alone is not msgspec.UNSET else ""
    size = sum(file.stat().st_size for file in bundle.folder.iterdir())
    print(
        f"wrote {bundle.folder}: {size / 1e6:.1f} MB, accuracy {title} {metrics.int8.accuracy:.4f}, float {metrics.float32.accuracy:.4f} "
        f"of {metrics.int8.n} photos, agreement {metrics.agreement:.4f}{isolated}, {took_s:.0f} s"
    )


def _network(arguments: argparse.Namespace, run: Run, progress: Progress) -> tuple["FloatNetwork", ForeignModel | None]:
    """What is quantized, and what is known of it where `training fit` did not make it. Raises NetworkError."""
    progress.step("reading the network")
    with silenced():
        if not arguments.labels:
            from converter.quantization.tf_converter import KerasNetwork

            return KerasNetwork(run.model, len(run.labels)), None
        from converter.foreign.foreign_model import ForeignClassifier
        from converter.foreign.pixel_choice import choose_pixels

        classifier = ForeignClassifier(run.model, len(run.labels), arguments.output, arguments.size)
        choice = choose_pixels(classifier, arguments.pixels, run, arguments.seed, progress)
    if choice.told:
        progress.step("")
        print(choice.told)
    told = ForeignModel(run.model.name, choice.pixels, arguments.labels.name, arguments.target, arguments.output)
    return choice.network, told


def _read(arguments: argparse.Namespace) -> Run:
    """What to quantize and its photos. What is wrong with it is told here, before TensorFlow starts."""
    model: Path = arguments.model
    if arguments.labels:
        require_model(model)
        return run_from_labels_file(model, arguments.labels, arguments.data, arguments.seed)
    for name in ("pixels", "output", "size"):
        if getattr(arguments, name) is not None:
            raise RunError(f"--{name}: goes with --labels, for a classifier that `training fit` did not make")
    if model.is_file() or (model / "saved_model.pb").is_file():
        require_model(model)
        raise RunError(f"{model}: a classifier that `training fit` did not make; name its labels with --labels FILE, one a line in its order")
    return read_run(model, arguments.data)


def _read_notes(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise OutputError(f"{file}: expected UTF-8 text") from error
