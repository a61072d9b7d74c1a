"""Reads TensorFlow Lite metadata: descriptions of a model, its inputs, outputs and labels.

The metadata is the flatbuffer that `TFLITE_METADATA` names. Fields are read by their numbers in tflite-support's metadata_schema.fbs.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from flatbuffers import encode, packer
from flatbuffers.number_types import Float32Flags, Int8Flags, SOffsetTFlags, UOffsetTFlags
from flatbuffers.table import Table

from converter.tflite.flatbuffer import ModelFileError

ENTRY = "TFLITE_METADATA"
IDENTIFIER = b"M001"
"""at bytes 4 to 8 of the metadata"""

_FILE_KINDS = {1: "descriptions", 2: "labels of an axis", 3: "labels of a value", 4: "calibration of scores", 5: "vocabulary"}
_NORMALIZATION = 1
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class AssociatedFile:
    """A file packed with the model. kind: of its content, empty if the metadata does not name it."""

    name: str
    description: str
    kind: str
    locale: str


@dataclass(frozen=True)
class TensorDescription:
    """An input or output. mean, std: the normalization (value - mean) / std of an input, one number or one per channel; empty without one."""

    name: str
    description: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    files: tuple[AssociatedFile, ...]


@dataclass(frozen=True)
class ModelDescription:
    """The content of the metadata. Missing texts are empty. inputs, outputs: in the order of the main graph."""

    name: str
    description: str
    version: str
    author: str
    license: str
    inputs: tuple[TensorDescription, ...] = field(default=())
    outputs: tuple[TensorDescription, ...] = field(default=())
    files: tuple[AssociatedFile, ...] = field(default=())

    @property
    def all_files(self) -> tuple[AssociatedFile, ...]:
        """The files of the model, its inputs and its outputs."""
        return self.files + tuple(file for tensor in self.inputs + self.outputs for file in tensor.files)

    @property
    def labels_file(self) -> str:
        """The file with the labels of the output's positions, or empty."""
        return next((file.name for file in self.all_files if file.kind == _FILE_KINDS[2]), "")


def parse_description(content: bytes) -> ModelDescription:
    """Parse the buffer that `TFLITE_METADATA` names. Raises ModelFileError."""
    if content[4:8] != IDENTIFIER:
        raise ModelFileError(f"{ENTRY}: not TensorFlow Lite metadata: bytes 4 to 8 are not {IDENTIFIER.decode()}")
    try:
        return _model(_Fields(content, encode.Get(packer.uoffset, content, 0)))
    except (struct.error, IndexError, ValueError, TypeError, OverflowError) as error:
        raise ModelFileError(f"{ENTRY}: damaged TensorFlow Lite metadata") from error


class _Fields:
    """A table of a flatbuffer. Fields are read by their numbers in the schema."""

    def __init__(self, content: bytes, position: int) -> None:
        self._table = Table(content, position)
        vtable = position - self._table.Get(SOffsetTFlags, position)
        if not 0 <= vtable < len(content):
            raise ValueError("table out of range")

    def text(self, number: int) -> str:
        at = self._at(number)
        return self._table.String(at).decode(errors="replace") if at else ""

    def byte(self, number: int) -> int:
        at = self._at(number)
        return int(self._table.Get(Int8Flags, at)) if at else 0

    def table(self, number: int) -> "_Fields | None":
        at = self._at(number)
        return _Fields(self._table.Bytes, self._table.Indirect(at)) if at else None

    def tables(self, number: int, read: "Callable[[_Fields], _Read]") -> tuple[_Read, ...]:
        places = self._vector(number)
        return tuple(read(_Fields(self._table.Bytes, self._table.Indirect(place))) for place in places)

    def floats(self, number: int) -> tuple[float, ...]:
        return tuple(float(self._table.Get(Float32Flags, place)) for place in self._vector(number))

    def _vector(self, number: int) -> range:
        at = self._at(number)
        if not at:
            return range(0)
        length = self._table.Get(UOffsetTFlags, at + self._table.Get(UOffsetTFlags, at))
        start = self._table.Vector(at - self._table.Pos)
        if start + 4 * length > len(self._table.Bytes):
            raise ValueError("vector out of range")
        return range(start, start + 4 * length, 4)

    def _at(self, number: int) -> int:
        offset = int(self._table.Offset(4 + 2 * number))
        return self._table.Pos + offset if offset else 0


def _model(fields: _Fields) -> ModelDescription:
    graphs = fields.tables(3, lambda graph: (graph.tables(2, _tensor), graph.tables(3, _tensor), graph.tables(4, _file)))
    inputs, outputs, files = graphs[0] if graphs else ((), (), ())
    return ModelDescription(
        name=fields.text(0),
        description=fields.text(1),
        version=fields.text(2),
        author=fields.text(4),
        license=fields.text(5),
        inputs=inputs,
        outputs=outputs,
        files=fields.tables(6, _file) + files,
    )


def _tensor(fields: _Fields) -> TensorDescription:
    units = (unit for unit in fields.tables(4, lambda unit: unit.table(1) if unit.byte(0) == _NORMALIZATION else None) if unit is not None)
    mean, std = next(((unit.floats(0), unit.floats(1)) for unit in units), ((), ()))
    return TensorDescription(fields.text(0), fields.text(1), mean, std, fields.tables(6, _file))


def _file(fields: _Fields) -> AssociatedFile:
    return AssociatedFile(fields.text(0), fields.text(1), _FILE_KINDS.get(fields.byte(2), ""), fields.text(3))
