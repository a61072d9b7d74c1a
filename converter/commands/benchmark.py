"""`converter benchmark`: measures speed, size and accuracy of a network in every format on this computer."""

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from device.common.cli import float_range, int_range

REPORT_FILE = "report.json"


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `benchmark` to the command line."""
    parser = commands.add_parser(
        "benchmark",
        help="measure latency, size and accuracy by format and runtime",
        description="Measure a network in every format on every installed runtime, each in a process of its own: cold start, latency by "
        "MLPerf's single-stream rules, images per second and memory. With --data also accuracy and agreement with the float network. Missing "
        "formats and runtimes are listed. A bundle holds INT8 only; the other formats need its training run. "
        "Exit status: 0 measured, 1 something failed to run, 2 bad usage or input.",
        epilog="example: converter benchmark bundle --run runs/trashnet --data photos/trashnet",
    )
    option = parser.add_argument
    option("subject", type=Path, metavar="BUNDLE|RUN", help="what `converter quantize` or `training fit` wrote")
    option(
        "--run",
        dest="run_folder",
        type=Path,
        metavar="RUN",
        help="the training run that BUNDLE was made of: adds Keras, float32, float16, dynamic and ONNX",
    )
    option("--data", type=Path, metavar="DIR", help="the photos it was trained on; without them only time is measured, and a RUN has no INT8")
    option("--batch", type=int_range(1), nargs="+", default=[1], metavar="N", help="pictures per query (default: 1)")
    option("--threads", type=int_range(1), nargs="+", metavar="N", help="threads (default: 1, and all cores)")
    option("--queries", type=int_range(1), default=1024, metavar="N", help="least number of queries per row (default: %(default)s)")
    option("--seconds", type=float_range(ge=0, unit="seconds"), default=60.0, metavar="S", help="least time per row (default: %(default)g)")
    option("--timeout", type=float_range(ge=0, unit="seconds"), metavar="S", help="time limit per row (default: from the amount of work)")
    option(
        "--out", type=Path, metavar="DIR", help="folder for report.json, benchmark.png and the measured files (default: evaluation/NAME-benchmark)"
    )
    option("--json", action="store_true", help="print report.json instead of the table")
    parser.set_defaults(run=_benchmark)


def _benchmark(arguments: argparse.Namespace) -> int:
    import msgspec

    from converter.benchmark.benchmark import BenchmarkError, BenchmarkRequest, benchmark
    from converter.benchmark.machine import cores
    from converter.benchmark.report import text
    from converter.common.progress import Progress
    from device.vision.inference.bundle import INFO_FILE

    subject: Path = arguments.subject
    if not subject.is_dir():
        raise BenchmarkError(f"{subject}: expected the folder of a bundle or of a training run, found none")
    is_bundle = (subject / INFO_FILE).is_file()
    if not is_bundle and arguments.run_folder is not None:
        raise BenchmarkError(f"--run: goes with a BUNDLE, and {subject} is none; name one of the two only")
    request = BenchmarkRequest(
        bundle=subject if is_bundle else None,
        run=arguments.run_folder if is_bundle else subject,
        data=arguments.data,
        batches=tuple(dict.fromkeys(arguments.batch)),
        threads=tuple(dict.fromkeys(arguments.threads or (1, cores()))),
        queries=arguments.queries,
        seconds=arguments.seconds,
        timeout_s=arguments.timeout,
    )
    out: Path = arguments.out or Path("evaluation", f"{subject.resolve().name}-benchmark")
    progress = Progress()
    try:
        with _replace_folder(out) as folder:
            (folder / "models").mkdir()
            report = benchmark(request, folder / "models", progress)
            encoded = msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
            (folder / REPORT_FILE).write_bytes(encoded)
            table = text(report)
            (folder / "table.md").write_text(table + "\n", encoding="utf-8")
            drawn = _draw(report, folder / "benchmark.png")
    finally:
        progress.close()
    if arguments.json:
        print(encoded.decode(), end="")
    else:
        print(f"{table}\n\nwrote {out / REPORT_FILE}" + (f" and {out / 'benchmark.png'}" if drawn else ""))
    if not drawn:
        print("converter benchmark: no picture: matplotlib is not installed (pip install 'sortbin[benchmark]')", file=sys.stderr)
    return 1 if report.with_state("failed") else 0


@contextlib.contextmanager
def _replace_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `out` after the block. `out` may hold an earlier benchmark.

    Raises OutputError if `out` is anything else, or cannot be written.
    """
    from converter.common.atomic_directory import OutputError, atomic_directory

    if not (out / REPORT_FILE).is_file():
        with atomic_directory(out) as folder:
            yield folder
        return
    fresh = out.with_name(f".{out.name}.new.{os.getpid()}")
    with atomic_directory(fresh) as folder:
        yield folder
    try:
        shutil.rmtree(out)
        fresh.rename(out)
    except OSError as error:
        raise OutputError(f"{error.filename or out}: {error.strerror}; the new report is in {fresh}") from error


def _draw(report: Any, file: Path) -> bool:
    """Draw the report. Returns False if matplotlib is not installed."""
    try:
        from converter.benchmark.plot import figure
    except ImportError:
        return False
    figure(report).savefig(file, dpi=130)
    return True
