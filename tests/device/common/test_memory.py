import mmap
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.common.memory import LARGE, release_mapped_pages
from device.vision.inference.bundle import Bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.runtime import load_runtime

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="no Linux")

BLOCKS = f"""
import ctypes, sys
from device.common.memory import limit_malloc
if sys.argv[1] == "little":
    limit_malloc()
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes, library.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
mapped = lambda: sum(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
for _ in range(3):  # from the second on, the C library would serve blocks of this size from its heap
    library.free(library.malloc({8 * LARGE}))
blocks = [library.malloc({2 * LARGE}) for _ in range(40)]
for block in blocks:
    ctypes.memset(block, 1, {2 * LARGE})
held = mapped()
for block in blocks[:-1]:
    library.free(block)
print(held - mapped())
"""


def resident_kib(file: Path) -> int:
    """How much of a mapped file is resident in this process."""
    smaps = Path("/proc/self/smaps").read_text(encoding="utf-8")
    return sum(int(size) for size in re.findall(rf" {re.escape(str(file.resolve()))}\n(?:.*\n)*?Rss: +(\d+) kB", smaps))


def test_mapped_pages_are_released_and_read_again(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(bytes(range(256)) * 4096)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as view:
        assert view[:].count(7) == 4096
        assert resident_kib(file) == 1024
        release_mapped_pages(file)
        assert resident_kib(file) == 0
        assert view[:].count(7) == 4096


def test_a_file_that_is_not_mapped_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    release_mapped_pages(file)
    assert resident_kib(file) == 0


def test_a_network_runs_without_the_pages_of_its_file(tiny_bundle: Bundle) -> None:
    loaded = load_runtime(tiny_bundle)
    classifier = Classifier(tiny_bundle, loaded)
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    before = classifier.outputs(picture)
    release_mapped_pages(loaded.model)
    after = classifier.outputs(picture)
    assert (before.logits == after.logits).all() and (before.embedding == after.embedding).all()


CODE = """
import re, cv2, numpy
from device.common.memory import release_code_pages
def resident():
    smaps = open("/proc/self/smaps").read()
    return sum(map(int, re.findall(r"r-xp [^\\n]* /[^\\n]*\\n(?:[^\\n]*\\n)*?Rss: +([0-9]+) kB", smaps)))
before = resident()
release_code_pages()
after = resident()
picture = cv2.resize(numpy.arange(48, dtype=numpy.uint8).reshape(4, 4, 3), (2, 2))
print(before, after, picture.sum())
"""
HUGE = """
import ctypes
from device.common.memory import limit_malloc
limit_malloc()
PR_GET_THP_DISABLE = 42
print(ctypes.CDLL(None).prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0))
"""


def run(program: str) -> list[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60).stdout.split()


def test_code_pages_are_released_and_the_code_still_runs() -> None:
    before, after, answer = map(int, run(CODE))
    assert after < before / 2
    assert answer == cv2.resize(np.arange(48, dtype=np.uint8).reshape(4, 4, 3), (2, 2)).sum()


def test_huge_pages_are_off() -> None:
    assert run(HUGE) == ["1"]


def test_large_blocks_are_released_while_a_later_one_is_held() -> None:
    runs = [subprocess.run([sys.executable, "-c", BLOCKS, how], capture_output=True, check=True, timeout=60) for how in ("usual", "little")]
    usual, little = (int(run.stdout) for run in runs)
    assert little > 39 * 2 * LARGE / 1024 - 1024
    assert usual < little / 2
