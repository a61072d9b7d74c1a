"""`converter verify`: is this bundle what it says?"""

import argparse
from pathlib import Path
from typing import Any

from device.common.cli import float_range
from device.common.errors import UsageError


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `verify` to the command line."""
    parser = commands.add_parser(
        "verify",
        help="check a bundle: bytes, model, and every runtime's answers",
        description="Check a bundle's hashes, its model (operations that the runtimes have, raw bytes in, named outputs), and its golden output on "
        "every runtime installed, each in a process of its own; with --data also accuracy and agreement on photos, and with --run against the "
        "float network. Exit status: 0 all is good, 1 something is wrong, 2 bad usage or input.",
        epilog="example: converter verify bundle --data photos/trashnet --run runs/trashnet",
    )
    option = parser.add_argument
    option("bundle", type=Path, metavar="BUNDLE", help="the folder that `converter quantize` wrote")
    option("--data", type=Path, metavar="DIR", help="photos to measure on: a prepared data set, or a folder of photos for each label")
    option("--split", default="val", choices=("train", "val", "test", "all"), help="which photos of it (default: %(default)s)")
    option(
        "--run", dest="run_folder", type=Path, metavar="RUN", help="the training run behind the bundle: measures its float network too; needs --data"
    )
    option(
        "--tolerance",
        type=float_range(ge=0, unit="points"),
        default=0.5,
        metavar="POINTS",
        help="accuracy that may be missing from the claim (default: %(default)s)",
    )
    option(
        "--timeout",
        type=float_range(ge=0.001, unit="seconds"),
        metavar="SECONDS",
        help="for each runtime (default: 120, and one more for each photo)",
    )
    option("--json", action="store_true", help="print everything found as JSON")
    parser.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    import msgspec

    from converter.common.progress import Progress
    from converter.verify.verification import VerifyRequest, verify

    if arguments.run_folder is not None and arguments.data is None:
        raise UsageError("--run: name the photos it was trained on with --data")
    order = VerifyRequest(arguments.bundle, arguments.data, arguments.split, arguments.run_folder, arguments.tolerance, arguments.timeout)
    progress = Progress()
    try:
        found = verify(order, progress)
    finally:
        progress.close()
    print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() if arguments.json else found)
    return 0 if found.good else 1
