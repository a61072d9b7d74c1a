"""The command `sortbin`."""

import os
import sys

from device.common.cli import run
from device.common.shutdown import driver_thread_alive, exit_now, stop_on_signals
from device.daemon.refused_start_backoff import backoff_of_service

COMMANDS = ("run", "demo", "check", "classify", "cmd", "events", "gate", "schema", "teach", "support", "fleet-sim")


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 it ran and the answer is no, 2 bad usage or input, 130 interrupted."""
    # NumPy reads this when it is imported. Its threads would only use memory: the matrices here are small.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # OpenCV logs each attempt to open a file. Sortbin reports what fails in the end.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    own_process = argv is None
    try:
        status = run("sortbin", "The firmware of a bin that sorts by itself.", "device.commands", COMMANDS, argv)
    except Exception:
        if own_process and driver_thread_alive():
            sys.excepthook(*sys.exc_info())
            exit_now(1)
        raise
    if own_process and sys.argv[1:2] == ["run"] and "device.commands.run" not in sys.modules and (backoff := backoff_of_service()) is not None:
        # `run` could not be imported, as after an interrupted upgrade, so its own back-off did not run.
        stop = stop_on_signals()
        backoff.wait(backoff.add(), lambda: False, stop)
    if own_process:
        exit_now(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
