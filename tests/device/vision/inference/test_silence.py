"""Loading a network prints only errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from device.vision.inference.silence import without_info

LOAD = """
from device.vision.inference.bundle import default_bundle, read_bundle
from device.vision.inference.runtime import load_runtime
print(load_runtime(read_bundle(default_bundle())).name)
"""


def test_loading_a_network_prints_nothing() -> None:
    loaded = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, timeout=60, check=True)
    assert loaded.stdout.endswith(" xnnpack\n")
    assert loaded.stderr == ""


def test_other_lines_than_info_are_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no network"), without_info():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nERROR: it does not fit\n")
        os.write(2, b"WARNING: slow\nINFO: done\n")
        raise ValueError("no network")
    os.write(2, b"INFO: of somebody else\n")
    assert capfd.readouterr().err == "ERROR: it does not fit\nWARNING: slow\nINFO: of somebody else\n"


def test_loading_works_without_stderr() -> None:
    script = f"import os; os.close(2)\n{LOAD}"
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, timeout=60, check=True, cwd=Path.cwd()).stdout
