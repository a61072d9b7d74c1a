"""The command `sortbin`."""

import os
import sys

from device.commandline import run
from device.stopping import in_a_driver, leave

COMMANDS = ("run", "demo", "check", "classify", "events", "gate", "teach")


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 it ran and the answer is no, 2 bad usage or input, 130 interrupted."""
    # NumPy reads this when it loads. Its threads would only keep memory: what is multiplied here is small.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    own_process = argv is None
    try:
        status = run("sortbin", "The firmware of a bin that sorts by itself.", "device.commands", COMMANDS, argv)
    except Exception:
        if own_process and in_a_driver():
            sys.excepthook(*sys.exc_info())
            leave(1)
        raise
    if own_process:
        leave(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
