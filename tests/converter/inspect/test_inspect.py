"""`converter inspect`."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from converter.cli import main
from converter.tflite.metadata import with_metadata
from device.vision.inference.bundle import EDGETPU_FILE, MODEL_FILE, EdgeTpu, OperationMapping, default_bundle, read_bundle, write_bundle
from tests.converter.edgetpu.conftest import compiled_from


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The shipped model with labels and card packed in it, without a bundle."""
    file = tmp_path / "model.tflite"
    content = (default_bundle() / MODEL_FILE).read_bytes()
    file.write_bytes(with_metadata(content, name="home", version="3", labels=["α", "b", "c", "d", "e", "f"], card="# Card\n"))
    return file


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["inspect", *arguments]) == 0
    return capsys.readouterr().out


def test_text_shows_inputs_operations_layers_and_labels(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [" ".join(line.split()) for line in shown(capsys, str(model)).splitlines()]
    assert "input image uint8 1x224x224x3 0.00784314 127" in lines
    assert any(re.fullmatch(r"output logits int8 1x6 0\.0\d+ -?\d+", line) for line in lines)
    assert "DEPTHWISE_CONV_2D 3 19 114.97 KiB" in lines
    head = r"74 CONV_2D 1x1x1x6 int8 0\.0\d+ -?\d+ int8 6x1x1x2560 6 of 0\.0\d+ to 0\.0\d+ 15\.02 KiB.*"
    assert any(re.fullmatch(head, line) for line in lines)
    assert "labels (6): α, b, c, d, e, f" in lines
    assert "name: home" in lines and "version: 3" in lines and "file MODEL_CARD.md: 7 B" in lines
    assert not any("Edge TPU" in line for line in lines)


def test_a_bundles_folder_can_be_inspected(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, str(default_bundle()), "--edgetpu")
    assert "bundle trashnet" in out and "76 of 76 operations on the Edge TPU" in out


def test_json_has_every_tensor_with_all_scales(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(capsys, str(model), "--json", "--edgetpu"))
    weights = found["tensors"][found["layers"][74]["weights"]]
    assert (weights["shape"], len(weights["scales"]), weights["axis"], weights["bytes"]) == ([6, 1, 1, 2560], 6, 0, 15360)
    assert found["labels"][0] == "α" and found["description"]["inputs"][0]["mean"] == [127.5]
    assert len(found["edgetpu"]["fates"]) == 76 and {fate["status"] for fate in found["edgetpu"]["fates"]} == {"Mapped to Edge TPU"}
    constants = {index for layer in found["layers"] if layer["weights"] is not None for index in [layer["weights"]]}
    assert sum(layer["bytes"] for layer in found["layers"]) >= sum(found["tensors"][index]["bytes"] for index in constants)
    assert sum(operation["count"] for operation in found["operations"]) == len(found["layers"]) == 76
    assert sum(operation["bytes"] for operation in found["operations"]) == sum(layer["bytes"] for layer in found["layers"]) < found["bytes"]


def test_a_float_model_shows_why_nothing_maps(converted: tuple[bytes, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "float.tflite"
    file.write_bytes(converted[0])
    out = shown(capsys, str(file), "--edgetpu")
    assert "Operation is working on an unsupported data type" in out
    assert "works on float32; the Edge TPU takes int8 and uint8" in out
    assert out.splitlines()[-1].startswith("0 of ")
    assert "labels: none in the file" in out


def test_a_compiled_model_shows_the_size_of_its_operation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x_edgetpu.tflite"
    file.write_bytes(compiled_from((default_bundle() / MODEL_FILE).read_bytes()))
    out = shown(capsys, str(file))
    assert "compiled for the Edge TPU; operations left on the CPU: 0" in out
    assert "edgetpu-custom-op" in out and "200 B" in out
    assert main(["inspect", str(file), "--edgetpu"]) == 2
    assert "compiled for the Edge TPU already" in capsys.readouterr().err


def test_a_file_named_by_the_metadata_but_missing_is_shown(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = model.read_bytes()
    model.write_bytes(content[: content.index(b"PK\x03\x04")])
    assert "file labels.txt: named by the metadata, but not packed with the model" in shown(capsys, str(model))


def test_a_wrong_input_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photo.tflite").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF")
    shutil.copytree(default_bundle(), tmp_path / "bundle")
    (tmp_path / "bundle" / "labels.txt").write_text("other\n")
    for name in ("photo.tflite", "nowhere.tflite", "bundle"):
        assert main(["inspect", str(tmp_path / name)]) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 3 and all(line.startswith("converter inspect: ") for line in err)
    assert "not a TensorFlow Lite model" in err[0] and "No such file" in err[1] and "labels.txt: sha256" in err[2]


def test_inspect_does_not_import_tensorflow() -> None:
    code = f"import sys, converter.cli as c; c.main(['inspect', {str(default_bundle())!r}, '--edgetpu']); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_a_bundles_compiled_model_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(default_bundle(), tmp_path / "bundle"))
    (folder / EDGETPU_FILE).write_bytes(b"compiled")
    edgetpu = EdgeTpu(
        "16.0",
        66,
        1,
        None,
        None,
        (OperationMapping("CONV_2D", 66, "Mapped to Edge TPU"), OperationMapping("MEAN", 1, "Operation version not supported")),
    )
    write_bundle(folder, msgspec.structs.replace(read_bundle(folder).info, edgetpu=edgetpu))
    lines = shown(capsys, str(folder)).splitlines()
    assert f"{EDGETPU_FILE}: 66 of 67 operations on the Edge TPU, compiler 16.0" in lines
    assert [line for line in lines if "on the CPU" in line] == ["  1 x MEAN on the CPU: Operation version not supported"]
