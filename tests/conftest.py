"""Set-up for all tests."""

import contextlib
import signal

from hypothesis import settings

# tflite-runtime must be imported before TensorFlow: imported after it, it binds to TensorFlow's C++ symbols and fails on every model.
with contextlib.suppress(ImportError):
    import tflite_runtime.interpreter  # noqa: F401

# No time limit per example: a busy machine is no failure.
settings.register_profile("sortbin", deadline=None)
settings.load_profile("sortbin")

# Under nohup or in the background of a script, a test run ignores some signals, and its child processes would inherit that.
for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
