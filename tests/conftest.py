"""What holds for every test."""

import contextlib
import signal

from hypothesis import settings

# tflite-runtime has to be loaded before TensorFlow: afterwards it binds to TensorFlow's C++ symbols and fails on every model.
with contextlib.suppress(ImportError):
    import tflite_runtime.interpreter  # noqa: F401

# No test says how long anything may take, and a busy machine is no failure.
settings.register_profile("sortbin", deadline=None)
settings.load_profile("sortbin")

# Below nohup, or in the background of a script, a test run ignores some signals, and so would all that it starts.
for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
