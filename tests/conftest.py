"""What holds for every test."""

import contextlib

# tflite-runtime has to be loaded before TensorFlow: afterwards it binds to TensorFlow's C++ symbols and fails on every model.
with contextlib.suppress(ImportError):
    import tflite_runtime.interpreter  # noqa: F401
