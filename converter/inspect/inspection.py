"""Collects the facts of a `.tflite` file without running it, as values for JSON."""

import hashlib
from pathlib import Path

import msgspec

from converter.edgetpu.graph import CUSTOM_OP, build_graph
from converter.edgetpu.prediction import Prediction, predict
from converter.tflite.flatbuffer import ModelFile, Operator, Tensor, read_model
from converter.tflite.metadata_reader import ENTRY, ModelDescription, parse_description
from device.vision.inference.bundle import EDGETPU_FILE, LABELS_FILE, MODEL_FILE, BundleInfo, read_bundle

Sizes = dict[str, int]


class TensorFacts(msgspec.Struct, frozen=True):
    """A tensor. called: its name in the first signature, or empty. shape: -1 for an open size. scales, zero_points: one, or one for each index along
    `axis` (then not None); empty if it is not quantized. bytes: size of a constant, else None.
    """

    name: str
    called: str
    dtype: str
    shape: tuple[int, ...]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None
    bytes: int | None


class OperationFacts(msgspec.Struct, frozen=True):
    """One version of an operation. count: how often it occurs. bytes: of the parameters of all of them."""

    name: str
    version: int
    count: int
    bytes: int


class LayerFacts(msgspec.Struct, frozen=True):
    """One operation of the graph. output, weights: indices of tensors, or None; weights is its largest constant. bytes: of its parameters, each
    counted for the first operation that uses it, and of the data of a custom operation.
    """

    number: int
    operation: str
    output: int | None
    weights: int | None
    bytes: int


class Inspection(msgspec.Struct, frozen=True):
    """A model file. maker: the program that made it. runtime: the oldest TensorFlow Lite that it needs, or empty. graphs: their number; everything
    else is of the first one. compiled: whether it is compiled for the Edge TPU. inputs, outputs: indices of tensors. metadata: sizes of the named
    buffers. files: sizes of the packed files. missing: files that the metadata names but that are not packed. labels: from the packed file, or empty.
    bundle: the content of `bundle.json` if a bundle is inspected. edgetpu: the prediction if asked for.
    """

    file: str
    bytes: int
    sha256: str
    maker: str
    runtime: str
    graphs: int
    compiled: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    tensors: tuple[TensorFacts, ...]
    operations: tuple[OperationFacts, ...]
    layers: tuple[LayerFacts, ...]
    signatures: tuple[str, ...]
    metadata: Sizes
    description: ModelDescription | None
    files: Sizes
    missing: tuple[str, ...]
    labels: tuple[str, ...]
    bundle: BundleInfo | None
    edgetpu: Prediction | None


def inspect(path: Path, *, edgetpu: bool) -> Inspection:
    """Inspect a `.tflite` file, or the model of a bundle's folder. edgetpu: whether to predict the mapping too.

    Raises ModelFileError, BundleError for a damaged bundle, and AlreadyCompiledError.
    """
    bundle = read_bundle(path).info if path.is_dir() else None
    file = path / MODEL_FILE if bundle else path
    model = read_model(file)
    description = parse_description(model.metadata[ENTRY]) if ENTRY in model.metadata else None
    layers = _layers(model)
    return Inspection(
        file=str(file),
        bytes=model.size,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        maker=model.description,
        runtime=model.metadata.get("min_runtime_version", b"").rstrip(b"\0").decode(errors="replace"),
        graphs=len(model.subgraphs),
        compiled=any(operator.name == CUSTOM_OP for operator in model.main.operators),
        inputs=model.main.inputs,
        outputs=model.main.outputs,
        tensors=_tensors(model),
        operations=_operations(model, layers),
        layers=layers,
        signatures=tuple(signature.key for signature in model.signatures),
        metadata={name: len(content) for name, content in model.metadata.items()},
        description=description,
        files={name: len(content) for name, content in model.files.items()},
        missing=tuple(file.name for file in description.all_files if file.name not in model.files) if description else (),
        labels=_labels(model, description),
        bundle=bundle,
        edgetpu=predict(build_graph(model)) if edgetpu else None,
    )


def compiled_file(inspection: Inspection) -> str:
    """The file name of the compiled model in the inspected bundle, or empty."""
    return EDGETPU_FILE if inspection.bundle and EDGETPU_FILE in inspection.bundle.files else ""


def _tensors(model: ModelFile) -> tuple[TensorFacts, ...]:
    called: dict[int, str] = {}
    for signature in model.signatures[:1]:
        called = {index: name for side in (signature.inputs, signature.outputs) for name, index in side.items()}
    return tuple(_tensor(tensor, called.get(index, "")) for index, tensor in enumerate(model.main.tensors))


def _tensor(tensor: Tensor, called: str) -> TensorFacts:
    quantization = tensor.quantization
    return TensorFacts(
        name=tensor.name,
        called=called,
        dtype=tensor.dtype,
        shape=tensor.signature or tensor.shape,
        scales=quantization.scales if quantization else (),
        zero_points=quantization.zero_points if quantization else (),
        axis=quantization.axis if quantization and len(quantization.scales) > 1 else None,
        bytes=None if tensor.data is None else int(tensor.data.size),
    )


def _layers(model: ModelFile) -> tuple[LayerFacts, ...]:
    counted: set[int] = set()
    layers = []
    for number, operator in enumerate(model.main.operators):
        constants = _constants(model, operator)
        new = {model.main.tensors[index].buffer: _constant_bytes(model, index) for index in constants}
        taken = sum(count for buffer, count in new.items() if buffer not in counted)
        counted |= new.keys()
        largest = max(constants, key=lambda index: _constant_bytes(model, index), default=None)
        output = operator.outputs[0] if operator.outputs else None
        layers.append(LayerFacts(number, operator.name, output, largest, taken + operator.custom_bytes))
    return tuple(layers)


def _constants(model: ModelFile, operator: Operator) -> list[int]:
    return [index for index in operator.inputs if index >= 0 and model.main.tensors[index].data is not None]


def _constant_bytes(model: ModelFile, index: int) -> int:
    data = model.main.tensors[index].data
    return 0 if data is None else int(data.size)


def _operations(model: ModelFile, layers: tuple[LayerFacts, ...]) -> tuple[OperationFacts, ...]:
    totals: dict[tuple[str, int], tuple[int, int]] = {}
    for operator, layer in zip(model.main.operators, layers, strict=True):
        count, taken = totals.get((operator.name, operator.version), (0, 0))
        totals[operator.name, operator.version] = count + 1, taken + layer.bytes
    return tuple(OperationFacts(name, version, count, taken) for (name, version), (count, taken) in totals.items())


def _labels(model: ModelFile, description: ModelDescription | None) -> tuple[str, ...]:
    texts = [name for name in model.files if name.endswith(".txt")]
    named = [description.labels_file if description else "", LABELS_FILE, texts[0] if len(texts) == 1 else ""]
    content = next((model.files[name] for name in named if name in model.files), b"")
    return tuple(content.decode(errors="replace").splitlines())
