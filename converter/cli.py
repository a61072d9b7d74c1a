"""The command line of `converter`."""

import sys

from converter.common.silence import log_errors_only
from device.common.cli import run

COMMANDS = ("quantize", "verify", "benchmark", "edgetpu", "inspect")


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 refused or failed checks, 2 bad usage or input, 130 interrupted."""
    log_errors_only()
    given = sys.argv[1:] if argv is None else argv
    return run(
        "converter", "Convert a trained network to a bundle for the bin, and check bundles.", "converter.commands", COMMANDS, _pixels_joined(given)
    )


def _pixels_joined(argv: list[str]) -> list[str]:
    """The arguments with `--pixels -1,1` as one word, because argparse takes a value that begins with a dash for an option."""
    if "--pixels" not in argv[:-1]:
        return argv
    place = argv.index("--pixels")
    return [*argv[:place], f"--pixels={argv[place + 1]}", *argv[place + 2 :]]


if __name__ == "__main__":
    sys.exit(main())
