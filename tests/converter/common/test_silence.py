"""Silenced libraries: only errors are shown."""

import os
import subprocess
import sys

import pytest

from converter.common.silence import log_errors_only, silenced
from device.common.errors import SortbinError

SAYS_ALL = """
import logging
from converter.common.silence import log_errors_only
log_errors_only()
import tensorflow as tf
for _ in tf.data.Dataset.from_generator(lambda: iter([1]), output_signature=tf.TensorSpec((), tf.int32)): pass
logger = logging.getLogger("tensorflow")
logger.info("an info"); logger.warning("5 out of the last 5 calls triggered tf.function retracing"); logger.error("an error")
"""


def test_tensorflow_logs_errors_only() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", SAYS_ALL], capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.endswith("an error")


def test_a_log_level_set_by_the_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    log_errors_only()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_captured_output_is_shown_for_crashes_but_not_user_errors(capfd: pytest.CaptureFixture[str]) -> None:
    for error, shown in ((RuntimeError("broken"), True), (SortbinError("yours"), False)):
        with pytest.raises(type(error)), silenced():
            os.write(2, b"why it broke\n")
            raise error
        assert ("why it broke" in capfd.readouterr().err) == shown
