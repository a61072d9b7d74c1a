"""An Edge TPU, tried in a process of its own: a libedgetpu that was built for another TensorFlow Lite crashes or hangs whoever loads it."""

import resource
from pathlib import Path
from typing import Literal

import msgspec

from device.common.run_in_subprocess import ask, reply

TRIAL_S = 20.0
"""longest time that a trial may take: a Coral on USB gets its firmware at its first use, which takes some seconds"""


class ProbeRequest(msgspec.Struct, frozen=True):
    """bundle: its folder; package: what runs the network; library: file of the Edge TPU's driver."""

    bundle: str
    package: Literal["ai-edge-litert", "tflite-runtime"]
    library: str


def run(question: ProbeRequest) -> None:
    """Ask the bundle's golden output of the Edge TPU. Waits at most TRIAL_S seconds and a little. Raises ChildFault where it is not given."""
    ask(__name__, question, bool, timeout_s=TRIAL_S)


def _try(question: ProbeRequest) -> bool:
    # Imported here, since the runtime itself has this trial done first.
    from device.vision.inference.bundle import read_bundle
    from device.vision.inference.classifier import Classifier
    from device.vision.inference.runtime import on_edgetpu

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bundle = read_bundle(Path(question.bundle))
    Classifier(bundle, on_edgetpu(bundle, question.package, question.library)).check_known_answer()
    return True


if __name__ == "__main__":
    reply(ProbeRequest, _try)
