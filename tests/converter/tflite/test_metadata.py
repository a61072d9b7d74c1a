"""Labels and card inside the model, as unzip programs and TensorFlow's readers find them."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from converter.tflite.metadata import ENTRY, pack_model, with_metadata

LABELS = ("disc", "frame", "streifen ≡")


def outputs_of(model: bytes) -> list[np.ndarray]:
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    interpreter.set_tensor(details["index"], np.random.default_rng(0).integers(0, 256, details["shape"], np.uint8))
    interpreter.invoke()
    return [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]


@pytest.fixture(scope="module")
def finished(converted: tuple[bytes, bytes]) -> bytes:
    return with_metadata(converted[1], name="formen ◯", version="1.2", labels=LABELS, card="# Formen\n")


def test_labels_and_card_can_be_unzipped(finished: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(finished)
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode() == "disc\nframe\nstreifen ≡\n"
        assert archive.read("MODEL_CARD.md").decode() == "# Formen\n"


def test_metadata_does_not_change_the_network(finished: bytes, converted: tuple[bytes, bytes]) -> None:
    for ours, theirs in zip(outputs_of(finished), outputs_of(converted[1]), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_every_buffer_is_aligned(finished: bytes) -> None:
    model = schema.Model.GetRootAsModel(finished, 0)
    base = np.frombuffer(finished, np.uint8).__array_interface__["data"][0]
    starts = [
        model.Buffers(number).DataAsNumpy().__array_interface__["data"][0] - base
        for number in range(model.BuffersLength())
        if model.Buffers(number).DataLength()
    ]
    assert len(starts) > 5
    assert all(start % 16 == 0 for start in starts)


def test_metadata_describes_input_and_labelled_output(finished: bytes) -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(finished, 0))
    (entry,) = [entry for entry in model.metadata if entry.name == ENTRY]
    described = bytes(model.buffers[entry.buffer].data)
    assert described[4:8] == b"M001"
    root = Table.root(described)
    assert root.text(0) == "formen ◯" and root.text(2) == "1.2" and root.text(7) == "1.0.0"
    (subgraph,) = root.tables(3)
    (image,), outputs = subgraph.tables(2), subgraph.tables(3)
    assert image.text(0) == "image"
    assert image.table(3).byte(0) == 2 and image.table(3).table(1).byte(0) == 1, "an image, RGB"
    assert image.tables(4)[0].table(1).floats(0) == image.tables(4)[0].table(1).floats(1) == [127.5]
    labelled = {output.text(0): [file.text(0) for file in output.tables(6)] for output in outputs}
    assert labelled == {"logits": ["labels.txt"], "embedding": []}


def test_writing_metadata_again_replaces_it_with_equal_bytes(finished: bytes, converted: tuple[bytes, bytes]) -> None:
    assert with_metadata(converted[1], name="formen ◯", version="1.2", labels=LABELS, card="# Formen\n") == finished
    again = with_metadata(finished, name="other", version="2", labels=("a", "b", "c"), card="")
    with zipfile.ZipFile(io.BytesIO(again)) as archive:
        assert archive.namelist() == ["labels.txt", "MODEL_CARD.md"]
        assert archive.read("labels.txt") == b"a\nb\nc\n"
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(again, 0))
    assert [entry.name for entry in model.metadata].count(ENTRY) == 1
    assert len(pack_model(model)) < len(finished)


class Table:
    """A table of a flatbuffer, read by slot numbers (https://flatbuffers.dev/internals), independently of the code that wrote it."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    @classmethod
    def root(cls, data: bytes) -> "Table":
        return cls(data, int.from_bytes(data[:4], "little"))

    def _field(self, slot: int) -> int | None:
        table = self._at - int.from_bytes(self._data[self._at : self._at + 4], "little", signed=True)
        length = int.from_bytes(self._data[table : table + 2], "little")
        place = 4 + 2 * slot
        offset = int.from_bytes(self._data[table + place : table + place + 2], "little") if place < length else 0
        return self._at + offset if offset else None

    def _followed(self, at: int) -> int:
        return at + int.from_bytes(self._data[at : at + 4], "little")

    def _vector(self, slot: int) -> tuple[int, int]:
        field = self._field(slot)
        if field is None:
            return 0, 0
        start = self._followed(field)
        return start + 4, int.from_bytes(self._data[start : start + 4], "little")

    def text(self, slot: int) -> str:
        start, length = self._vector(slot)
        return self._data[start : start + length].decode()

    def byte(self, slot: int) -> int:
        field = self._field(slot)
        return 0 if field is None else self._data[field]

    def table(self, slot: int) -> "Table":
        field = self._field(slot)
        assert field is not None
        return Table(self._data, self._followed(field))

    def tables(self, slot: int) -> list["Table"]:
        start, length = self._vector(slot)
        return [Table(self._data, self._followed(start + 4 * number)) for number in range(length)]

    def floats(self, slot: int) -> list[float]:
        start, length = self._vector(slot)
        return np.frombuffer(self._data[start : start + 4 * length], "<f4").tolist()
