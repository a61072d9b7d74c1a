"""Try the Edge TPU in a subprocess: a libedgetpu built for another TensorFlow Lite crashes or hangs the process that loads it."""

import resource
from pathlib import Path
from typing import Literal

import msgspec

from device.common.run_in_subprocess import ask, reply

PROBE_TIMEOUT_S = 20.0
"""time-out of the probe: a Coral on USB loads its firmware at first use, which takes some seconds"""


class ProbeRequest(msgspec.Struct, frozen=True):
    """bundle: its folder. package: the runtime package. library: file of the Edge TPU's driver."""

    bundle: str
    package: Literal["ai-edge-litert", "tflite-runtime"]
    library: str


def probe(request: ProbeRequest) -> None:
    """Check the bundle's golden output on the Edge TPU. Takes little more than PROBE_TIMEOUT_S at most. Raises ChildFault where it fails."""
    ask(__name__, request, bool, timeout_s=PROBE_TIMEOUT_S)


def _run_golden_input(request: ProbeRequest) -> bool:
    # Imported here: the runtime module imports this one.
    from device.vision.inference.bundle import read_bundle
    from device.vision.inference.classifier import Classifier
    from device.vision.inference.runtime import on_edgetpu

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bundle = read_bundle(Path(request.bundle))
    Classifier(bundle, on_edgetpu(bundle, request.package, request.library)).check_golden_output()
    return True


if __name__ == "__main__":
    reply(ProbeRequest, _run_golden_input)
