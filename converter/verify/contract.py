"""Checks that a bundle's model has the input, outputs, labels and operations that a device needs. The model is not run."""

import math

from converter.tflite.flatbuffer import ModelFile, Tensor
from converter.verify import op_versions
from converter.verify.report import Check
from device.vision.inference.bundle import LABELS_FILE, BundleInfo, labels_text
from device.vision.inference.classifier import RAW_SCALE, RAW_ZERO_POINT

OUTPUTS = ("logits", "embedding")


def contract_checks(model: ModelFile, info: BundleInfo) -> list[Check]:
    """One check for each point of the contract between a bundle and its model, passed or not."""
    return [
        _check_input(model, info.input.size),
        _check_outputs(model, len(info.labels)),
        _check_labels(model, info.labels),
        _check_operations(model),
    ]


def logits_step(model: ModelFile) -> float | None:
    """The scale of the quantized logits: the size of one step. None if the model has no such output."""
    tensor = _named_outputs(model).get("logits")
    return tensor.quantization.scales[0] if tensor is not None and tensor.quantization is not None else None


def _check_input(model: ModelFile, size: int) -> Check:
    wanted = f"expected one input, uint8 1x{size}x{size}x3 with scale 1/127.5 and zero point 127, so that camera bytes go in untouched"
    tensors = [model.main.tensors[index] for index in model.main.inputs]
    if len(tensors) != 1:
        return Check("input", False, f"{wanted}; found {len(tensors)} inputs")
    found = tensors[0]
    if found.dtype != "uint8" or found.shape != (1, size, size, 3) or found.dynamic:
        return Check("input", False, f"{wanted}; found {_type_and_shape(found)}")
    scale, zero_point = _per_tensor(found) or (math.nan, 0)
    if not math.isclose(scale, RAW_SCALE, rel_tol=1e-4) or zero_point != RAW_ZERO_POINT:
        return Check("input", False, f"{wanted}; found scale {scale:.6g} and zero point {zero_point}")
    return Check("input", True, f"{_type_and_shape(found)}, scale 1/127.5, zero point 127: camera bytes go in untouched")


def _check_outputs(model: ModelFile, label_count: int) -> Check:
    named = _named_outputs(model)
    if set(named) != set(OUTPUTS):
        return Check("outputs", False, f"expected two, named logits and embedding; found {', '.join(sorted(named)) or 'none with a name'}")
    for name, tensor in named.items():
        if tensor.dtype not in ("int8", "uint8", "int16") or _per_tensor(tensor) is None:
            return Check("outputs", False, f"{name}: expected int8 or int16 with one scale, found {_type_and_shape(tensor)}")
    logits, embedding = (named[name] for name in OUTPUTS)
    if math.prod(logits.shape) != label_count:
        return Check("outputs", False, f"logits: expected one for each of the {label_count} labels, found {_type_and_shape(logits)}")
    return Check("outputs", True, f"logits {_type_and_shape(logits)}, embedding {_type_and_shape(embedding)}")


def _check_labels(model: ModelFile, labels: tuple[str, ...]) -> Check:
    inside = model.files.get(LABELS_FILE)
    if inside is None:
        return Check("labels", None, f"no {LABELS_FILE} inside the model; the bundle's own is what a bin reads")
    if inside != labels_text(labels).encode():
        return Check("labels", False, f"{LABELS_FILE} inside the model does not hold the labels of the bundle in their order")
    return Check("labels", True, f"{', '.join(labels)}; the same inside the model")


def _check_operations(model: ModelFile) -> Check:
    used = sorted({(found.name, found.version) for graph in model.subgraphs for found in graph.operators})
    lacking = {f"{name} version {version}": op_versions.runtimes_without(name, version) for name, version in used}
    refused = [f"{operation} is not in {' nor '.join(who)}" for operation, who in lacking.items() if who]
    if refused:
        return Check("op versions", False, "; ".join(refused))
    names = ", ".join(f"{name} v{version}" for name, version in used)
    return Check("op versions", True, f"{names}: all in {', '.join(op_versions.RUNTIMES)}")


def _named_outputs(model: ModelFile) -> dict[str, Tensor]:
    if not model.signatures:
        return {}
    signature = model.signatures[0]
    tensors = model.subgraphs[signature.subgraph].tensors
    return {name: tensors[index] for name, index in signature.outputs.items()}


def _per_tensor(tensor: Tensor) -> tuple[float, int] | None:
    """Scale and zero point of a tensor with one of each, else None."""
    quantization = tensor.quantization
    return (
        (quantization.scales[0], quantization.zero_points[0])
        if quantization and len(quantization.scales) == len(quantization.zero_points) == 1
        else None
    )


def _type_and_shape(tensor: Tensor) -> str:
    shape = tensor.signature if tensor.dynamic else tensor.shape
    return f"{tensor.dtype} {'x'.join('?' if side < 0 else str(side) for side in shape)}"
