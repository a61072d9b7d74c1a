"""The command `training`."""

import sys

from converter.common.silence import only_errors
from device.common.cli import run

COMMANDS = (
    "prepare",
    "fit",
    "average",
    "graft",
    "ungraft",
    "dequantize",
    "tune",
    "compare",
    "evaluate",
    "carry",
    "explain",
    "predict",
    "review",
    "render",
    "outline",
)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 it ran and the answer is no, 2 bad usage or input, 130 interrupted."""
    only_errors()
    return run("training", "Train the network that a bin looks through, and measure it.", "training.commands", COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(main())
