"""Runs a model that is in no bundle yet with the classifier of the device, so that what is measured is what ships."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from converter.common.parallel_map import parallel_map
from converter.common.progress import Indexable
from device.common.arrays import Float32Array, Float64Array
from device.vision.inference.bundle import MODEL_FILE, Bundle, BundleInfo, CalibrationSet, GoldenOutput, InputSpec, MeasuredAccuracy, Metrics
from device.vision.inference.classifier import Classifier, Outputs
from device.vision.inference.preprocess import Pixels, to_float
from device.vision.inference.runtime import Runtime, load_runtime


def load_model(model: bytes, scratch: Path) -> Runtime:
    """Load any `.tflite` as the device loads the model of a bundle. scratch: a folder for the file. Raises BundleError if it is refused."""
    return load_runtime(_draft_bundle(model, (), 1, scratch))


class TrialModel:
    """A quantized model to measure. Raises BundleError if its input does not take camera bytes, or its outputs are not those of a bundle."""

    def __init__(self, model: bytes, labels: Sequence[str], size: int, scratch: Path) -> None:
        self.model = model
        self._bundle = _draft_bundle(model, tuple(labels), size, scratch)
        self.classifier = self.new_classifier()

    def new_classifier(self) -> Classifier:
        """A new classifier on the runtime that ships. `classifier` is one of them."""
        return Classifier(self._bundle)

    def exact_classifier(self) -> Classifier:
        """A new classifier on the kernels that give the golden output. Raises RuntimeFault if ai-edge-litert is not installed."""
        return Classifier(self._bundle, load_runtime(self._bundle, package="ai-edge-litert", kernels="builtin"))

    def logits(self, pictures: Indexable[Pixels]) -> Float64Array:
        """Logits before temperature and softmax, one row per picture."""
        return np.stack([outputs.logits for outputs in self._outputs(pictures)]).astype(np.float64)

    def logits_and_embeddings(self, pictures: Indexable[Pixels]) -> tuple[Float64Array, Float32Array]:
        """Logits as `logits` returns them, and embeddings, of the same run."""
        outputs = list(self._outputs(pictures))
        return np.stack([each.logits for each in outputs]).astype(np.float64), np.stack([each.embedding for each in outputs])

    def embeddings(self, pictures: Indexable[Pixels]) -> Float32Array:
        """Embeddings, dequantized, one row per picture."""
        return np.stack([outputs.embedding for outputs in self._outputs(pictures)])

    def _outputs(self, pictures: Indexable[Pixels]) -> Iterator[Outputs]:
        def make_worker() -> Callable[[int], Outputs]:
            classifier = self.new_classifier()
            return lambda number: classifier.outputs(pictures[number])

        return parallel_map(len(pictures), make_worker)


class FloatModel:
    """A float network as a `.tflite` with its signature. A quantized model is compared with its outputs. They equal those of Keras to five digits,
    and it is several times faster. name: of the runtime.
    """

    def __init__(self, model: bytes, scratch: Path) -> None:
        self._bundle = _draft_bundle(model, (), 1, scratch)
        self.name = load_runtime(self._bundle).name

    def predict(self, pictures: Indexable[Pixels]) -> dict[str, Float32Array]:
        """Outputs by name, one row per picture of size x size x 3 uint8. It runs on all processors."""

        def make_worker() -> Callable[[int], dict[str, Float32Array]]:
            run = load_runtime(self._bundle).interpreter.get_signature_runner("serving_default")
            return lambda number: run(image=to_float(pictures[number])[None])

        rows = list(parallel_map(len(pictures), make_worker))
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _draft_bundle(model: bytes, labels: tuple[str, ...], size: int, scratch: Path) -> Bundle:
    folder = Path(tempfile.mkdtemp(dir=scratch))
    (folder / MODEL_FILE).write_bytes(model)
    return Bundle(folder, _draft_info(labels, size))


def _draft_info(labels: tuple[str, ...], size: int) -> BundleInfo:
    """The information that a classifier needs, with placeholders for what is not measured yet."""
    nothing = MeasuredAccuracy(0.0, 0, 0.0, {}, "")
    return BundleInfo(
        name="draft",
        version="",
        labels=labels,
        input=InputSpec(size),
        temperature=1.0,
        reject_below=0.0,
        metrics=Metrics("", nothing, nothing, 0.0),
        known_answer=GoldenOutput(0, (0,) * len(labels), 0),
        calibration=CalibrationSet(0, 0, ""),
        data_fingerprint="",
        files={},
    )
