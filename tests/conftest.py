"""What holds for every test."""

import contextlib

from hypothesis import settings

# tflite-runtime has to be loaded before TensorFlow: afterwards it binds to TensorFlow's C++ symbols and fails on every model.
with contextlib.suppress(ImportError):
    import tflite_runtime.interpreter  # noqa: F401

# No test says how long anything may take, and a busy machine is no failure.
settings.register_profile("sortbin", deadline=None)
settings.load_profile("sortbin")
