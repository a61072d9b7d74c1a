"""Errors of single layers of an INT8 model."""

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converter.data.training_run import read_run
from converter.quantization.calibration_photos import NetworkInputs
from converter.quantization.layer_errors import layer_errors
from converter.tflite.layers import linear_layers

SIZE = 32


@pytest.fixture(scope="module")
def pictures(shapes_run: Path, photos: Path) -> NetworkInputs:
    return NetworkInputs(read_run(shapes_run, photos).val[:6], SIZE)


def test_a_network_that_quantizes_well_has_small_errors_everywhere(converted: tuple[bytes, bytes], pictures: NetworkInputs) -> None:
    layers = layer_errors(*converted, pictures)
    assert len(layers) >= 6
    assert {"CONV_2D", "MEAN"} <= {layer.op for layer in layers}
    assert all(0 <= layer.error < 0.2 for layer in layers)


def test_a_damaged_layer_adds_the_most_error(converted: tuple[bytes, bytes], pictures: NetworkInputs) -> None:
    float32, int8 = converted
    (narrow,) = [layer for layer in linear_layers(int8) if "narrow" in layer.name]
    before = next(layer for layer in layer_errors(float32, int8, pictures) if layer.name == narrow.name)
    first = layer_errors(float32, with_coarse_weights(int8, narrow.name), pictures)[0]
    assert first.name == narrow.name
    assert first.added > 3 * before.error


def with_coarse_weights(model: bytes, name: str) -> bytes:
    """The layer's weights rounded to four steps instead of 255, as with a range that is too wide."""
    content = bytearray(model)
    graph = schema.Model.GetRootAsModel(content, 0).Subgraphs(0)
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        if graph.Tensors(operator.Outputs(0)).Name().decode() == name:
            buffer = graph.Tensors(operator.Inputs(1)).Buffer()
            weights = schema.Model.GetRootAsModel(content, 0).Buffers(buffer).DataAsNumpy().view(np.int8)
            weights[:] = np.clip(np.rint(weights / 64), -1, 1) * 64
            return bytes(content)
    raise AssertionError(name)
