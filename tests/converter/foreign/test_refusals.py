"""Unusable models are refused in one line with a cure, before TensorFlow is imported if the file alone shows it."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import pytest
from keras import layers

from converter.cli import main
from converter.common.network_error import NetworkError
from converter.foreign.file_checks import require_model
from converter.foreign.foreign_model import ForeignClassifier

LABELS = 3
SIZE = 24
WIDTH = 120
"""most characters of a message without the file's name"""


def features(start: keras.KerasTensor) -> keras.KerasTensor:
    return layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(start))


def image() -> keras.KerasTensor:
    return keras.Input((SIZE, SIZE, 3))


@pytest.fixture
def model() -> keras.Model:
    start = image()
    return keras.Model(start, layers.Dense(LABELS)(features(start)))


class Doubled(layers.Layer):  # type: ignore[misc]
    """A custom layer that is not registered."""

    def call(self, signal: keras.KerasTensor) -> keras.KerasTensor:
        return signal * 2


@keras.saving.register_keras_serializable(package="theirs")
class Packed(Doubled):
    """A custom layer that is registered in the program that wrote the file, like those of AutoKeras."""


def own_layer() -> keras.Model:
    start = image()
    return keras.Model(start, layers.Dense(LABELS)(features(Doubled()(start))))


def packed_layer() -> keras.Model:
    start = image()
    return keras.Model(start, layers.Dense(LABELS)(features(Packed()(start))))


def a_lambda() -> keras.Model:
    start = image()
    return keras.Model(start, layers.Dense(LABELS)(features(layers.Lambda(lambda pixels: pixels / 255)(start))))


def channels_first() -> keras.Model:
    start = keras.Input((3, SIZE, SIZE))
    return keras.Model(start, layers.Dense(LABELS)(features(layers.Permute((2, 3, 1))(start))))


def flat() -> keras.Model:
    start = keras.Input((784,))
    return keras.Model(start, layers.Dense(LABELS)(start))


def a_number() -> keras.Model:
    start = image()
    return keras.Model(start, keras.ops.argmax(layers.Dense(LABELS)(features(start)), -1))


def no_size() -> keras.Model:
    return keras.Sequential([layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(LABELS)])


def a_loop() -> keras.Model:
    start = image()
    rows = layers.Reshape((-1, 6))(layers.Conv2D(6, 5, strides=5)(start))
    return keras.Model(start, layers.Dense(LABELS)(layers.LSTM(4)(rows)))


def refusal(path: Path) -> str:
    """The error message for a path."""
    with pytest.raises(NetworkError) as raised:
        ForeignClassifier(path, LABELS).network("-1,1")
    line = str(raised.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line and len(line.removeprefix(f"{path}: ")) <= WIDTH
    return line


@pytest.mark.parametrize(
    ("build", "form", "expected"),
    [
        (own_layer, "keras", "the custom layer Doubled, whose code is not in Keras; write a SavedModel"),
        (own_layer, "h5", "the custom layer Doubled, whose code is not in Keras; write a SavedModel"),
        (packed_layer, "keras", "the custom layer Packed, whose code is not in Keras; write a SavedModel"),
        (a_lambda, "keras", "a Lambda layer, whose code is not in Keras; write a SavedModel"),
        (a_lambda, "h5", "a Lambda layer, whose code is not in Keras; write a SavedModel"),
        (channels_first, "keras", "takes channels first"),
        (flat, "keras", "expected an input of (batch, height, width, 3)"),
        (a_number, "keras", "gives whole numbers (ArgMax), not a value for each label"),
        (a_loop, "keras", "runs in loops or branches, as LSTM and GRU layers do"),
        (no_size, "keras", "its input was never given a size"),
    ],
)
@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_an_unsupported_model_is_refused_in_one_line(build: Callable[[], keras.Model], form: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / f"theirs.{form}"
    build().save(path)
    registered = dict(keras.saving.get_custom_objects())
    keras.saving.get_custom_objects().clear()  # as in a process that knows nothing of them
    try:
        line = refusal(path)
    finally:
        keras.saving.get_custom_objects().update(registered)
    assert expected in line


def test_a_model_exported_with_augmentation_is_refused(tmp_path: Path) -> None:
    start = image()
    model = keras.Model(start, layers.Dense(LABELS)(features(layers.RandomRotation(0.2)(layers.RandomFlip()(start)))))
    model.export(tmp_path / "theirs", verbose=False)
    assert "exported while it augments pictures" in refusal(tmp_path / "theirs")


def test_an_operation_that_tensorflow_lite_lacks_is_named(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = image()
    found = features(start)
    model = keras.Model(start, layers.Dense(LABELS)(keras.ops.logaddexp(found, keras.ops.erfinv(found / 100))))
    model.save(tmp_path / "theirs.keras")
    assert main(order(tmp_path / "theirs.keras", photos, tmp_path)) == 2
    error = capsys.readouterr().err
    assert "TensorFlow Lite has no operation Erfinv" in error and error.count("\n") == 1


def test_a_constant_network_is_refused(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = image()
    dead = layers.Dense(LABELS, activation="relu", bias_initializer=keras.initializers.Constant(-1e3))
    keras.Model(start, layers.Softmax()(dead(features(start)))).save(tmp_path / "theirs.keras")
    assert main(order(tmp_path / "theirs.keras", photos, tmp_path)) == 2
    assert "photos the same values; it has learnt nothing" in capsys.readouterr().err


def order(model: Path, photos: Path, folder: Path) -> list[str]:
    labels = folder / "labels.txt"
    labels.write_text("disc\nframe\nstreifen ≡\n", encoding="utf-8")
    return ["quantize", str(model), "--labels", str(labels), "--data", str(photos), "--out", str(folder / "bundle")]


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def archive(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for name, text in files.items():
            opened.writestr(name, text)
    return path


def weights(folder: Path) -> Path:
    with h5py.File(folder / "model.weights.h5", "w") as opened:
        opened["layers"] = [1.0]
    return folder / "model.weights.h5"


def folder_with(folder: Path, *names: str) -> Path:
    (folder / "theirs").mkdir()
    for name in names:
        (folder / "theirs" / name).write_text("")
    return folder / "theirs"


KERAS_2 = {
    "metadata.json": '{"keras_version": "2.15.0"}',
    "config.json": '{"class_name": "Functional", "config": {"layers": [{"class_name": "TFOpLambda"}]}}',
}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda folder: folder / "gone.keras", "No such file or directory; expected a Keras model (.keras, .h5) or the folder of a SavedModel"),
        (lambda folder: written(folder / "a.keras", b""), "empty; copy it again"),
        (lambda folder: written(folder / "a.keras", b"hello, world"), "not a Keras model"),
        (lambda folder: written(folder / "a.keras", b"PK\x03\x04cut off"), "a damaged file"),
        (lambda folder: written(folder / "a.h5", b"\x89HDF\r\n\x1a\ncut off"), "a damaged HDF5 file"),
        (lambda folder: written(folder / "a.tflite", b"\x1c\0\0\0TFL3rest"), "TensorFlow Lite already"),
        (lambda folder: written(folder / "a.onnx", b"\x08\x07\x12\x07pytorch"), "an ONNX model"),
        (lambda folder: archive(folder / "a.pt", {"archive/data.pkl": ""}), "a PyTorch file"),
        (
            lambda folder: archive(folder / "converted_keras.zip", {"keras_model.h5": "", "labels.txt": ""}),
            "unpack it and name what is in it: keras_model.h5",
        ),
        (lambda folder: written(folder / "model.json", b'{"class_name": "Sequential"}'), "describes a model without its weights"),
        (lambda folder: written(folder / "saved_model.pb", b"\x08\x01\x12\x00xxxx"), "expected the folder of a SavedModel"),
        (weights, "holds weights only; build the model, model.load_weights(...), model.save('model.keras')"),
        (lambda folder: archive(folder / "a.keras", KERAS_2), "a TFOpLambda of Keras 2, whose code is not in Keras; write a SavedModel"),
        (lambda folder: folder_with(folder), "not a SavedModel: it holds no saved_model.pb"),
        (lambda folder: folder_with(folder, "keras_model.h5"), "name what lies in it"),
        (lambda folder: folder_with(folder, "model.json"), "a TensorFlow.js model"),
        (lambda folder: folder_with(folder, "labels.txt", "train.txt"), "leave out --labels and --pixels"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(make: Callable[[Path], Path], expected: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(NetworkError) as raised:
        require_model(path)
    line = str(raised.value).removeprefix(f"{path}: ")
    assert expected in line and "\n" not in line and len(line.replace(str(tmp_path), "")) <= WIDTH


def test_a_wrong_file_is_refused_before_tensorflow_starts(photos: Path, tmp_path: Path) -> None:
    code = "import sys, converter.cli as c\nfor order in eval(sys.argv[1]): print(c.main(order))\nprint({'tensorflow', 'keras'} & set(sys.modules))"
    orders = [
        order(tmp_path / "gone.keras", photos, tmp_path),
        order(weights(tmp_path), photos, tmp_path),
        order(archive(tmp_path / "old.keras", KERAS_2), photos, tmp_path),
    ]
    found = subprocess.run([sys.executable, "-c", code, repr(orders)], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["2", "2", "2", "set()"]
    assert found.stderr.count("\n") == 3


def test_a_foreign_model_without_labels_is_refused(model: keras.Model, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.save(tmp_path / "theirs.keras")
    assert main(["quantize", str(tmp_path / "theirs.keras"), "--data", str(photos), "--out", str(tmp_path / "bundle")]) == 2
    error = capsys.readouterr().err
    assert "name its labels with --labels FILE" in error and error.count("\n") == 1
    assert main(["quantize", str(tmp_path), "--data", str(photos), "--out", str(tmp_path / "bundle"), "--pixels=0,1"]) == 2
    assert "--pixels: goes with --labels" in capsys.readouterr().err


def test_an_unreadable_keras_2_file_is_refused(model: keras.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "new.keras")
    with zipfile.ZipFile(tmp_path / "new.keras") as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    config = json.loads(files["config.json"])
    config["module"], config["config"]["layers"][1]["config"]["no_such_setting"] = "keras.src.engine.functional", 1
    files |= {"config.json": json.dumps(config).encode(), "metadata.json": b'{"keras_version": "2.15.0"}'}
    with zipfile.ZipFile(tmp_path / "old.keras", "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    assert "of Keras 2.15.0, which Keras 3 cannot read; write a SavedModel where it was trained: model.save('folder')" in refusal(
        tmp_path / "old.keras"
    )


def test_labels_of_teachable_machine_lose_their_numbers(model: keras.Model, photos: Path, tmp_path: Path) -> None:
    from converter.data.training_run import run_from_labels_file

    labels = tmp_path / "labels.txt"
    labels.write_text("0 disc\n1 frame\n2 streifen ≡\n", encoding="utf-8")
    assert run_from_labels_file(tmp_path / "theirs.keras", labels, photos, 1).labels == ("disc", "frame", "streifen ≡")


def test_wrong_labels_are_refused_in_one_line(photos: Path, tmp_path: Path, model: keras.Model, capsys: pytest.CaptureFixture[str]) -> None:
    model.save(tmp_path / "theirs.keras")
    asked = order(tmp_path / "theirs.keras", photos, tmp_path)
    short = tmp_path / "short.txt"
    short.write_text("disc\nframe\n")
    for labels, expected in ((short, "streifen ≡ is only in"), (tmp_path / "none.txt", "none.txt: No such file or directory; expected a text file")):
        asked[3] = str(labels)
        assert main(asked) == 2
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1
    assert not (tmp_path / "bundle").exists()
