"""`converter inspect`: shows what is in a model."""

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `inspect` to the command line."""
    parser = commands.add_parser(
        "inspect",
        help="show what is in a model: operations, quantization, sizes, labels",
        description="Show what is in a TensorFlow Lite model, or in the model of a bundle: inputs and outputs, operations with their versions, "
        "quantization and size of every layer, metadata and labels. Any .tflite works, also one compiled for the Edge TPU. The model is not run.",
        epilog="example: converter inspect bundle --edgetpu",
    )
    option = parser.add_argument
    option("model", type=Path, metavar="MODEL", help="a .tflite file, or the folder of a bundle")
    option("--edgetpu", action="store_true", help="predict which operations an Edge TPU runs, and why not the others")
    option("--json", action="store_true", help="print all facts as JSON, each tensor with all its scales")
    parser.set_defaults(run=_inspect)


def _inspect(arguments: argparse.Namespace) -> int:
    import msgspec

    from converter.inspect.inspection import inspect
    from converter.inspect.text import inspection_lines

    found = inspect(arguments.model, edgetpu=arguments.edgetpu)
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        print("\n".join(inspection_lines(found)))
    return 0
