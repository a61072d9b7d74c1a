"""The command `converter`."""

import argparse
import importlib
import sys

from device import __version__
from device.errors import SortbinError

COMMANDS = ("quantize", "verify", "benchmark", "edgetpu", "inspect")


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 it ran and the answer is no, 2 bad usage or input, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="converter", description="Turn a trained network into a bundle that a bin can trust.")
    parser.add_argument("--version", action="version", version=f"converter {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = sys.argv[1:2] if argv is None else argv[:1]
    for name in asked if set(asked) <= set(COMMANDS) and asked else COMMANDS:
        importlib.import_module(f"converter.commands.{name}").add_parser(commands)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run_command(arguments))
    except SortbinError as error:
        print(f"converter {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"converter {arguments.command}: interrupted, nothing was written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
