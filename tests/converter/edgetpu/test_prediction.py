"""The predicted mapping to the Edge TPU."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.edgetpu import compiler_status as status
from converter.edgetpu.graph import CUSTOM_OP, Graph, GraphTensor, Operation, build_graph
from converter.edgetpu.prediction import ON_CHIP_BYTES, AlreadyCompiledError, predict
from converter.edgetpu.rules import refusal
from converter.tflite.flatbuffer import ModelFile, Operator, Quantization, Subgraph, Tensor, read_model
from device.vision.inference.bundle import MODEL_FILE, default_bundle
from tests.converter.edgetpu.collect_pairs import Pair

PAIRS = [msgspec.json.decode(line, type=Pair) for line in (Path(__file__).parent / "public_pairs.jsonl").read_bytes().splitlines()]

PICTURE = GraphTensor("int8", (1, 8, 8, 4), scales=1)
WEIGHTS = GraphTensor("int8", (4, 1, 1, 4), scales=4, constant=True)
BIAS = GraphTensor("int32", (4,), scales=4, constant=True)


def small(*values: int) -> GraphTensor:
    return GraphTensor("int32", (len(values),), constant=True, values=values)


def graph(name: str, inputs: list[GraphTensor | None], outputs: list[GraphTensor], version: int = 1, **options: int) -> Graph:
    """A graph of one operation."""
    tensors = [tensor for tensor in inputs if tensor is not None] + outputs
    places = iter(range(len(tensors)))
    taken = tuple(-1 if tensor is None else next(places) for tensor in inputs)
    return Graph(tuple(tensors), (Operation(name, version, taken, tuple(places), options),), 1)


def why(one: Graph) -> tuple[str, str]:
    found = refusal(one, one.operations[0])
    return (found.status, found.reason) if found else (status.MAPPED, "")


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.repository}/{pair.file}")
def test_the_prediction_matches_the_compiler_for_published_models(pair: Pair) -> None:
    assert tuple(fate.number for fate in predict(pair.graph).on_cpu) == pair.on_cpu


def test_there_are_28_distinct_published_models() -> None:
    assert len({(pair.sha256, pair.compiled_sha256) for pair in PAIRS}) == len(PAIRS) == 28
    whole = [pair.file for pair in PAIRS if not pair.on_cpu]
    assert len(whole) == 14
    assert [file for file in whole if "mobilenet_v2" in file] == [pair.file for pair in PAIRS if "mobilenet_v2" in pair.file] != []


def test_all_of_the_default_bundle_maps_and_fits() -> None:
    prediction = predict(build_graph(read_model(default_bundle() / MODEL_FILE)))
    assert (prediction.mapped, prediction.on_cpu, prediction.cautions) == (76, (), ())
    assert 3_000_000 < prediction.parameter_bytes < 4_000_000 and prediction.fits


@pytest.mark.parametrize(
    ("one", "words", "reason"),
    [
        (graph("GATHER", [PICTURE, small(1)], [PICTURE]), status.NOT_SUPPORTED, "no such operation"),
        (graph("DEQUANTIZE", [PICTURE], [GraphTensor("float32", (1, 4))]), status.DATA_TYPE, "floating point"),
        (graph("QUANTIZE", [GraphTensor("float32", (1, 4))], [GraphTensor("int8", (1, 4), 1)]), status.LIMITATION, "works on float32"),
        (graph("ADD", [GraphTensor("int16", (1, 4), 1)] * 2, [GraphTensor("int16", (1, 4), 1)]), status.DATA_TYPE, "works on int16"),
        (graph("CONV_2D", [PICTURE, WEIGHTS, BIAS], [PICTURE], version=6), status.VERSION, "version 6; the compiler knows up to 5"),
        (graph("CONV_2D", [PICTURE, PICTURE, BIAS], [PICTURE]), status.NOT_CONSTANT, "computed while the model runs"),
        (graph("CONV_2D", [PICTURE, GraphTensor("int4", (4, 1, 1, 4), 4, True), BIAS], [PICTURE]), status.DATA_TYPE, "weights are int4"),
        (graph("CONV_2D", [PICTURE, WEIGHTS, BIAS], [PICTURE], dilation_w_factor=2), status.LIMITATION, "dilated 1 down and 2 across"),
        (graph("LOGISTIC", [GraphTensor("int8", (2, 8, 8, 4), 1)], [GraphTensor("int8", (2, 8, 8, 4), 1)]), status.RANK, "the batch must be 1"),
        (graph("TANH", [GraphTensor("int8", (1, 4), 1, dynamic=True)], [GraphTensor("int8", (1, 4), 1)]), status.LIMITATION, "is open"),
        (graph("MAX_POOL_2D", [PICTURE], [PICTURE], fused_activation_function=1), status.LIMITATION, "fused activation"),
        (graph("CONCATENATION", [PICTURE, GraphTensor("int8", (1, 8, 8, 4), 1, True)], [PICTURE]), status.LIMITATION, "joins a constant"),
        (graph("FULLY_CONNECTED", [PICTURE, WEIGHTS, None], [GraphTensor("int8", (2, 4), 1)]), status.LIMITATION, "gives 2x4"),
        (graph("FULLY_CONNECTED", [PICTURE, WEIGHTS, BIAS], [GraphTensor("int8", (1, 4), 1)], weights_format=1), status.LIMITATION, "shuffled"),
        (graph("SOFTMAX", [GraphTensor("int8", (1, 16001), 1)], [GraphTensor("int8", (1, 16001), 1)]), status.LIMITATION, "up to 16000"),
        (graph("SOFTMAX", [GraphTensor("int8", (1, 5, 5), 1)], [GraphTensor("int8", (1, 5, 5), 1)]), status.LIMITATION, "works on 1x5x5"),
        (graph("MEAN", [PICTURE, small(0, 1)], [PICTURE]), status.LIMITATION, "along the batch"),
        (graph("MEAN", [GraphTensor("int8", (1, 8, 8, 6), 1), small(-1)], [PICTURE]), status.LIMITATION, "mean over 6 channels"),
        (graph("PAD", [PICTURE, GraphTensor("int32", (4, 2), constant=True, values=(1, 0, 0, 0, 0, 0, 0, 0))], [PICTURE]), status.LIMITATION, "pads"),
        (graph("SPLIT", [small(0), PICTURE], [PICTURE, PICTURE]), status.LIMITATION, "splits the batch"),
        (graph("PACK", [PICTURE, PICTURE], [PICTURE], axis=-4), status.LIMITATION, "packs along the batch"),
        (graph("RESIZE_BILINEAR", [PICTURE, small(132, 132)], [GraphTensor("int8", (1, 132, 132, 4), 1)]), status.LIMITATION, "8x8 to 132x132"),
        (graph("STRIDED_SLICE", [PICTURE, small(0), small(8), small(2)], [PICTURE]), status.LIMITATION, "every so many-th"),
        (graph("PRELU", [PICTURE, GraphTensor("int8", (8, 8, 4), 1, True)], [PICTURE]), status.LIMITATION, "differs from place to place"),
        (graph("TRANSPOSE_CONV", [small(1, 8, 8, 4), PICTURE, PICTURE], [PICTURE]), status.NOT_CONSTANT, "computed"),
    ],
)
def test_cpu_operations_have_a_status_and_reason(one: Graph, words: str, reason: str) -> None:
    assert why(one)[0] == words
    assert reason in why(one)[1]


@pytest.mark.parametrize(
    "one",
    [
        graph("CONV_2D", [PICTURE, WEIGHTS, BIAS], [PICTURE], version=5, dilation_w_factor=2, dilation_h_factor=2, fused_activation_function=3),
        graph("FULLY_CONNECTED", [PICTURE, WEIGHTS, None], [GraphTensor("int8", (1, 4), 1)], version=4),
        graph("CONCATENATION", [PICTURE, GraphTensor("int8", (1, 8, 8, 4), 1, True, zeros=True)], [PICTURE]),
        graph("MEAN", [PICTURE, small(1, 2)], [PICTURE]),
        graph("MEAN", [PICTURE, small(3)], [PICTURE]),
        graph("PAD", [PICTURE, GraphTensor("int32", (4, 2), constant=True, values=(0, 0, 1, 1, 1, 1, 0, 0))], [PICTURE]),
        graph("SPLIT", [small(3), PICTURE], [PICTURE, PICTURE]),
        graph("PACK", [PICTURE, PICTURE], [PICTURE], axis=3),
        graph("RESIZE_NEAREST_NEIGHBOR", [PICTURE, small(16, 16)], [GraphTensor("int8", (1, 16, 16, 4), 1)]),
        graph("STRIDED_SLICE", [PICTURE, small(0), small(8), small(1)], [PICTURE]),
        graph("SOFTMAX", [GraphTensor("uint8", (1, 16000), 1)], [GraphTensor("uint8", (1, 16000), 1)]),
        graph("TRANSPOSE_CONV", [small(1, 8, 8, 4), WEIGHTS, PICTURE], [PICTURE]),
    ],
    ids=lambda one: one.operations[0].name,
)
def test_operations_within_the_limits_are_mapped(one: Graph) -> None:
    assert why(one) == (status.MAPPED, "")


@st.composite
def webs(draw: st.DrawFn) -> Graph:
    """Random graphs of operations that the Edge TPU has (ADD) and has not (a custom one)."""
    operations = []
    for place in range(draw(st.integers(1, 14))):
        inputs = draw(st.lists(st.integers(0, place), min_size=1, max_size=2))
        custom = draw(st.booleans())
        operations.append(Operation("Home" if custom else "ADD", 1, tuple(inputs), (place + 1,), custom=custom))
    return Graph((PICTURE,) * (len(operations) + 1), tuple(operations), 1)


@settings(max_examples=150)
@given(webs())
def test_the_mapped_operations_are_one_piece(web: Graph) -> None:
    fates = predict(web).fates
    before: dict[int, set[int]] = {}
    for place, operation in enumerate(web.operations):
        direct = {tensor - 1 for tensor in operation.inputs if tensor > 0}
        before[place] = direct.union(*(before[earlier] for earlier in direct))
    for place, fate in enumerate(fates):
        returns = any(not fates[home].mapped and any(fates[tpu].mapped for tpu in before[home]) for home in before[place])
        assert fate.mapped == (fate.name == "ADD" and not returns)
        assert (fate.status == status.SUBGRAPH) == (fate.name == "ADD" and returns)


def test_a_file_with_two_graphs_maps_nothing() -> None:
    one = graph("TANH", [PICTURE], [PICTURE])
    assert [fate.status for fate in predict(msgspec.structs.replace(one, subgraphs=2)).fates] == [status.SUBGRAPH]


def test_shared_parameters_of_mapped_operations_count_once() -> None:
    shared = Graph(
        (PICTURE, WEIGHTS, BIAS, PICTURE, PICTURE, GraphTensor("int8", (1024, 1024, 9), 1, True), PICTURE),
        (Operation("CONV_2D", 3, (0, 1, 2), (3,)), Operation("CONV_2D", 3, (3, 1, 2), (4,)), Operation("Own", 1, (4, 5), (6,), custom=True)),
        1,
    )
    assert predict(shared).parameter_bytes == 16 + 16
    large = graph("FULLY_CONNECTED", [PICTURE, GraphTensor("int8", (1024, 1024, 9), 1, True), None], [GraphTensor("int8", (1, 1024), 1)])
    assert predict(large).parameter_bytes == 9 * 1024**2 > ON_CHIP_BYTES and not predict(large).fits


def test_a_dense_layer_with_per_channel_scales_is_cautioned() -> None:
    dense = graph("FULLY_CONNECTED", [PICTURE, WEIGHTS, BIAS], [GraphTensor("int8", (1, 4), 1)])
    assert "1x1 convolution" in predict(dense).cautions[0]


def test_a_compiled_model_is_refused() -> None:
    with pytest.raises(AlreadyCompiledError, match="compiled for the Edge TPU already"):
        predict(Graph((PICTURE,), (Operation(CUSTOM_OP, 1, (0,), (0,), custom=True),), 1))


def test_the_graph_survives_json() -> None:
    whole = build_graph(read_model(default_bundle() / MODEL_FILE))
    assert msgspec.json.decode(msgspec.json.encode(whole), type=Graph) == whole


def stored(signature: tuple[int, ...], dtype: str = "int8", data: list[int] | None = None) -> Tensor:
    """A tensor of a file. -1 in its signature is an open size, stored as 1."""
    held = None if data is None else np.array(data, dtype).view(np.uint8)
    shape = tuple(max(size, 1) for size in signature)
    scale = Quantization((0.1,), (0,), 0) if dtype == "int8" else None
    return Tensor("", shape, signature if -1 in signature else (), dtype, scale, 0, held, variable=False)


def open_batch(*, second: int = 8) -> ModelFile:
    """A flattened map before a dense layer, as Keras exports it: the batch size is computed from the shape of the map."""
    tensors = (
        stored((-1, second, 8, 4)),
        stored((4,), "int32"),
        stored((1,), "int32", [0]),
        stored((), "int32"),
        stored((), "int32", [256]),
        stored((2,), "int32"),
        stored((-1, 256)),
        stored((4, 256), data=[1] * 1024),
        stored((-1, 4)),
    )
    operators = (
        Operator("RELU", False, 2, (0,), (0,)),
        Operator("SHAPE", False, 1, (0,), (1,)),
        Operator("STRIDED_SLICE", False, 1, (1, 2, 2, 2), (3,)),
        Operator("PACK", False, 1, (3, 4), (5,)),
        Operator("RESHAPE", False, 1, (0, 5), (6,)),
        Operator("FULLY_CONNECTED", False, 4, (6, 7, -1), (8,)),
    )
    return ModelFile("", (Subgraph("main", tensors, (0,), (8,), operators),), (), {}, {}, 0)


def test_an_open_batch_is_predicted_as_one() -> None:
    prediction = predict(build_graph(open_batch()))
    assert [(fate.number, fate.mapped) for fate in prediction.fates] == [(0, True), (4, True), (5, True)]
    assert prediction.cautions[0].startswith("its batch size is open; predicted for a batch of 1, without 3 operations that compute sizes")


def test_other_open_sizes_stay_on_the_cpu() -> None:
    prediction = predict(build_graph(open_batch(second=-1)))
    assert {"RELU", "SHAPE", "RESHAPE"} <= {fate.name for fate in prediction.on_cpu}
    assert "is open" in prediction.on_cpu[0].reason
