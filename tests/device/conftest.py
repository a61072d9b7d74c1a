"""Fixtures of the device's tests: a tiny real bundle whose labels are colours."""

import ctypes
import hashlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from device.vision.inference.bundle import (
    MODEL_FILE,
    Bundle,
    BundleInfo,
    CalibrationSet,
    GoldenOutput,
    InputSpec,
    MeasuredAccuracy,
    Metrics,
    read_bundle,
    write_bundle,
)
from device.vision.inference.classifier import Classifier, golden_input
from device.vision.inference.preprocess import Pixels
from device.vision.inference.runtime import load_runtime

TINY_NETWORK = Path(__file__).parent / "tiny_network.py"
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
COLOURS = {
    "cardboard": (255, 0, 0),
    "glass": (0, 255, 0),
    "metal": (0, 0, 255),
    "paper": (0, 255, 255),
    "plastic": (255, 0, 255),
    "trash": (255, 255, 0),
}


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """Restore signal handlers: commands that run in the test's process set their own."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def tiny_bundle(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of 32 px with TrashNet's labels, each shown as a plain colour (see `painted`). Tests may change `tiny_copy`, not this one."""
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    folder.mkdir()
    shutil.copyfile(_tiny_network(pytestconfig), folder / MODEL_FILE)
    (folder / "MODEL_CARD.md").write_text("# Tiny\n\nKnows colours.\n", encoding="utf-8")
    unanswered = write_bundle(folder, _info())
    answer = unanswered.info.known_answer
    classifier = Classifier(unanswered, load_runtime(unanswered, kernels="builtin"))
    logits = tuple(classifier.raw_logits(golden_input(answer.seed, unanswered.info.input.size)).tolist())
    return write_bundle(folder, msgspec.structs.replace(unanswered.info, known_answer=msgspec.structs.replace(answer, logits=logits)))


@pytest.fixture
def tiny_copy(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    """A copy of the tiny bundle in its own folder."""
    return read_bundle(Path(shutil.copytree(tiny_bundle.folder, tmp_path / "bundle")))


@pytest.fixture(scope="session")
def painted() -> Callable[..., Pixels]:
    """`painted(label, height=480, width=640)`: a picture that the tiny bundle takes for `label`; `painted("")` is grey and could be any label."""

    def paint(label: str, height: int = 480, width: int = 640) -> Pixels:
        return np.full((height, width, 3), COLOURS.get(label, (127, 127, 127)), np.uint8)

    return paint


@pytest.fixture
def without_privileges() -> Callable[[], None]:
    """A function for `preexec_fn`: file modes also apply to root in the new process."""

    def drop() -> None:
        library = ctypes.CDLL(None)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            library.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)

    return drop


def _tiny_network(config: pytest.Config) -> Path:
    """The `.tflite` that `tiny_network.py` writes, cached by pytest until that script changes."""
    source = hashlib.sha256(TINY_NETWORK.read_bytes()).hexdigest()[:16]
    kept = Path(config.cache.mkdir("tiny_network")) / f"{source}.tflite"
    if not kept.exists():
        new = kept.with_suffix(".new")
        subprocess.run([sys.executable, TINY_NETWORK, new], check=True, capture_output=True, timeout=300)
        new.replace(kept)
    return kept


def _info() -> BundleInfo:
    measured = MeasuredAccuracy(accuracy=1.0, n=6, nll=0.001, recall=dict.fromkeys(COLOURS, 1.0), runtime="ai-edge-litert")
    return BundleInfo(
        name="tiny",
        version="1",
        labels=tuple(COLOURS),
        input=InputSpec(size=32),
        temperature=1.5,
        reject_below=0.6,
        metrics=Metrics(data="six colours", float32=measured, int8=measured, agreement=1.0),
        known_answer=GoldenOutput(seed=7, logits=(0,) * len(COLOURS), tolerance=2),
        calibration=CalibrationSet(n=14, seed=0, sha256="0" * 64),
        data_fingerprint="0" * 64,
        files={},
    )
