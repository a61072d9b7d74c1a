"""Finding, cutting and changing linear layers of `.tflite` files."""

from pathlib import Path

import numpy as np

from converter.quantization.trial_model import TrialModel, load_model

PICTURE = np.random.default_rng(5).integers(0, 256, (32, 32, 3)).astype(np.uint8)


def outputs_of(model: bytes, picture: np.ndarray, scratch: Path) -> list[np.ndarray]:
    """Every output of a model, dequantized."""
    interpreter = load_model(model, scratch).interpreter
    np.copyto(interpreter.tensor(interpreter.get_input_details()[0]["index"])()[0], picture)
    interpreter.invoke()
    found = []
    for details in interpreter.get_output_details():
        scale, zero_point = details["quantization"]
        raw = interpreter.tensor(details["index"])().astype(np.float64)
        found.append((raw - zero_point) * scale if scale else raw)
    return found


def test_linear_layers_keep_their_names_when_quantized(converted: tuple[bytes, bytes]) -> None:
    from converter.tflite.layers import linear_layers

    float32, int8 = ([layer.name for layer in linear_layers(model)] for model in converted)
    assert float32 == int8
    assert ["narrow" in int8[0], "head" in int8[1]] == [True, True]


def test_a_model_cut_after_its_layers_gives_their_outputs(converted: tuple[bytes, bytes], tmp_path: Path) -> None:
    from converter.tflite.layers import cut_after, linear_layers
    from converter.tflite.metadata import unpack_model

    _, int8 = converted
    narrow, head = linear_layers(int8)
    of_narrow, of_head = outputs_of(cut_after(unpack_model(int8), [narrow, head]), PICTURE, tmp_path)
    assert of_narrow.shape == (1, 16, 16, 8)
    assert of_narrow.std() > 0
    np.testing.assert_allclose(of_head.reshape(-1), TrialModel(int8, ["a", "b", "c"], 32, tmp_path).logits([PICTURE])[0], rtol=1e-5)
    (alone,) = outputs_of(cut_after(unpack_model(int8), [narrow]), PICTURE, tmp_path)
    np.testing.assert_array_equal(alone, of_narrow)


def test_changing_a_bias_shifts_its_layer_and_no_other_byte(converted: tuple[bytes, bytes], tmp_path: Path) -> None:
    from converter.tflite.layers import add_to_bias, linear_layers

    _, int8 = converted
    head = linear_layers(int8)[-1]
    change = np.array([0.75, 0.0, -1.5])
    moved = add_to_bias(int8, head, change)
    before, after = (TrialModel(model, ["a", "b", "c"], 32, tmp_path).logits([PICTURE])[0] for model in (int8, moved))
    step = np.diff(np.unique(before)).min()
    np.testing.assert_allclose(after - before, change, atol=step)
    assert sum(a != b for a, b in zip(int8, moved, strict=True)) <= 8
    assert add_to_bias(moved, head, -change) == int8
