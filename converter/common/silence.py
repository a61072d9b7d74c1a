"""Silence for libraries that write to the terminal from C++ or warn about themselves."""

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

from device.common.errors import SortbinError


def only_errors() -> None:
    """Have TensorFlow, in this process and its children, log errors only; to be called before it is imported. Whoever set its level keeps it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Hold back what the block writes to stdout and stderr, at the level of file descriptors; show it on stderr when the block fails
    for a reason that is no user's mistake.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 1)
        os.dup2(held.fileno(), 2)
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
            for number, copy in enumerate(kept, start=1):
                os.dup2(copy, number)
                os.close(copy)
            if failed:
                held.seek(0)
                sys.stderr.write(held.read().decode(errors="replace"))
