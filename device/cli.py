"""The command `sortbin`."""

import argparse
import importlib
import os
import sys

from device import __version__
from device.errors import SortbinError

COMMANDS = ("run", "demo", "check", "classify", "events", "gate")


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 it ran and the answer is no, 2 bad usage or input."""
    parser = argparse.ArgumentParser(prog="sortbin", description="The firmware of a bin that sorts by itself.")
    parser.add_argument("--version", action="version", version=f"sortbin {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # Only the command that is asked for is imported: `gate --release` has to work when another cannot even be loaded.
    asked = sys.argv[1:2] if argv is None else argv[:1]
    for name in asked if set(asked) <= set(COMMANDS) and asked else COMMANDS:
        importlib.import_module(f"device.commands.{name}").add_parser(commands)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except SortbinError as error:
        print(f"sortbin {arguments.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone: nothing more to say, and nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
