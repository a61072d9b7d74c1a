"""Measured value ranges of the tensors of a float model."""

from pathlib import Path

import numpy as np
import pytest

from converter.data.training_run import read_run
from converter.quantization.calibration_photos import NetworkInputs
from converter.quantization.trial_model import FloatModel

SIZE = 32


@pytest.fixture(scope="module")
def calibrated_once(shapes_run: Path, photos: Path) -> tuple[bytes, bytes]:
    from converter.quantization import tf_converter as tflite

    run = read_run(shapes_run, photos)
    with tflite.KerasNetwork(run.model, len(run.labels)).exported() as saved:
        return tflite.to_calibrated(saved, [NetworkInputs(run.train, SIZE)[0]]), tflite.to_float32(saved)


def test_output_ranges_are_the_extremes_of_the_logits(calibrated_once: tuple[bytes, bytes], shapes_run: Path, photos: Path, tmp_path: Path) -> None:
    from converter.quantization.ranges import measure_ranges
    from converter.tflite.metadata import unpack_model

    model, float32 = calibrated_once
    pictures = NetworkInputs(read_run(shapes_run, photos).train, SIZE)
    ranges = measure_ranges(model, pictures, tmp_path)
    logits = FloatModel(float32, tmp_path).predict(pictures)
    graph = unpack_model(model).subgraphs[0]
    found = sorted(ranges[int(number)] for number in graph.outputs)
    np.testing.assert_allclose(found, sorted((float(values.min()), float(values.max())) for values in logits.values()), rtol=1e-4)
    assert ranges[int(graph.inputs[0])] == (-1.0, 1.0)
    given = {int(number) for operator in graph.operators for number in operator.outputs}
    assert set(ranges) == given | {int(graph.inputs[0])}


def test_ranges_do_not_change_the_float_network(calibrated_once: tuple[bytes, bytes], shapes_run: Path, photos: Path, tmp_path: Path) -> None:
    pictures = NetworkInputs(read_run(shapes_run, photos).train[:4], SIZE)
    with_ranges, without = (FloatModel(model, tmp_path).predict(pictures) for model in calibrated_once)
    for name, values in without.items():
        np.testing.assert_array_equal(with_ranges[name], values)


def test_new_ranges_are_written_and_outputs_unchanged(calibrated_once: tuple[bytes, bytes]) -> None:
    from converter.quantization.ranges import with_ranges
    from converter.tflite.metadata import unpack_model

    model, _ = calibrated_once
    number = int(unpack_model(model).subgraphs[0].operators[0].outputs[0])
    before, after = unpack_model(model), unpack_model(with_ranges(model, {number: (-3.0, 5.0)}))
    quantization = after.subgraphs[0].tensors[number].quantization
    assert (quantization.min.tolist(), quantization.max.tolist()) == ([-3.0], [5.0])
    for ours, theirs in zip(before.buffers, after.buffers, strict=True):
        np.testing.assert_array_equal(ours.data if ours.data is not None else [], theirs.data if theirs.data is not None else [])


def test_a_range_sets_the_scale_of_its_tensor(calibrated_once: tuple[bytes, bytes]) -> None:
    from converter.quantization import tf_converter as tflite
    from converter.quantization.ranges import with_ranges
    from converter.tflite.metadata import unpack_model

    model, _ = calibrated_once
    graph = unpack_model(model).subgraphs[0]
    number = int(graph.operators[0].outputs[0])
    name = graph.tensors[number].name

    def scale(reach: float) -> float:
        quantized = unpack_model(tflite.quantize_calibrated(with_ranges(model, {number: (-reach, reach)}))).subgraphs[0]
        (tensor,) = [tensor for tensor in quantized.tensors if tensor.name == name]
        return float(tensor.quantization.scale[0])

    assert scale(20.0) == pytest.approx(4 * scale(5.0), rel=1e-5)
