"""Drop the info lines that a runtime writes to stderr while it loads a network, and keep its errors."""

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

_one_at_a_time = threading.Lock()


@contextlib.contextmanager
def without_info() -> Iterator[None]:
    """Drop lines beginning with `INFO:` that C++ code writes to stderr in the block. Everything else is written when the block ends."""
    with _one_at_a_time, _memory() as held:
        try:
            stderr = os.dup(2)
        except OSError:  # there is none
            yield
            return
        sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            held.seek(0)
            os.write(stderr, b"".join(line for line in held if not line.startswith(b"INFO:")))
            os.close(stderr)


def _memory() -> IO[bytes]:
    """A temporary file, in memory where the system supports it."""
    return os.fdopen(os.memfd_create("stderr"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()
