"""The command `converter`."""

import sys

from converter.quiet import only_errors
from device.commandline import run

COMMANDS = ("quantize", "verify", "benchmark", "edgetpu", "inspect")


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 it ran and the answer is no, 2 bad usage or input, 130 interrupted."""
    only_errors()
    return run("converter", "Turn a trained network into a bundle that a bin can trust.", "converter.commands", COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(main())
