"""Writes labels and model card into a `.tflite`, as TensorFlow Lite Metadata: a description in the file, and a zip of files behind it.

Unzip programs can extract these files. The description follows the metadata schema 1.0.0 (identifier M001) of tflite-support.
"""

import io
import zipfile
from collections.abc import Callable, Sequence

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from device.vision.inference.bundle import LABELS_FILE, labels_text

CARD_FILE = "MODEL_CARD.md"
ENTRY = b"TFLITE_METADATA"

_IMAGE, _FEATURE, _NORMALIZATION, _RGB = 2, 1, 1, 1
_DESCRIPTION, _AXIS_LABELS = 1, 2
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def with_metadata(model: bytes, *, name: str, version: str, labels: Sequence[str], card: str) -> bytes:
    """The model with a description of its input and outputs, `labels.txt` and `MODEL_CARD.md`. Earlier ones are replaced.

    model: one input of RGB pixels. The labels are attached to the output whose last axis has one column per label, and which is named logits if there
    are several outputs. The same arguments give the same bytes.
    """
    parsed = unpack_model(model)
    described = np.frombuffer(_description(parsed, name, version, len(labels)), np.uint8)
    others = [entry for entry in parsed.metadata or [] if entry.name != ENTRY]
    replaced = [entry for entry in parsed.metadata or [] if entry.name == ENTRY]
    entry = replaced[0] if replaced else schema.MetadataT()
    if not replaced:
        entry.name, entry.buffer = ENTRY, len(parsed.buffers)
        parsed.buffers.append(schema.BufferT())
    parsed.buffers[entry.buffer].data = described
    parsed.metadata = [*others, entry]
    return pack_model(parsed) + _zip_files({LABELS_FILE: labels_text(tuple(labels)), CARD_FILE: card})


def unpack_model(model: bytes) -> schema.ModelT:
    """The content of a `.tflite`, including buffers that are stored after the flatbuffer."""
    parsed = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(model), 0))
    for buffer in parsed.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return parsed


def pack_model(model: schema.ModelT) -> bytes:
    """A model as the bytes of a `.tflite`. Each buffer is on a multiple of 16 bytes, as the schema requires; the generated code does not do that."""
    model.buffers = [_AlignedBuffer(buffer.data) for buffer in model.buffers]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _AlignedBuffer:
    """Writes what schema.BufferT writes, on a multiple of 16 bytes."""

    def __init__(self, data: npt.NDArray[np.uint8] | None) -> None:
        self._data = data

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 - the generated code's name
        vector = None
        if self._data is not None:
            content = bytes(np.asarray(self._data, np.uint8))
            builder.StartVector(1, len(content), 16)
            builder.head = builder.head - len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


def _zip_files(files: dict[str, str]) -> bytes:
    """A zip archive. Its bytes depend only on the files, not on time or computer."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), text.encode())
    return content.getvalue()


def _description(model: schema.ModelT, name: str, version: str, label_count: int) -> bytes:
    builder = flatbuffers.Builder(1024)
    graph = model.subgraphs[0]
    inputs = [
        _table(
            builder,
            {
                0: _text("image"),
                1: _text("RGB pixels, 0 to 255, of the whole picture stretched to a square"),
                3: _content(_IMAGE, {0: _byte(_RGB)}),
                4: _tables([{0: _byte(_NORMALIZATION), 1: _inner({0: _floats([127.5]), 1: _floats([127.5])})}]),
            },
        )
        for _ in graph.inputs
    ]
    outputs = [_output(builder, graph, model, number, label_count) for number in range(len(graph.outputs))]
    subgraph = _table(builder, {2: _offsets(inputs), 3: _offsets(outputs)})
    card = _table(builder, {0: _text(CARD_FILE), 2: _byte(_DESCRIPTION)})
    whole = _table(
        builder,
        {
            0: _text(name),
            1: _text("Image classifier for Sortbin"),
            2: _text(version),
            3: _offsets([subgraph]),
            6: _offsets([card]),
            7: _text("1.0.0"),
        },
    )
    builder.Finish(whole, b"M001")
    return bytes(builder.Output())


def _output(builder: flatbuffers.Builder, graph: schema.SubGraphT, model: schema.ModelT, number: int, label_count: int) -> int:
    tensor = graph.tensors[graph.outputs[number]]
    names = {output.tensorIndex: output.name.decode() for signature in model.signatureDefs or [] for output in signature.outputs}
    named = names.get(int(graph.outputs[number]), tensor.name.decode())
    slots = {0: _text(named), 3: _content(_FEATURE, {})}
    if int(tensor.shape[-1]) == label_count and (named == "logits" or len(graph.outputs) == 1):
        slots[6] = _tables([{0: _text(LABELS_FILE), 1: _text("a label a line, in the order of this output"), 2: _byte(_AXIS_LABELS)}])
    return _table(builder, slots)


_Value = Callable[[flatbuffers.Builder], Callable[[flatbuffers.Builder, int], None]]
"""writes what a slot refers to, before its table is started, and returns a function that fills the slot"""


def _table(builder: flatbuffers.Builder, slots: dict[int, _Value]) -> int:
    puts = {slot: value(builder) for slot, value in slots.items()}
    builder.StartObject(max(slots, default=0) + 1)
    for slot, put in puts.items():
        put(builder, slot)
    return int(builder.EndObject())


def _put_offset(offset: int) -> Callable[[flatbuffers.Builder, int], None]:
    return lambda builder, slot: builder.PrependUOffsetTRelativeSlot(slot, offset, 0)


def _text(text: str) -> _Value:
    return lambda builder: _put_offset(builder.CreateString(text))


def _byte(value: int) -> _Value:
    return lambda _: lambda builder, slot: builder.PrependUint8Slot(slot, value, 0)


def _floats(values: Sequence[float]) -> _Value:
    return lambda builder: _put_offset(builder.CreateNumpyVector(np.array(values, np.float32)))


def _inner(slots: dict[int, _Value]) -> _Value:
    return lambda builder: _put_offset(_table(builder, slots))


def _content(kind: int, properties: dict[int, _Value]) -> _Value:
    return _inner({0: _byte(kind), 1: _inner(properties)})


def _tables(tables: Sequence[dict[int, _Value]]) -> _Value:
    return lambda builder: _offsets([_table(builder, slots) for slots in tables])(builder)


def _offsets(offsets: Sequence[int]) -> _Value:
    def make(builder: flatbuffers.Builder) -> Callable[[flatbuffers.Builder, int], None]:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return _put_offset(builder.EndVector())

    return make
