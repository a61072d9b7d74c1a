"""`converter edgetpu`: compiles a bundle's model for the Edge TPU."""

import argparse
import sys
from pathlib import Path
from typing import Any

from device.common.cli import float_range
from device.common.wording import byte_size


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `edgetpu` to the command line."""
    parser = commands.add_parser(
        "edgetpu",
        help="compile a bundle's model for the Edge TPU and add it",
        description="Compile a bundle's model with Coral's edgetpu_compiler, and add the compiled model, with labels, card and the compiler's "
        "report, to the bundle. Without a compiler the predicted mapping and the commands that install one are printed. Exit status: 0 added, "
        "1 the compiler mapped nothing, 2 no compiler, a compiler that failed, or bad input. After 1 and 2 the bundle is unchanged.",
        epilog="example in a container: converter edgetpu bundle --compiler "
        "'docker run --rm -v {folder}:/model -w /model IMAGE edgetpu_compiler'; {folder} becomes the folder of the model",
    )
    option = parser.add_argument
    option("bundle", type=Path, metavar="BUNDLE", help="the folder that `converter quantize` wrote")
    option("--compiler", metavar="COMMAND", help="the compiler's command line (default: edgetpu_compiler, looked up on the PATH)")
    option(
        "--timeout", type=float_range(gt=0, unit="seconds"), default=300, metavar="SECONDS", help="time limit of the compiler (default: %(default)s)"
    )
    parser.set_defaults(run=_edgetpu)


def _edgetpu(arguments: argparse.Namespace) -> int:
    import shutil

    from converter.edgetpu.add_to_bundle import add_compiled, folder_beside
    from converter.edgetpu.compiler import INSTALL, CompilerNotFoundError, compile_model, find_compiler
    from converter.edgetpu.graph import build_graph
    from converter.edgetpu.prediction import predict
    from converter.edgetpu.prediction_text import mapping_differences, prediction_lines
    from converter.tflite.flatbuffer import read_model
    from device.vision.inference.bundle import EDGETPU_FILE, MODEL_FILE, read_bundle

    bundle = read_bundle(arguments.bundle)
    prediction = predict(build_graph(read_model(bundle.folder / MODEL_FILE)))
    try:
        command = find_compiler(arguments.compiler)
    except CompilerNotFoundError as error:
        print("\n".join(prediction_lines(prediction)))
        print(f"\nconverter edgetpu: {error}: nothing was compiled. On an x86-64 machine with Debian:", file=sys.stderr)
        print("\n".join(f"  {line}" for line in (*INSTALL, f"converter edgetpu {arguments.bundle}")), file=sys.stderr)
        return 2
    with folder_beside(bundle) as folder:
        compiled = compile_model(Path(shutil.copyfile(bundle.folder / MODEL_FILE, folder / MODEL_FILE)), command, arguments.timeout)
        report = compiled.report
        for row in report.rows:
            print(f"{row.operation:30} {row.count:<10} {row.status}")
        if not report.mapped:
            print("converter edgetpu: refused: the compiler mapped none of the operations. Nothing was written", file=sys.stderr)
            return 1
        added = add_compiled(bundle, compiled, folder)
    otherwise = mapping_differences(prediction, report)
    if otherwise:
        print(f"note: not as predicted: {otherwise}")
    off_chip = f", {byte_size(report.off_chip_bytes)} fetched for every picture" if report.off_chip_bytes else ""
    print(
        f"wrote {bundle.folder / EDGETPU_FILE}: {byte_size((added.folder / EDGETPU_FILE).stat().st_size)}, {report.mapped} of "
        f"{report.mapped + report.on_cpu} operations on the Edge TPU{off_chip}, compiler {report.version or 'of unknown version'}. "
        "Its answers are checked where an Edge TPU is: sortbin check"
    )
    return 0
