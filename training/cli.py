"""The command `training`."""

import sys

from converter.common.silence import log_errors_only
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
    "fewshot",
    "places",
    "left-out",
    "explain",
    "predict",
    "review",
    "render",
    "outline",
)
RENAMED = {"carry": "fewshot"}
"""old command names that still work"""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 it ran and the answer is no, 2 bad usage or input, 130 interrupted."""
    log_errors_only()
    given = sys.argv[1:] if argv is None else argv
    current = [RENAMED.get(name, name) for name in given[:1]] + given[1:]
    return run("training", "Train and measure the network that a bin uses.", "training.commands", COMMANDS, current)


if __name__ == "__main__":
    sys.exit(main())
