"""Adds a compiled model to a bundle: restores output names, labels and card, and updates the hashes."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
from ai_edge_litert import schema_py_generated as schema

from converter.common.atomic_directory import OutputError
from converter.edgetpu.compiler import CompiledModel
from converter.tflite.flatbuffer import parse_model
from converter.tflite.metadata import CARD_FILE, pack_model, with_metadata
from device.vision.inference.bundle import (
    EDGETPU_FILE,
    INFO_FILE,
    MODEL_FILE,
    Bundle,
    BundleInfo,
    EdgeTpu,
    OperationMapping,
    encode,
    hash_file,
    read_bundle,
    seal,
)


@contextlib.contextmanager
def folder_beside(bundle: Bundle) -> Iterator[Path]:
    """Yield an empty folder beside the bundle, on the same disk. It is removed after the block. Raises OutputError."""
    place = bundle.folder.resolve()
    try:
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as folder:
            yield Path(folder)
    except OSError as error:
        raise OutputError(f"{error.filename or place.parent}: {error.strerror or error}") from error


def restore_metadata(compiled: bytes, bundle: Bundle) -> bytes:
    """The compiled model with what the compiler removes: names of the outputs, labels, card and metadata."""
    info, card = bundle.info, bundle.folder / CARD_FILE
    named = _with_signatures(compiled, (bundle.folder / MODEL_FILE).read_bytes())
    text = card.read_text(encoding="utf-8") if CARD_FILE in info.files else ""
    return with_metadata(named, name=info.name, version=info.version, labels=info.labels, card=text)


def add_compiled(bundle: Bundle, compiled: CompiledModel, folder: Path) -> Bundle:
    """Write the compiled model and the compiler's report into the bundle. folder: from `folder_beside`.

    After each step the bundle is valid: first the old one, then one without a compiled model if it had one, then the new one. Raises OutputError if
    the disk refuses; the old bundle then stays.
    """
    info = bundle.info
    model = folder / "described.tflite"
    try:
        model.write_bytes(restore_metadata(compiled.model, bundle))
        without = {name: value for name, value in info.files.items() if name != EDGETPU_FILE}
        files = dict(sorted({**without, EDGETPU_FILE: hash_file(model)}.items()))
        finished = msgspec.structs.replace(info, files=files, edgetpu=_edgetpu_info(compiled))
        if EDGETPU_FILE in info.files:
            _replace_info(msgspec.structs.replace(info, files=without, edgetpu=msgspec.UNSET), folder, bundle.folder)
        model.replace(bundle.folder / EDGETPU_FILE)
        _replace_info(finished, folder, bundle.folder)
    except OSError as error:
        raise OutputError(f"{error.filename2 or error.filename or bundle.folder}: {error.strerror or error}") from error
    return read_bundle(bundle.folder)


def _edgetpu_info(compiled: CompiledModel) -> EdgeTpu:
    report = compiled.report
    return EdgeTpu(
        compiler=report.version,
        mapped=report.mapped,
        on_cpu=report.on_cpu,
        on_chip_bytes=report.on_chip_bytes,
        off_chip_bytes=report.off_chip_bytes,
        mapping=tuple(OperationMapping(row.operation, row.count, row.status) for row in report.rows),
    )


def _replace_info(info: BundleInfo, folder: Path, into: Path) -> None:
    """Seal the info and replace the one of the bundle `into`. folder: for the temporary file, on the same disk."""
    new = folder / INFO_FILE
    new.write_bytes(encode(seal(info)))
    new.replace(into / INFO_FILE)


def _with_signatures(compiled: bytes, original: bytes) -> bytes:
    """The compiled model with the signatures of the original. Its tensors still have the same names."""
    wanted = parse_model(original)
    parsed = schema.ModelT.InitFromPackedBuf(compiled, 0)
    places = {tensor.name.decode(): index for index, tensor in enumerate(parsed.subgraphs[0].tensors)}
    parsed.signatureDefs = []
    for signature in wanted.signatures:
        entries = [
            {name: places.get(wanted.main.tensors[index].name) for name, index in side.items()} for side in (signature.inputs, signature.outputs)
        ]
        if signature.subgraph != 0 or any(place is None for side in entries for place in side.values()):
            continue
        definition = schema.SignatureDefT()
        definition.signatureKey = signature.key
        definition.subgraphIndex = 0
        definition.inputs, definition.outputs = ([_tensor_map_entry(name, place) for name, place in side.items()] for side in entries)
        parsed.signatureDefs.append(definition)
    return pack_model(parsed)


def _tensor_map_entry(name: str, place: int | None) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, place
    return entry
