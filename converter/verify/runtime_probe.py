"""One runtime in a process of its own: what it makes of the golden output, and of photos. Asked by `device.common.run_in_subprocess.ask`.

tflite-runtime has to be alone: it binds to TensorFlow's symbols and fails on every model where TensorFlow was loaded first.
"""

from pathlib import Path

import msgspec
import numpy as np

from converter.data.pixel_cache import map_pixels
from device.common.run_in_subprocess import reply
from device.vision.inference.bundle import read_bundle
from device.vision.inference.classifier import Classifier, known_input
from device.vision.inference.runtime import Kernels, Package, load_runtime


class RuntimeProbeRequest(msgspec.Struct, frozen=True):
    """pictures: what `pixel_cache.write_pixels` wrote, or None; logits: the `.npy` file to write their logits to, photos x labels float32."""

    bundle: str
    package: Package
    kernels: Kernels
    pictures: str | None = None
    logits: str | None = None


class RuntimeProbeResult(msgspec.Struct, frozen=True):
    """runtime: package, version and kernels. off: the largest difference from the known answer, in steps; exact: none is allowed.

    degraded: why it did not run on what was asked for, else empty.
    """

    runtime: str
    off: int
    worst: str
    exact: bool
    degraded: str


def run_probe(question: RuntimeProbeRequest) -> RuntimeProbeResult:
    """Load the bundle as a bin does and run it. Raises BundleError and RuntimeFault."""
    bundle = read_bundle(Path(question.bundle))
    info = bundle.info
    classifier = Classifier(bundle, load_runtime(bundle, package=question.package, kernels=question.kernels))
    answer = info.known_answer
    off = np.abs(classifier.raw_logits(known_input(answer.seed, info.input.size)) - np.array(answer.logits, np.int64))
    runtime = classifier.runtime
    if question.pictures is not None and question.logits is not None:
        np.save(question.logits, np.stack([classifier.logits(picture) for picture in map_pixels(Path(question.pictures))]))
    return RuntimeProbeResult(runtime.name, int(off.max()), info.labels[int(off.argmax())], runtime.exact, runtime.degraded)


if __name__ == "__main__":
    reply(RuntimeProbeRequest, run_probe)
