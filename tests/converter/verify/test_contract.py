"""The checks of a model that do not run it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from converter.tflite.flatbuffer import ModelFile, Operator, Quantization, Tensor, parse_model, read_model
from converter.verify.contract import contract_checks, logits_step
from device.vision.inference.bundle import MODEL_FILE, BundleInfo, labels_text, read_bundle


@pytest.fixture(scope="module")
def info(shapes_bundle: Path) -> BundleInfo:
    return read_bundle(shapes_bundle).info


@pytest.fixture(scope="module")
def model(shapes_bundle: Path) -> ModelFile:
    return read_model(shapes_bundle / MODEL_FILE)


def wrong(model: ModelFile, info: BundleInfo) -> dict[str, str]:
    return {check.name: check.text for check in contract_checks(model, info) if check.good is False}


def with_tensor(model: ModelFile, index: int, **changes: Any) -> ModelFile:
    tensors = list(model.main.tensors)
    tensors[index] = replace(tensors[index], **changes)
    return replace(model, subgraphs=(replace(model.main, tensors=tuple(tensors)),))


def test_a_quantized_bundle_fulfils_the_contract(model: ModelFile, info: BundleInfo) -> None:
    found = {check.name: check for check in contract_checks(model, info)}
    assert set(found) == {"input", "outputs", "labels", "op versions"}
    assert wrong(model, info) == {}
    assert found["input"].text.startswith("uint8 1x32x32x3, scale 1/127.5, zero point 127")
    assert "CONV_2D v3" in found["op versions"].text
    assert 0 < (logits_step(model) or 0) < 1


def test_a_float_model_breaks_the_contract(converted: tuple[bytes, bytes], info: BundleInfo) -> None:
    found = wrong(parse_model(converted[0]), info)
    assert "found float32 1x32x32x3" in found["input"]
    assert "expected int8 or int16 with one scale, found float32" in found["outputs"]
    assert logits_step(parse_model(converted[0])) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "int8"}, "found int8 1x32x32x3"),
        ({"shape": (1, 32, 48, 3)}, "found uint8 1x32x48x3"),
        ({"signature": (-1, 32, 32, 3)}, r"found uint8 ?x32x32x3"),
        ({"quantization": Quantization((0.0064,), (127,), 0)}, "found scale 0.0064 and zero point 127"),
        ({"quantization": Quantization((1 / 127.5,), (128,), 0)}, "and zero point 128"),
        ({"quantization": None}, "found scale nan"),
    ],
)
def test_an_input_with_another_scale_is_wrong(model: ModelFile, info: BundleInfo, change: dict[str, Any], message: str) -> None:
    changed = with_tensor(model, model.main.inputs[0], **change)
    assert list(wrong(changed, info)) == ["input"]
    assert message in wrong(changed, info)["input"]


def second_input(model: ModelFile) -> ModelFile:
    return replace(model, subgraphs=(replace(model.main, inputs=model.main.inputs * 2),))


def without_signature(model: ModelFile) -> ModelFile:
    return replace(model, signatures=())


def with_new_operation(model: ModelFile) -> ModelFile:
    dense = Operator("FULLY_CONNECTED", False, 12, (), ())
    return replace(model, subgraphs=(replace(model.main, operators=(*model.main.operators, dense)),))


def with_other_labels(model: ModelFile) -> ModelFile:
    return replace(model, files={"labels.txt": b"disc\n"})


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        (second_input, "input", "found 2 inputs"),
        (without_signature, "outputs", "none with a name"),
        (with_new_operation, "op versions", "FULLY_CONNECTED version 12 is not in tflite-runtime 2.14.0"),
        (with_other_labels, "labels", "does not hold the labels of the bundle"),
    ],
)
def test_every_breach_is_named(model: ModelFile, info: BundleInfo, change: Callable[[ModelFile], ModelFile], name: str, message: str) -> None:
    found = wrong(change(model), info)
    assert list(found) == [name]
    assert message in found[name]


def test_labels_inside_the_model_are_compared(model: ModelFile, info: BundleInfo) -> None:
    same = replace(model, files={"labels.txt": labels_text(info.labels).encode()})
    (found,) = [check for check in contract_checks(same, info) if check.name == "labels"]
    assert found.good is True and "streifen ≡" in found.text


def test_logits_for_other_labels_are_wrong(model: ModelFile, info: BundleInfo) -> None:
    logits: Tensor = model.main.tensors[model.signatures[0].outputs["logits"]]
    changed = with_tensor(model, model.main.tensors.index(logits), shape=(1, 7))
    assert wrong(changed, info) == {"outputs": "logits: expected one for each of the 3 labels, found int8 1x7"}
