"""Keeps libraries quiet that write to the terminal from C++ or emit warnings."""

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

from device.common.errors import SortbinError


def log_errors_only() -> None:
    """Let TensorFlow log errors only, in this process and its children. Call it before the import. A level that the user has set stays."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Capture what the block writes to stdout and stderr, at the level of file descriptors. Write it to stderr only if the block raises
    anything but a SortbinError.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    originals = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 1)
        os.dup2(captured.fileno(), 2)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
            failed = False
        except SortbinError:
            failed = False
            raise
        except BaseException:
            failed = True
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in enumerate(originals, start=1):
                os.dup2(copy, number)
                os.close(copy)
            if failed:
                captured.seek(0)
                sys.stderr.write(captured.read().decode(errors="replace"))
