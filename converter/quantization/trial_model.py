"""A model that is in no bundle yet, run by the device's own classifier: what is measured here is what will ship."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from converter.common.parallel_map import parallel_map
from converter.common.progress import Indexable
from device.common.arrays import Float32Array, Float64Array
from device.vision.inference.bundle import MODEL_FILE, Bundle, BundleInfo, CalibrationSet, InputSpec, KnownAnswer, MeasuredAccuracy, Metrics
from device.vision.inference.classifier import Classifier, Outputs
from device.vision.inference.preprocess import Pixels, to_float
from device.vision.inference.runtime import Runtime, load_runtime


def load_model(model: bytes, scratch: Path) -> Runtime:
    """Load any `.tflite` as the device loads a bundle's. scratch: a folder to keep the file in. Raises BundleError for a model refused."""
    return load_runtime(_kept(model, (), 1, scratch))


class TrialModel:
    """An INT8 model on trial. Raises BundleError when it does not take raw camera bytes, or its outputs are not a bundle's."""

    def __init__(self, model: bytes, labels: Sequence[str], size: int, scratch: Path) -> None:
        self.model = model
        self._bundle = _kept(model, tuple(labels), size, scratch)
        self.shipping = self.shipped()

    def shipped(self) -> Classifier:
        """The model on what it will run on, by itself; `shipping` is one of these."""
        return Classifier(self._bundle)

    def exact(self) -> Classifier:
        """The same model on the kernels that a golden output is taken from. Raises RuntimeFault where ai-edge-litert is not installed."""
        return Classifier(self._bundle, load_runtime(self._bundle, package="ai-edge-litert", kernels="builtin"))

    def logits(self, pictures: Indexable[Pixels]) -> Float64Array:
        """One row a picture, before temperature and softmax."""
        return np.stack([outputs.logits for outputs in self._outputs(pictures)]).astype(np.float64)

    def answers(self, pictures: Indexable[Pixels]) -> tuple[Float64Array, Float32Array]:
        """Logits, as `logits` gives them, and embeddings of the same run."""
        outputs = list(self._outputs(pictures))
        return np.stack([each.logits for each in outputs]).astype(np.float64), np.stack([each.embedding for each in outputs])

    def embeddings(self, pictures: Indexable[Pixels]) -> Float32Array:
        """One row a picture, dequantized."""
        return np.stack([outputs.embedding for outputs in self._outputs(pictures)])

    def _outputs(self, pictures: Indexable[Pixels]) -> Iterator[Outputs]:
        def equipped() -> Callable[[int], Outputs]:
            classifier = self.shipped()
            return lambda number: classifier.outputs(pictures[number])

        return parallel_map(len(pictures), equipped)


class FloatModel:
    """A float network as a `.tflite` with its signature, for the answers that a quantized one is held against: the same to five digits as in
    Keras, and several times quicker. name: of the runtime.
    """

    def __init__(self, model: bytes, scratch: Path) -> None:
        self._bundle = _kept(model, (), 1, scratch)
        self.name = load_runtime(self._bundle).name

    def predict(self, pictures: Indexable[Pixels]) -> dict[str, Float32Array]:
        """Outputs by name, one row a picture of size x size x 3 uint8, each worked on by one of as many threads as there are processors."""

        def equipped() -> Callable[[int], dict[str, Float32Array]]:
            run = load_runtime(self._bundle).interpreter.get_signature_runner("serving_default")
            return lambda number: run(image=to_float(pictures[number])[None])

        rows = list(parallel_map(len(pictures), equipped))
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _kept(model: bytes, labels: tuple[str, ...], size: int, scratch: Path) -> Bundle:
    folder = Path(tempfile.mkdtemp(dir=scratch))
    (folder / MODEL_FILE).write_bytes(model)
    return Bundle(folder, _draft(labels, size))


def _draft(labels: tuple[str, ...], size: int) -> BundleInfo:
    """What a classifier needs to know of a bundle before anything was measured."""
    nothing = MeasuredAccuracy(0.0, 0, 0.0, {}, "")
    return BundleInfo(
        name="draft",
        version="",
        labels=labels,
        input=InputSpec(size),
        temperature=1.0,
        reject_below=0.0,
        metrics=Metrics("", nothing, nothing, 0.0),
        known_answer=KnownAnswer(0, (0,) * len(labels), 0),
        calibration=CalibrationSet(0, 0, ""),
        data_fingerprint="",
        files={},
    )
