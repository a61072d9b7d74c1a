"""Logs to stderr. Where systemd runs the program, each line gets its priority for the journal (sd-daemon(3))."""

import logging
import os
import sys

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7


def is_the_journal() -> bool:
    """Whether stderr is a stream of systemd's journal, not a file or a terminal."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def with_level(text: str, level: int) -> str:
    """The text with the priority before each line; unchanged where stderr is not the journal. level: one of logging's."""
    if not is_the_journal():
        return text
    priority = next((priority for least, priority in _PRIORITIES if level >= least), _DEBUG)
    return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return with_level(super().format(record), record.levelno)


def log_to_stderr() -> None:
    """Log from INFO on. Exceptions that nothing handles are logged too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    sys.excepthook = lambda *error: logging.getLogger("sortbin").critical("crashed", exc_info=error)
