"""Runs a bundle on one runtime, in a process that `device.common.run_in_subprocess.ask` starts: the golden output, and photos.

tflite-runtime needs a process without TensorFlow: if TensorFlow was loaded first, it binds to its symbols and fails on every model.
"""

from pathlib import Path

import msgspec
import numpy as np

from converter.data.pixel_cache import map_pixels
from device.common.run_in_subprocess import reply
from device.vision.inference.bundle import read_bundle
from device.vision.inference.classifier import Classifier, golden_input
from device.vision.inference.runtime import Kernels, Package, load_runtime


class RuntimeProbeRequest(msgspec.Struct, frozen=True):
    """bundle: its folder. pictures: a file of `pixel_cache.write_pixels`, or None. logits: the `.npy` file to write, photos x labels float32."""

    bundle: str
    package: Package
    kernels: Kernels
    pictures: str | None = None
    logits: str | None = None


class RuntimeProbeResult(msgspec.Struct, frozen=True):
    """runtime: package, version and kernels. off: the largest difference from the golden output, in steps of the quantized logits. worst: the label
    with that difference. exact: whether no difference is allowed. degraded: why it did not run on the kernels asked for, else empty.
    """

    runtime: str
    off: int
    worst: str
    exact: bool
    degraded: str


def run_probe(request: RuntimeProbeRequest) -> RuntimeProbeResult:
    """Load the bundle as a device does and run it. Raises BundleError and RuntimeFault."""
    bundle = read_bundle(Path(request.bundle))
    info = bundle.info
    classifier = Classifier(bundle, load_runtime(bundle, package=request.package, kernels=request.kernels))
    answer = info.known_answer
    off = np.abs(classifier.raw_logits(golden_input(answer.seed, info.input.size)) - np.array(answer.logits, np.int64))
    runtime = classifier.runtime
    if request.pictures is not None and request.logits is not None:
        np.save(request.logits, np.stack([classifier.logits(picture) for picture in map_pixels(Path(request.pictures))]))
    return RuntimeProbeResult(runtime.name, int(off.max()), info.labels[int(off.argmax())], runtime.exact, runtime.degraded)


if __name__ == "__main__":
    reply(RuntimeProbeRequest, run_probe)
