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
        help="check a bundle: files, model, and the answers of every runtime",
        description="Check the hashes of a bundle, its model (operations that the runtimes have, uint8 input, named outputs), and its golden output "
        "on every installed runtime, each in a process of its own. With --data also accuracy and agreement on photos, and with --run the float "
        "network. Exit status: 0 all checks passed, 1 a check failed, 2 bad usage or input.",
        epilog="example: converter verify bundle --data photos/trashnet --run runs/trashnet",
    )
    option = parser.add_argument
    option("bundle", type=Path, metavar="BUNDLE", help="the folder that `converter quantize` wrote")
    option("--data", type=Path, metavar="DIR", help="photos to measure on: a prepared data set, or a folder with one folder of photos per label")
    option("--split", default="val", choices=("train", "val", "test", "all"), help="which of these photos (default: %(default)s)")
    option(
        "--run",
        dest="run_folder",
        type=Path,
        metavar="RUN",
        help="the training run that the bundle was made of: measures its float network too; needs --data",
    )
    option(
        "--tolerance",
        type=float_range(ge=0, unit="points"),
        default=0.5,
        metavar="POINTS",
        help="points of accuracy that may be missing from the bundle's claim (default: %(default)s)",
    )
    option(
        "--timeout",
        type=float_range(ge=0.001, unit="seconds"),
        metavar="SECONDS",
        help="time limit per runtime (default: 120, plus 1 per photo)",
    )
    option("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    import msgspec

    from converter.common.progress import Progress
    from converter.verify.verification import VerifyRequest, verify

    if arguments.run_folder is not None and arguments.data is None:
        raise UsageError("--run: name the photos it was trained on with --data")
    request = VerifyRequest(arguments.bundle, arguments.data, arguments.split, arguments.run_folder, arguments.tolerance, arguments.timeout)
    progress = Progress()
    try:
        found = verify(request, progress)
    finally:
        progress.close()
    print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() if arguments.json else found)
    return 0 if found.good else 1
