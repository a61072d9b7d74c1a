"""Reading `.tflite` files."""

import io
import sys
import zipfile
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.tflite.flatbuffer import ModelFileError, parse_model, read_model
from converter.tflite.metadata import pack_model, with_metadata
from converter.tflite.metadata_reader import ENTRY, parse_description
from device.vision.inference.bundle import MODEL_FILE, default_bundle


@pytest.fixture(scope="module")
def shipped() -> bytes:
    return (default_bundle() / MODEL_FILE).read_bytes()


def made(operators: int = 1) -> bytes:
    """A small model of dense layers. The first one has a scale for each output."""
    model, graph, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    model.version, model.description, model.metadata, model.signatureDefs = 3, "made by a test", [], []
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version, model.operatorCodes = 4, [code]
    model.buffers, graph.tensors, graph.operators = [schema.BufferT()], [tensor("in", [1, 2], 0, [0.5], [3])], []
    for number in range(operators):
        weights = schema.BufferT()
        weights.data = np.array([1, -2, 3, -4], np.int8).view(np.uint8)
        model.buffers.append(weights)
        graph.tensors += [
            tensor(f"weights {number}", [2, 2], number + 1, [0.1, 0.2], [0, 0]),
            tensor(f"out {number}", [1, 2], 0, [1.0], [-128]),
        ]
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = 0, [2 * number, 2 * number + 1, -1], [2 * number + 2]
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.FullyConnectedOptions, schema.FullyConnectedOptionsT()
        operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU
        graph.operators.append(operator)
    graph.name, graph.inputs, graph.outputs, model.subgraphs = "main", [0], [len(graph.tensors) - 1], [graph]
    return pack_model(model)


def tensor(name: str, shape: list[int], buffer: int, scales: list[float], zero_points: list[int]) -> schema.TensorT:
    one = schema.TensorT()
    one.name, one.shape, one.buffer, one.type = name, shape, buffer, schema.TensorType.INT8
    one.shapeSignature = [-1, *shape[1:]] if name == "in" else None
    one.quantization = schema.QuantizationParametersT()
    one.quantization.scale, one.quantization.zeroPoint = scales, zero_points
    return one


def test_a_model_is_read_as_written() -> None:
    model = parse_model(made(2))
    graph = model.main
    assert (model.description, len(model.subgraphs), graph.name, graph.inputs, graph.outputs) == ("made by a test", 1, "main", (0,), (4,))
    first = graph.operators[0]
    assert (first.name, first.version, first.custom, first.inputs, first.outputs) == ("FULLY_CONNECTED", 4, False, (0, 1, -1), (2,))
    assert first.options["fused_activation_function"] == schema.ActivationFunctionType.RELU
    given_, weights = graph.tensors[0], graph.tensors[1]
    assert (given_.shape, given_.signature, given_.dynamic, given_.data, given_.values()) == ((1, 2), (-1, 2), True, None, None)
    assert weights.quantization is not None
    assert (np.float32(weights.quantization.scales[1]), weights.quantization.zero_points, weights.quantization.axis) == (np.float32(0.2), (0, 0), 0)
    values = weights.values()
    assert values is not None and values.tolist() == [[1, -2], [3, -4]]


def test_the_shipped_model_is_read(shipped: bytes) -> None:
    model = parse_model(shipped)
    assert len(model.main.operators) == 76 and not any(one.custom for one in model.main.operators)
    signature = model.signatures[0]
    logits = model.main.tensors[signature.outputs["logits"]]
    assert (logits.shape, logits.dtype) == ((1, 6), "int8")
    assert model.main.tensors[signature.inputs["image"]].dtype == "uint8"
    assert sum(one.data.size for one in model.main.tensors if one.data is not None) < model.size == len(shipped)


def test_float_and_int8_models_are_read(converted: tuple[bytes, bytes]) -> None:
    floating, quantized = map(parse_model, converted)
    assert {one.dtype for one in floating.main.tensors if one.dtype != "int32"} == {"float32"}
    assert {one.dtype for one in quantized.main.tensors} == {"uint8", "int8", "int32"}
    assert [one.key for one in floating.signatures] == [one.key for one in quantized.signatures] == ["serving_default"]


def test_files_packed_with_the_model_are_found(shipped: bytes) -> None:
    labels = ["glas", "可回收物", "κουτί"]
    model = parse_model(with_metadata(made(), name="n", version="2", labels=labels, card="# Card\n"))
    assert model.files == {"labels.txt": "glas\n可回收物\nκουτί\n".encode(), "MODEL_CARD.md": b"# Card\n"}
    assert parse_model(shipped).main.operators == parse_model(shipped + zipped({"a/b.txt": b"1"})).main.operators
    assert parse_model(shipped + zipped({"a/b.txt": b"1"})).files == {"a/b.txt": b"1"}


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.mkdir("folder")
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def test_weights_after_the_flatbuffer_are_found() -> None:
    model = schema.ModelT.InitFromPackedBuf(made(), 0)
    weights = model.buffers[1].data
    model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, 1, 4
    place = -(-len(plainly_packed(model)) // 16) * 16
    model.buffers[1].offset = place
    content = plainly_packed(model).ljust(place, b"\0")
    found = parse_model(content + bytes(weights)).main.tensors[1].values()
    assert found is not None and found.tolist() == [[1, -2], [3, -4]]
    with pytest.raises(ModelFileError, match="damaged"):
        parse_model(content + bytes(weights)[:-1])


def plainly_packed(model: schema.ModelT) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_operators_newer_than_the_schema_are_numbered() -> None:
    model = schema.ModelT.InitFromPackedBuf(made(), 0)
    model.operatorCodes[0].builtinCode, model.operatorCodes[0].deprecatedBuiltinCode = 9999, 127
    assert parse_model(pack_model(model)).main.operators[0].name == "builtin 9999"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "m.tflite: empty; expected a TensorFlow Lite model"),
        (b"TFL3", "m.tflite: not a TensorFlow Lite model"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "m.tflite: not a TensorFlow Lite model"),
        (b"\x1c\0\0\0TFL3" + bytes(64), "m.tflite: a damaged TensorFlow Lite model"),
        (b"\xff\xff\xff\xffTFL3" + bytes(64), "m.tflite: a damaged TensorFlow Lite model"),
    ],
)
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "m.tflite"
    file.write_bytes(content)
    with pytest.raises(ModelFileError) as raised:
        read_model(file)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no\.tflite: No such file"):
        read_model(tmp_path / "no.tflite")
    with pytest.raises(ModelFileError, match="Is a directory"):
        read_model(tmp_path)


def test_without_a_schema_package_the_error_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ai_edge_litert.schema_py_generated", "tensorflow.lite.python.schema_py_generated"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModelFileError, match="install ai-edge-litert"):
        parse_model(made())


def test_a_truncated_model_is_refused(shipped: bytes) -> None:
    for end in [*range(1, 64, 7), *range(64, len(shipped), len(shipped) // 20), len(shipped) - 1]:
        with pytest.raises(ModelFileError):
            parse_model(shipped[:end])


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(8, 4095), st.integers(0, 255)), min_size=1, max_size=4))
def test_random_byte_changes_give_a_model_or_a_clear_error(changes: list[tuple[int, int]]) -> None:
    content = bytearray(made())
    for place, value in changes:
        content[8 + place % (len(content) - 8)] = value
    try:
        model = parse_model(bytes(content))
    except ModelFileError:
        return
    assert all(-1 <= index < len(model.main.tensors) for one in model.main.operators for index in one.inputs + one.outputs)


def test_an_index_out_of_range_is_refused() -> None:
    model = schema.ModelT.InitFromPackedBuf(made(), 0)
    model.subgraphs[0].operators[0].outputs = [99]
    with pytest.raises(ModelFileError, match="damaged"):
        parse_model(pack_model(model))


@pytest.fixture(scope="module")
def metadata() -> bytes:
    """The metadata of a classifier, as `with_metadata` writes it."""
    content = with_metadata(made(), name="kitchen", version="1.2", labels=["a", "b"], card="# Card\n")
    return parse_model(content).metadata[ENTRY]


def test_metadata_has_files_and_normalization(metadata: bytes) -> None:
    found = parse_description(metadata)
    assert (found.name, found.version, found.labels_file) == ("kitchen", "1.2", "labels.txt")
    assert [file.name for file in found.all_files] == ["MODEL_CARD.md", "labels.txt"]
    assert (found.inputs[0].mean, found.inputs[0].std) == ((127.5,), (127.5,))


@settings(max_examples=300)
@given(data=st.data())
def test_damaged_metadata_gives_a_description_or_a_clear_error(metadata: bytes, data: st.DataObject) -> None:
    content = bytearray(metadata)
    for place in data.draw(st.lists(st.integers(8, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(8, len(content)))
    try:
        found = parse_description(bytes(content[:end]))
    except ModelFileError:
        return
    assert isinstance(found.name, str)


def test_metadata_of_another_kind_is_refused() -> None:
    with pytest.raises(ModelFileError, match="bytes 4 to 8 are not M001"):
        parse_description(b"1.5.0\0\0\0")
