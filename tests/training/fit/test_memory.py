"""Memory that is freed stays in the process, so that the next batch does not fault it in again."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource
import numpy as np
from training.fit.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(4 << 20, np.uint8).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

ctypes.CDLL(None).mallopt(-1, 128 << 10)  # as TensorFlow does
before = faults()
told = keep_freed_memory()
faults()
print(int(told), before, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    printed = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    told, before, after = map(int, printed.split())
    assert told
    assert after < before / 10
