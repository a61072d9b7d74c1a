"""Open any model for evaluation: the float network of a run, the INT8 network of a bundle, or a bare `.tflite` of either kind.

All take camera pictures and use the device's own preprocessing, so they get the same pixels.
"""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import numpy as np

from converter.bundle.photo_list import PhotoList, read_photo_list
from converter.common.silence import silenced
from converter.data.isolated_view import GROUND
from device.common.arrays import Float32Array, Float64Array
from device.common.errors import SortbinError
from device.policy.rules import RulesError, find_rules, read_rules
from device.vision.inference.bundle import INFO_FILE, LABELS_FILE, BundleError, read_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.ground import Ground
from device.vision.inference.preprocess import Pixels, to_float, to_input

if TYPE_CHECKING:
    import keras

    from device.vision.inference.runtime import Runtime

RUN_FILE = "model.keras"


class ModelError(SortbinError, ValueError):
    """A path that is no model, or a model without labels. The message names the file and what was expected."""


class ModelOutputs(NamedTuple):
    """logits: photos x labels, float64, without temperature. embeddings: photos x features, float32, the input of the head.

    bin_logits: photos x bins, float64, of a run with a second head.
    """

    logits: Float64Array
    embeddings: Float32Array
    bin_logits: Float64Array | None = None


@dataclass(frozen=True)
class Model:
    """A model that is ready to predict. size_px: side of its input. runtime: name and version of what runs it.

    bins: those that a second head names, in its order; empty without one, or where its rule pack cannot be read any more. temperature and
    reject_below: a bundle's, else None. trained_on and chosen_by: names of a run's training and validation photos, empty where unknown. photo_list:
    digests of a bundle's photos; None where unknown.
    """

    path: Path
    labels: tuple[str, ...]
    kind: Literal["float32", "int8"]
    size_px: int
    runtime: str
    judge: Callable[[Iterable[Pixels]], ModelOutputs]
    """outputs of pictures, one row each; pictures: at least one, H x W x 3 uint8 RGB, of any sizes"""
    ground: Ground = GROUND
    """what is shown around isolated items"""
    bins: tuple[str, ...] = ()
    temperature: float | None = None
    reject_below: float | None = None
    trained_on: frozenset[str] = frozenset()
    chosen_by: tuple[str, ...] = ()
    photo_list: PhotoList | None = None

    @property
    def name(self) -> str:
        """Folder or file name without its suffix."""
        return self.path.resolve().name if self.path.suffix == "" else self.path.stem


def open_model(path: Path, labels_file: Path | None = None) -> Model:
    """Open a run folder, a bundle, or a `.tflite` file.

    labels_file: one label a line, for a bare `.tflite`; None for the `labels.txt` beside it. Raises ModelError; BundleError, RuntimeFault or
    NetworkError for a model that is damaged or of another shape.
    """
    if labels_file is not None and path.suffix != ".tflite":
        raise ModelError(f"{labels_file}: expected no --labels: {path} has its own; only a bare .tflite needs them")
    if (path / INFO_FILE).is_file():
        return _bundle(path)
    if path.is_dir():
        return network_model(path, *read_network(path))
    if path.suffix == ".tflite" and path.is_file():
        return _tflite(path, labels_file or path.with_name(LABELS_FILE))
    found = "found a file" if path.exists() else "found nothing"
    raise ModelError(f"{path}: expected a run folder, a bundle folder or a .tflite file, {found}")


def read_network(run: Path) -> tuple["keras.Model", tuple[str, ...]]:
    """The Keras network of a run, for gradients, and its labels. Raises ModelError and NetworkError."""
    if run.is_file() or (run / INFO_FILE).is_file():
        raise ModelError(f"{run}: expected the folder of a training run: a .tflite and a bundle have no gradients")
    for name in (RUN_FILE, LABELS_FILE):
        if not (run / name).is_file():
            raise ModelError(f"{run}: expected a finished training run, {name} is missing")
    labels = _read_labels(run / LABELS_FILE)
    with silenced():
        from converter.quantization import float_network as network

        return network.read_heads(run / RUN_FILE, len(labels)), labels


def network_model(folder: Path, network: "keras.Model", labels: tuple[str, ...]) -> Model:
    """The model of a run whose network is open already. folder: the run."""
    with silenced():
        import keras
        import tensorflow as tf

        from converter.quantization.float_network import predict
    size = int(network.inputs[0].shape[1])
    bins = _bins(folder, labels) if "bin_logits" in network.output else ()

    def judge(pictures: Iterable[Pixels]) -> ModelOutputs:
        outputs = predict(network, (to_input(picture, size) for picture in pictures))
        bin_logits = outputs["bin_logits"].astype(np.float64) if bins else None
        return ModelOutputs(outputs["logits"].astype(np.float64), outputs["embedding"], bin_logits)

    return Model(
        folder,
        labels,
        "float32",
        size,
        f"keras {keras.__version__}, tensorflow {tf.__version__}",
        judge,
        bins=bins,
        trained_on=frozenset(_names(folder / "train.txt")),
        chosen_by=_names(folder / "val.txt"),
    )


def _bins(run: Path, labels: tuple[str, ...]) -> tuple[str, ...]:
    """The bins of the rule pack in the run's recipe, in the order of the second head; empty where recipe or pack cannot be read."""
    from training.fit.recipe import RecipeError, read_run_recipe

    try:
        return tuple(read_rules(find_rules(read_run_recipe(run).rules), labels).bins)
    except (RecipeError, RulesError):
        return ()


def _bundle(folder: Path) -> Model:
    bundle = read_bundle(folder)
    with silenced():
        classifier = Classifier(bundle)
        classifier.check_golden_output()
    info = bundle.info
    return Model(
        folder,
        info.labels,
        "int8",
        info.input.size,
        classifier.runtime.name,
        _judged_by(classifier),
        ground=info.ground,
        temperature=info.temperature,
        reject_below=info.reject_below,
        # It is unknown what a foreign network was trained on.
        photo_list=read_photo_list(bundle) if info.foreign is msgspec.UNSET else None,
    )


def _tflite(file: Path, labels_file: Path) -> Model:
    if not labels_file.is_file():
        raise ModelError(f"{labels_file}: expected the labels of {file.name} here, one a line; or name their file with --labels")
    labels = _read_labels(labels_file)
    with silenced(), tempfile.TemporaryDirectory(prefix="sortbin-") as scratch:
        from converter.quantization.trial_model import TrialModel, load_model

        content = file.read_bytes()
        try:
            runtime = load_model(content, Path(scratch))
            source = _only_input(file, runtime)
            size = int(source["shape"][1])
            if source["dtype"] is np.float32:
                return Model(file, labels, "float32", size, runtime.name, _float_judge(file, runtime, source, len(labels)))
            trial = TrialModel(content, labels, size, Path(scratch))
        except BundleError as error:
            # The message names the copy in `scratch`.
            raise ModelError(f"{file}: {str(error).partition(': ')[2]}") from error
        return Model(file, labels, "int8", size, trial.classifier.runtime.name, _judged_by(trial.classifier))


def _judged_by(classifier: Classifier) -> Callable[[Iterable[Pixels]], ModelOutputs]:
    def judge(pictures: Iterable[Pixels]) -> ModelOutputs:
        rows = [classifier.outputs(picture) for picture in pictures]
        return ModelOutputs(np.stack([row.logits for row in rows]).astype(np.float64), np.stack([row.embedding for row in rows]))

    return judge


def _float_judge(file: Path, runtime: "Runtime", source: dict[str, Any], label_count: int) -> Callable[[Iterable[Pixels]], ModelOutputs]:
    interpreter, size = runtime.interpreter, int(source["shape"][1])
    signatures = interpreter.get_signature_list()
    named = interpreter.get_signature_runner(next(iter(signatures))).get_output_details() if signatures else {}
    if set(named) != {"logits", "embedding"}:
        raise ModelError(f"{file}: expected two outputs, named logits and embedding, found {', '.join(sorted(named)) or 'none with a name'}")
    if int(np.prod(named["logits"]["shape"])) != label_count:
        raise ModelError(f"{file}: {int(np.prod(named['logits']['shape']))} logits, but {label_count} labels; expected one logit a label")
    fill = interpreter.tensor(source["index"])
    logits, embedding = (interpreter.tensor(named[name]["index"]) for name in ("logits", "embedding"))

    def judge(pictures: Iterable[Pixels]) -> ModelOutputs:
        rows = []
        for picture in pictures:
            np.copyto(fill()[0], to_float(to_input(picture, size)))
            interpreter.invoke()
            rows.append((logits().reshape(-1).astype(np.float64), embedding().reshape(-1).copy()))
        return ModelOutputs(np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows]))

    return judge


def _only_input(file: Path, runtime: "Runtime") -> dict[str, Any]:
    inputs = runtime.interpreter.get_input_details()
    shape = tuple(int(side) for side in inputs[0]["shape"])
    square = len(inputs) == 1 and len(shape) == 4 and shape[0] == 1 and shape[1] == shape[2] and shape[3] == 3
    if not square or inputs[0]["dtype"] not in (np.float32, np.uint8):
        found = ", ".join(f"{np.dtype(entry['dtype']).name} {'x'.join(map(str, entry['shape']))}" for entry in inputs)
        raise ModelError(f"{file}: expected one input of 1 x size x size x 3, float32 in -1..1 or uint8, found {found}")
    return inputs[0]


def _read_labels(file: Path) -> tuple[str, ...]:
    try:
        labels = tuple(line for line in file.read_text(encoding="utf-8-sig").split("\n") if line)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{file}: expected labels in UTF-8, one a line: {error}") from error
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise ModelError(f"{file}: expected at least two labels, one a line, none twice")
    return labels


def _names(file: Path) -> tuple[str, ...]:
    return tuple(line for line in file.read_text(encoding="utf-8").split("\n") if line) if file.is_file() else ()
