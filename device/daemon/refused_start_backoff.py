"""Back-off between starts that are refused, because of a mistake in the settings or a part that cannot be used.

systemd starts the service again one second after it ends, as it should after a crash. So a start that is refused waits before it ends, longer each
time.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

FIRST_S, LONGEST_S = 2.0, 60.0
POLL_S = 0.5
FILE = "refused-starts"


class RestartBackoff:
    """Counts refused starts in a row. The count is in a file that systemd deletes when the service is stopped or the computer is switched off."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE

    def add(self) -> float:
        """Count one more. Returns the seconds to wait: 0 after the first, so that `systemctl start` fails at once; then up to LONGEST_S."""
        refused = self._count() + 1
        with contextlib.suppress(OSError):
            self._file.write_text(f"{refused}\n", encoding="ascii")
        return min(FIRST_S * 2.0 ** min(refused - 2, 30), LONGEST_S) if refused > 1 else 0.0

    def reset(self) -> None:
        """Set the count to 0: a start succeeded, or somebody has changed something."""
        with contextlib.suppress(OSError):
            self._file.unlink()

    def wait(self, seconds: float, has_changed: Callable[[], bool], stop: threading.Event) -> None:
        """Wait, but only until `has_changed` returns True or `stop` is set; both reset the count."""
        deadline_s = time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0:
            if stop.wait(min(left_s, POLL_S)) or has_changed():
                self.reset()
                return

    def _count(self) -> int:
        try:
            return max(0, int(self._file.read_text(encoding="ascii")))
        except (OSError, ValueError):
            return 0


def backoff_of_service(environment: Mapping[str, str] = os.environ) -> RestartBackoff | None:
    """The back-off of the service that this process runs as; None where it does not run as a service."""
    folder = environment.get("RUNTIME_DIRECTORY", "")
    return RestartBackoff(Path(folder)) if folder else None


def change_detector(file: Path) -> Callable[[], bool]:
    """A function that tells whether a file was changed, created or deleted since this call. Call it before the file is read."""
    before = _version(file)
    return lambda: _version(file) != before


def _version(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
