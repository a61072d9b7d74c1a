"""`training prepare`: from a heap of pictures to a checked, split data set."""

import argparse
import codecs
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.common.cli import float_range, int_range
from device.common.wording import counted

if TYPE_CHECKING:
    from training.prepare import Prepared, PrepareOptions

FLAGS = ("truncated", "tiny", "aspect", "duplicate", "near", "conflict", "transparent")
LEFT_OUT = ("aspect", "conflict", "tiny", "truncated")
MOST_BITS = 16
"""beyond which about every pair of pictures would have to be compared"""

DEFAULT_BUNDLE = "default"


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `prepare` to the command line."""
    parser = commands.add_parser(
        "prepare",
        help="check pictures, find duplicates and wrong labels, and split them without a leak",
        description="Look at every picture of a source, find what is broken, double or labelled twice, and write a data set: manifest.csv "
        "(a row for each picture), dataset.json, and report.html. SOURCE is a folder with a folder of pictures for each label, a zip or tar "
        "of one, a URL that fsspec knows (s3://bucket/folder, https://.../photos.zip, with sortbin[gcs] also gs://...), or cifar100, which Keras "
        "downloads. A local folder is used where it lies and never changed; the pictures of any other source are brought to DATASET/images. The same "
        "command goes on where it was stopped, and gives the same result. Exit status: 0 prepared, 2 bad usage or input, 130 interrupted.",
        epilog="Credentials and endpoints of a store are taken from its usual environment variables, such as AWS_PROFILE or AWS_ENDPOINT_URL. "
        "Example: training prepare photos --out photos.set --group-by filename-block:10 --folds 5",
    )
    option = parser.add_argument
    option("source", metavar="SOURCE", help="folder, .zip, .tar[.gz|.bz2|.xz], URL, or cifar100")
    option("--out", type=Path, required=True, metavar="DATASET", help="folder to write; of an earlier run with the same options, to go on")
    _add_checks(parser)
    _add_splits(parser)
    option(
        "--isolate",
        action="store_true",
        help="make masks of the items, for training, calibration and evaluation as a bin sees: taken over from SOURCE/masks/LABEL/NAME.png, "
        "else found against the empty views, else against plain light card",
    )
    option(
        "--background",
        type=Path,
        action="append",
        default=[],
        metavar="EMPTY.jpg",
        help="an empty view: the place without an item; may be given again; those in the folder SOURCE/empty count as well",
    )
    option("--names-encoding", type=_encoding, metavar="NAME", help="of names in a zip that does not say so, for example gbk")
    option("--json", action="store_true", help="the result as one JSON object")
    parser.set_defaults(run=run)


def _add_checks(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--min-side", type=int_range(1), default=32, metavar="PIXELS", help="a shorter side below this is tiny (default: %(default)s)")
    option("--max-aspect", type=float_range(ge=1, le=1000), default=3.0, metavar="RATIO", help="longest side ratio that is not odd (default: 3)")
    option("--cap", type=int_range(1), metavar="N", help="most pictures of a label, drawn with the seed (default: no limit)")
    option(
        "--near",
        type=int_range(0, MOST_BITS),
        default=8,
        metavar="BITS",
        help="of 64 hash bits, those in which near-duplicates may differ (default: 8)",
    )
    option(
        "--embeddings",
        nargs="?",
        const=DEFAULT_BUNDLE,
        metavar="BUNDLE",
        help="compare what a bundle's network sees as well (without BUNDLE: the one Sortbin comes with)",
    )
    option(
        "--alike",
        type=float_range(ge=0, le=1),
        default=0.95,
        metavar="COSINE",
        help="of embeddings of near-duplicates, at least (default: %(default)s)",
    )


def _add_splits(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option(
        "--group-by",
        default="",
        metavar="HOW",
        help="shooting sequences that no split may separate: filename-block:N (N successive numbers in a folder's file names), "
        "filename-prefix (names alike up to their last number) or folder (folders below a label's)",
    )
    option(
        "--split-lists",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="names for training, for validation, and maybe for the test, one a line, instead of drawing; others are left out",
    )
    option("--val-share", type=float_range(ge=0, le=1), default=0.15, metavar="SHARE", help="of the pictures, for validation (default: %(default)s)")
    option("--test-share", type=float_range(ge=0, le=1), default=0.0, metavar="SHARE", help="of the pictures, for the test (default: none)")
    option("--folds", type=int_range(2), metavar="K", help="share training and validation pictures out over K folds as well")
    option("--seed", type=int_range(0), default=0, metavar="N", help="draws splits, folds and what --cap keeps (default: %(default)s)")
    option(
        "--leave-out",
        type=_flags,
        default=LEFT_OUT,
        metavar="FLAG,...",
        help=f"flagged pictures that are in no split, of {', '.join(FLAGS)}, or `none`; what cannot be decoded always is left out "
        f"(default: {','.join(LEFT_OUT)})",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prepare the data set and say what was found. Returns the exit status."""
    import msgspec

    from converter.common.progress import Progress
    from training.prepare import PrepareError, prepare

    began_s = time.monotonic()
    if arguments.split_lists and not 2 <= len(arguments.split_lists) <= 3:
        raise PrepareError("--split-lists: expected two or three files: training, validation and maybe test")
    if arguments.val_share + arguments.test_share >= 1:
        raise PrepareError("--val-share and --test-share: expected less than 1 together, so that something is left for training")
    if arguments.background and not arguments.isolate:
        raise PrepareError("--background: an empty view is for --isolate, which is missing")
    options = _options(arguments)
    progress = Progress()
    try:
        prepared = prepare(options, arguments.out, progress)
    except KeyboardInterrupt:
        progress.close()
        print("training prepare: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    finally:
        progress.close()
    if arguments.json:
        print(msgspec.json.encode(prepared).decode())
    else:
        _print_result(prepared, arguments.out, time.monotonic() - began_s)
    return 0


def _options(arguments: argparse.Namespace) -> "PrepareOptions":
    from device.vision.inference.bundle import default_bundle
    from training.prepare import PrepareOptions

    bundle = default_bundle() if arguments.embeddings == DEFAULT_BUNDLE else arguments.embeddings and Path(arguments.embeddings)
    return PrepareOptions(
        source=arguments.source,
        min_side=arguments.min_side,
        max_aspect=arguments.max_aspect,
        cap=arguments.cap,
        near_bits=arguments.near,
        bundle=bundle,
        alike=arguments.alike,
        group_by=arguments.group_by,
        lists=tuple(arguments.split_lists),
        val_share=arguments.val_share,
        test_share=arguments.test_share,
        folds=arguments.folds or 0,
        seed=arguments.seed,
        leave_out=arguments.leave_out,
        names_encoding=arguments.names_encoding,
        isolate=arguments.isolate,
        backgrounds=tuple(arguments.background),
    )


def _print_result(prepared: "Prepared", out: Path, took_s: float) -> None:
    import msgspec

    for line in prepared.remarks:
        print(line)
    info = prepared.info
    for split, counts in info.counts.items():
        print(f"{split}: {counted(sum(counts.values()), 'picture')} ({', '.join(f'{label} {count}' for label, count in counts.items())})")
    if info.folds:
        print(f"{info.folds} folds over train and val")
    if info.masks is not msgspec.UNSET:
        told = ", ".join(f"{origin} {count}" for origin, count in info.masks.items())
        print(f"masks: {told}" + (f"; {prepared.masks_per_s:g} masks/s" if prepared.masks_per_s else ""))
    print(
        f"pairs: {prepared.conflicts} the same under different labels, {prepared.same} the same, {prepared.near} nearly the same; "
        f"{counted(prepared.groups, 'group')}"
    )
    print(f"mean {_channels(info.mean)}, deviation {_channels(info.std)} (RGB, 0 to 1, n = {sum(info.counts['train'].values())})")
    if prepared.resumed:
        print(f"{prepared.resumed} of {info.pictures} pictures had been inspected before")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    print(f"wrote {out}: {counted(info.pictures, 'picture')}, {took_s:.1f} s, peak memory {peak_mib:.0f} MiB")


def _flags(text: str) -> tuple[str, ...]:
    named = () if text == "none" else tuple(sorted(set(text.split(","))))
    unknown = [flag for flag in named if flag not in FLAGS]
    if unknown:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(FLAGS)}, or none, got {unknown[0] or 'nothing'}")
    return named


def _encoding(text: str) -> str:
    try:
        return codecs.lookup(text).name
    except LookupError as error:
        raise argparse.ArgumentTypeError(f"expected the name of an encoding, for example gbk, got {text}") from error


def _channels(values: tuple[float, float, float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)
