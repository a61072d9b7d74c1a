"""An inspection as text for a terminal."""

from collections.abc import Iterator

from converter.common.table import columns
from converter.edgetpu.compiler_status import MAPPED
from converter.edgetpu.graph import CUSTOM_OP
from converter.edgetpu.prediction_text import prediction_lines
from converter.inspect.inspection import Inspection, LayerFacts, TensorFacts, compiled_file
from device.common.wording import byte_size, listed
from device.vision.inference.bundle import EdgeTpu

_SHOWN_LABELS = 12


def inspection_lines(found: Inspection) -> Iterator[str]:
    """All facts in sections, separated by empty lines."""
    yield f"{found.file}: {byte_size(found.bytes)}, sha256 {found.sha256[:12]}..."
    yield f"made by: {found.maker or 'the file does not say'}" + (f"; {found.graphs} graphs, the first is shown" if found.graphs > 1 else "")
    yield from _bundle_lines(found)
    yield from ("", "inputs and outputs")
    yield from columns(("", "name", "type", "shape", "scale", "zero point"), list(_input_output_rows(found)))
    yield from ("", "operations")
    rows = [(facts.name, facts.version, facts.count, byte_size(facts.bytes)) for facts in found.operations]
    yield from columns(("operation", "version", "count", "parameters"), rows, right=("version", "count", "parameters"))
    yield from ("", f"layers: {byte_size(sum(layer.bytes for layer in found.layers))} of parameters")
    head = ("", "operation", "output", "type", "scale", "zero point", "weights", "weights' scale", "parameters")
    yield from columns(head, [_layer_row(found, layer) for layer in found.layers], right=("", "parameters"))
    yield from ("", "metadata")
    yield from _metadata_lines(found)
    if found.edgetpu is not None:
        yield ""
        yield from prediction_lines(found.edgetpu)


def _bundle_lines(found: Inspection) -> Iterator[str]:
    if found.compiled:
        yield f"compiled for the Edge TPU; operations left on the CPU: {sum(layer.operation != CUSTOM_OP for layer in found.layers)}"
    if found.bundle is None:
        return
    info = found.bundle
    yield f"bundle {info.name} {info.version}: accuracy INT8 {info.metrics.int8.accuracy:.4f} of {info.metrics.int8.n} photos"
    if isinstance(info.edgetpu, EdgeTpu):
        compiled = info.edgetpu
        operations = f"{compiled.mapped} of {compiled.mapped + compiled.on_cpu} operations"
        yield f"{compiled_file(found)}: {operations} on the Edge TPU, compiler {compiled.compiler}"
        yield from (f"  {entry.count} x {entry.operation} on the CPU: {entry.status}" for entry in compiled.mapping if entry.status != MAPPED)


def _input_output_rows(found: Inspection) -> Iterator[tuple[str, ...]]:
    for end, places in (("input", found.inputs), ("output", found.outputs)):
        for place in places:
            tensor = found.tensors[place]
            yield end, tensor.called or tensor.name, tensor.dtype, _shape(tensor), _scale(tensor), _zero_point(tensor)


def _layer_row(found: Inspection, layer: LayerFacts) -> tuple[str, ...]:
    output = None if layer.output is None else found.tensors[layer.output]
    weights = None if layer.weights is None else found.tensors[layer.weights]
    return (
        str(layer.number),
        layer.operation,
        *((_shape(output), output.dtype, _scale(output), _zero_point(output)) if output else ("", "", "", "")),
        f"{weights.dtype} {_shape(weights)}" if weights else "",
        _scale(weights) if weights else "",
        byte_size(layer.bytes) if layer.bytes else "",
    )


def _metadata_lines(found: Inspection) -> Iterator[str]:
    if found.runtime:
        yield f"needs TensorFlow Lite {found.runtime} or later"
    yield from (f"entry {name}: {byte_size(count)}" for name, count in found.metadata.items())
    if found.signatures:
        yield f"signatures: {', '.join(found.signatures)}"
    about = found.description
    if about is not None:
        named = (("name", about.name), ("version", about.version), ("about", about.description), ("author", about.author), ("licence", about.license))
        yield from (f"{word}: {text}" for word, text in named if text)
    yield from (f"file {name}: {byte_size(count)}" for name, count in found.files.items())
    yield from (f"file {name}: named by the metadata, but not packed with the model" for name in found.missing)
    yield f"labels ({len(found.labels)}): {listed(found.labels, _SHOWN_LABELS)}" if found.labels else "labels: none in the file"


def _shape(tensor: TensorFacts) -> str:
    return "x".join("?" if length < 0 else str(length) for length in tensor.shape) or "one number"


def _scale(tensor: TensorFacts) -> str:
    if len(tensor.scales) > 1:
        return f"{len(tensor.scales)} of {min(tensor.scales):.3g} to {max(tensor.scales):.3g}"
    return f"{tensor.scales[0]:.6g}" if tensor.scales else ""


def _zero_point(tensor: TensorFacts) -> str:
    low, high = min(tensor.zero_points, default=0), max(tensor.zero_points, default=0)
    if not tensor.scales:
        return ""
    return str(low) if low == high else f"{low} to {high}"
