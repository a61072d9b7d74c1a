"""Starts that are refused again and again, for a mistake in the settings or a part that cannot be used: they are tried ever more seldom.

systemd starts the service anew a second after it ended, for after a crash it shall. So a start that is refused waits before it ends.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

FIRST_S, LONGEST_S = 2.0, 60.0
LOOK_S = 0.5
FILE = "refused-starts"


class RestartBackoff:
    """How many starts in a row were refused, counted in a file that lasts until the service is stopped or the computer is switched off."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE

    def add(self) -> float:
        """Count one more. Returns how long to wait: not at all after the first, so that `systemctl start` fails at once; then up to LONGEST_S."""
        refused = self._count() + 1
        with contextlib.suppress(OSError):
            self._file.write_text(f"{refused}\n", encoding="ascii")
        return min(FIRST_S * 2.0 ** min(refused - 2, 30), LONGEST_S) if refused > 1 else 0.0

    def forget(self) -> None:
        """Begin anew: a start went well, or a person has seen to it."""
        with contextlib.suppress(OSError):
            self._file.unlink()

    def wait(self, seconds: float, mended: Callable[[], bool], stop: threading.Event) -> None:
        """Wait so long, but no longer than until `mended` says that what was wrong has changed, or `stop` is set; both begin the count anew."""
        deadline_s = time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0:
            if stop.wait(min(left_s, LOOK_S)) or mended():
                self.forget()
                return

    def _count(self) -> int:
        try:
            return max(0, int(self._file.read_text(encoding="ascii")))
        except (OSError, ValueError):
            return 0


def backoff_of_service(environment: Mapping[str, str] = os.environ) -> RestartBackoff | None:
    """The count of the service that this process runs as; None where nobody would start it anew."""
    folder = environment.get("RUNTIME_DIRECTORY", "")
    return RestartBackoff(Path(folder)) if folder else None


def changes(file: Path) -> Callable[[], bool]:
    """Tells whether a file has changed, come or gone since this call: make it before the file is read."""
    before = _version(file)
    return lambda: _version(file) != before


def _version(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
