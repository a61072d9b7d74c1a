"""The command `training`."""

import argparse
import importlib
import sys

from device import __version__
from device.errors import SortbinError

COMMANDS = ("prepare", "fit", "tune", "compare", "evaluate", "explain", "predict", "review")


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 it ran and the answer is no, 2 bad usage or input."""
    parser = argparse.ArgumentParser(prog="training", description="Train the network that a bin looks through, and measure it.")
    parser.add_argument("--version", action="version", version=f"sortbin {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = sys.argv[1:2] if argv is None else argv[:1]
    for name in asked if set(asked) <= set(COMMANDS) and asked else COMMANDS:
        importlib.import_module(f"training.commands.{name}").add_parser(commands)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except SortbinError as error:
        print(f"training {arguments.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
