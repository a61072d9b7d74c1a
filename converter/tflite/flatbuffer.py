"""Reads a `.tflite` file: graphs, tensors, operators, signatures, metadata, and the files appended to it.

Any model can be read, float or quantized, also compiled for the Edge TPU. The model is not run, and TensorFlow is not imported.
"""

import importlib
import io
import re
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from device.common.errors import SortbinError

IDENTIFIER = b"TFL3"
"""at bytes 4 to 8 of every TensorFlow Lite flatbuffer"""

_SCHEMAS = ("ai_edge_litert.schema_py_generated", "tensorflow.lite.python.schema_py_generated")
_OUTSIDE = 1
"""a buffer with a greater offset is stored after the flatbuffer, as in files of more than 2 GB"""


class ModelFileError(SortbinError, ValueError):
    """A file that is no TensorFlow Lite model, or is damaged. The message names it."""


@dataclass(frozen=True)
class Quantization:
    """real = scale * (stored - zero_point). One pair for the tensor, or one for each index along `axis`."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor. shape: in the file. signature: the shape with -1 for open sizes, empty if none is open. dtype: NumPy's name (`int8`, `float32`), or
    TensorFlow Lite's if NumPy has no such type. buffer: index of its buffer; several tensors may share one. data: bytes of a constant, else None.
    """

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: str
    quantization: Quantization | None
    buffer: int
    data: npt.NDArray[np.uint8] | None
    variable: bool

    @property
    def dynamic(self) -> bool:
        """Whether the size of a dimension is open."""
        return -1 in self.signature

    def values(self) -> npt.NDArray[Any] | None:
        """The values of a constant in the tensor's shape; None for other tensors and for types that NumPy does not have."""
        if self.data is None or self.dtype not in _NUMBERS:
            return None
        numbers = self.data.view(self.dtype)
        return numbers.reshape(self.shape) if numbers.size == np.prod(self.shape, dtype=np.int64) else None


@dataclass(frozen=True)
class Operator:
    """An operator. name: TensorFlow Lite's (`CONV_2D`), or that of a custom operator. inputs, outputs: indices of tensors, -1 for an omitted input.
    options: the numeric ones, with the names of TensorFlow Lite's schema. custom_bytes: size of a custom operator's data.
    """

    name: str
    custom: bool
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, int | float | bool | tuple[int, ...]] = field(default_factory=dict)
    custom_bytes: int = 0


@dataclass(frozen=True)
class Subgraph:
    """A graph. inputs, outputs: indices of tensors. operators: in execution order."""

    name: str
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[Operator, ...]


@dataclass(frozen=True)
class Signature:
    """A named signature. inputs, outputs: indices of the subgraph's tensors, by name."""

    key: str
    subgraph: int
    inputs: dict[str, int]
    outputs: dict[str, int]


@dataclass(frozen=True)
class ModelFile:
    """A `.tflite` file. description: by its maker. metadata: named buffers of the flatbuffer. files: TensorFlow Lite's associated files, such as
    labels, from the zip archive appended to the flatbuffer. size: of the file in bytes.
    """

    description: str
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[Signature, ...]
    metadata: dict[str, bytes]
    files: dict[str, bytes]
    size: int

    @property
    def main(self) -> Subgraph:
        """The main graph, which runs first."""
        return self.subgraphs[0]


def read_model(file: Path) -> ModelFile:
    """Read a `.tflite` file. Raises ModelFileError."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{file}: {error.strerror}") from error
    return parse_model(content, str(file))


def parse_model(content: bytes, name: str = "model") -> ModelFile:
    """Read the bytes of a `.tflite` file. name: for error messages. Raises ModelFileError."""
    if not content:
        raise ModelFileError(f"{name}: empty; expected a TensorFlow Lite model")
    if content[4:8] != IDENTIFIER:
        raise ModelFileError(f"{name}: not a TensorFlow Lite model: bytes 4 to 8 are not {IDENTIFIER.decode()}")
    schema = _schema()
    try:
        parsed = schema.ModelT.InitFromPackedBuf(content, 0)
        return _ModelReader(schema, parsed, content).model()
    except (struct.error, IndexError, TypeError, ValueError, AttributeError, OverflowError, MemoryError, zipfile.BadZipFile) as error:
        raise ModelFileError(f"{name}: a damaged TensorFlow Lite model, cut off or changed; copy or convert it again") from error


def _schema() -> Any:
    for name in _SCHEMAS:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ModelFileError("nothing to read a TensorFlow Lite model with: install ai-edge-litert (tflite-runtime runs models, but cannot list them)")


class _ModelReader:
    """Turns a parsed flatbuffer into a ModelFile. Raises ValueError and the like for a damaged file."""

    def __init__(self, schema: Any, parsed: Any, content: bytes) -> None:
        self._parsed = parsed
        self._content = content
        self._operators = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
        self._types = {code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
        self._custom = schema.BuiltinOperator.CUSTOM

    def model(self) -> ModelFile:
        parsed = self._parsed
        if not parsed.subgraphs or not parsed.buffers:
            raise ValueError("no graph")
        return ModelFile(
            description=_text(parsed.description),
            subgraphs=tuple(self._subgraph(graph) for graph in parsed.subgraphs),
            signatures=tuple(self._signature(definition) for definition in parsed.signatureDefs or ()),
            metadata={_text(entry.name): _bytes(self._buffer(entry.buffer)) for entry in parsed.metadata or ()},
            files=_appended(self._content),
            size=len(self._content),
        )

    def _subgraph(self, graph: Any) -> Subgraph:
        tensors = tuple(self._tensor(tensor) for tensor in graph.tensors)
        operators = tuple(self._operator(operator) for operator in graph.operators or ())
        inputs, outputs = _integers(graph.inputs), _integers(graph.outputs)
        used = [*inputs, *outputs, *(index for operator in operators for index in operator.inputs + operator.outputs)]
        if any(not -1 <= index < len(tensors) for index in used):
            raise ValueError("index of a tensor out of range")
        return Subgraph(_text(graph.name), tensors, inputs, outputs, operators)

    def _tensor(self, tensor: Any) -> Tensor:
        stored = tensor.quantization
        scales = () if stored is None else tuple(float(scale) for scale in _vector(stored.scale))
        return Tensor(
            name=_text(tensor.name),
            shape=_integers(tensor.shape),
            signature=_integers(tensor.shapeSignature),
            dtype=self._types.get(tensor.type, f"type {tensor.type}"),
            quantization=Quantization(scales, _integers(stored.zeroPoint), int(stored.quantizedDimension)) if scales else None,
            buffer=int(tensor.buffer),
            data=self._buffer(tensor.buffer),
            variable=bool(tensor.isVariable),
        )

    def _operator(self, operator: Any) -> Operator:
        code = self._parsed.operatorCodes[operator.opcodeIndex]
        # Operators up to 127: files from before 2020 have only the old field, newer ones have both.
        builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
        custom = builtin == self._custom
        return Operator(
            name=_text(code.customCode) if custom else self._operators.get(builtin, f"builtin {builtin}"),
            custom=custom,
            version=int(code.version),
            inputs=_integers(operator.inputs),
            outputs=_integers(operator.outputs),
            options={_snake(name): value for name, stored in _fields(operator.builtinOptions) if (value := _number(stored)) is not None},
            custom_bytes=len(_vector(operator.customOptions)),
        )

    def _signature(self, definition: Any) -> Signature:
        return Signature(
            key=_text(definition.signatureKey),
            subgraph=int(definition.subgraphIndex),
            inputs={_text(entry.name): int(entry.tensorIndex) for entry in definition.inputs or ()},
            outputs={_text(entry.name): int(entry.tensorIndex) for entry in definition.outputs or ()},
        )

    def _buffer(self, index: int) -> npt.NDArray[np.uint8] | None:
        buffer = self._parsed.buffers[index]
        if getattr(buffer, "offset", 0) > _OUTSIDE:
            if buffer.offset + buffer.size > len(self._content):
                raise ValueError("buffer out of range")
            return np.frombuffer(self._content, np.uint8, buffer.size, buffer.offset)
        # In TensorFlow Lite an empty buffer means no data.
        return np.asarray(buffer.data, np.uint8) if len(_vector(buffer.data)) else None


_NUMBERS = {"float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"}


_BEGUN_ZIP = re.compile(rb"PK\x03\x04[\x0a\x14\x2d]\x00[\x00-\xff]{2}[\x00\x08]\x00")
"""the header of a zip member: version 1.0, 2.0 or 4.5, stored or deflated"""


def _appended(content: bytes) -> dict[str, bytes]:
    """The files of the zip archive behind the flatbuffer. Raises ValueError if it is cut off."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        if _BEGUN_ZIP.search(content):
            raise ValueError("its zip has no end")
        return {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist() if not entry.is_dir()}


def _fields(options: Any) -> list[tuple[str, Any]]:
    return [] if options is None else list(vars(options).items())


def _number(stored: Any) -> int | float | bool | tuple[int, ...] | None:
    if isinstance(stored, bool | int | float):
        return stored
    if isinstance(stored, np.ndarray) and stored.dtype.kind == "i":
        return _integers(stored)
    return None


def _snake(name: str) -> str:
    return re.sub("([A-Z])", lambda letter: f"_{letter[1].lower()}", name)


def _integers(numbers: Any) -> tuple[int, ...]:
    return tuple(int(number) for number in _vector(numbers))


def _vector(numbers: Any) -> Any:
    """A vector of the schema as a sequence. The generated code gives None or 0 for one that the file does not have."""
    return () if numbers is None or isinstance(numbers, int) else numbers


def _text(value: bytes | str | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def _bytes(data: npt.NDArray[np.uint8] | None) -> bytes:
    return b"" if data is None else data.tobytes()
