"""Checks a Keras file or SavedModel before TensorFlow is imported, which takes seconds."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from converter.common.network_error import NetworkError
from converter.tflite.flatbuffer import IDENTIFIER

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_HEAD_BYTES = 8

WEIGHTS_ONLY = "holds weights only; build the model, model.load_weights(...), model.save('model.keras')"

_OTHERS = {
    ".onnx": "an ONNX model; expected the Keras model (.keras, .h5) or its SavedModel",
    ".pt": "a PyTorch file; expected a Keras model (.keras, .h5) or a SavedModel",
    ".pth": "a PyTorch file; expected a Keras model (.keras, .h5) or a SavedModel",
    ".json": "describes a model without its weights; save all of it: model.save('model.keras')",
    ".yaml": "describes a model without its weights; save all of it: model.save('model.keras')",
    ".index": f"a checkpoint, which {WEIGHTS_ONLY}",
    ".ckpt": f"a checkpoint, which {WEIGHTS_ONLY}",
    ".pb": "a single graph; expected the folder of a SavedModel, with saved_model.pb and variables/",
}

_CODE_LAYERS = {
    "Lambda": "a Lambda layer",
    "TFOpLambda": "a TFOpLambda of Keras 2",
    "SlicingOpLambda": "a SlicingOpLambda of Keras 2",
}
"""layers whose code is not in Keras 3; loading a Lambda would run code from the file"""


def require_model(path: Path) -> None:
    """Raise NetworkError unless this is a `.keras` or `.h5` file or the folder of a SavedModel, and for layers whose code is not in Keras."""
    if path.is_dir():
        _require_saved_model(path)
        return
    try:
        with path.open("rb") as opened:
            head = opened.read(_HEAD_BYTES)
    except OSError as error:
        raise NetworkError(f"{path}: {error.strerror}; expected a Keras model (.keras, .h5) or the folder of a SavedModel") from error
    if not head:
        raise NetworkError(f"{path}: empty; copy it again")
    if head[4:8] == IDENTIFIER:
        raise NetworkError(f"{path}: TensorFlow Lite already; expected the Keras model that it was made from")
    if head.startswith(_ZIP):
        _require_layers(path, _read_zip_config(path))
    elif head == _HDF5:
        _require_layers(path, _read_hdf5_config(path))
    else:
        raise NetworkError(f"{path}: {_OTHERS.get(path.suffix.lower(), 'not a Keras model: neither .keras nor .h5; copy it again')}")


def export_advice(version: str) -> str:
    """The cure for layers whose code is not in Keras. version: of the Keras that wrote the file, or empty."""
    how = "model.save('folder')" if version.startswith("2.") else "model.export('folder')"
    return f"write a SavedModel where it was trained: {how}"


def keras_version(path: Path) -> str:
    """The version of Keras that wrote a `.keras` or `.h5` file, or empty."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
        import h5py

        with h5py.File(path) as opened:
            version = opened.attrs.get("keras_version", "")
            return version.decode() if isinstance(version, bytes) else str(version)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return ""


def _require_saved_model(folder: Path) -> None:
    if any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        return
    found = sorted(path.name for path in folder.iterdir())
    if "labels.txt" in found and "train.txt" in found:
        raise NetworkError(f"{folder}: a run of `training fit`; leave out --labels and --pixels")
    inside = [name for name in found if name.endswith((".keras", ".h5")) or (folder / name / "saved_model.pb").is_file()]
    if inside:
        raise NetworkError(f"{folder}: not a SavedModel itself; name what lies in it: {folder / inside[0]}")
    if "model.json" in found:
        raise NetworkError(f"{folder}: a TensorFlow.js model; expected the Keras model (.keras, .h5) or its SavedModel")
    raise NetworkError(f"{folder}: not a SavedModel: it holds no saved_model.pb")


def _read_zip_config(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "config.json" in names:
                return json.loads(archive.read("config.json"))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise NetworkError(f"{path}: a damaged file: its zip cannot be read; copy it again") from error
    packed = [name for name in names if name.endswith((".keras", ".h5", "saved_model.pb"))]
    if packed:
        raise NetworkError(f"{path}: a packed download; unpack it and name what is in it: {packed[0].removesuffix('/saved_model.pb')}")
    if any(name.endswith("data.pkl") for name in names):
        raise NetworkError(f"{path}: {_OTHERS['.pt']}")
    raise NetworkError(f"{path}: not a Keras model: no config.json in its zip")


def _read_hdf5_config(path: Path) -> Any:
    import h5py

    try:
        with h5py.File(path) as opened:
            config = opened.attrs.get("model_config")
    except OSError as error:
        raise NetworkError(f"{path}: a damaged HDF5 file; copy it again") from error
    if config is None:
        raise NetworkError(f"{path}: {WEIGHTS_ONLY}")
    try:
        return json.loads(config)
    except ValueError as error:
        raise NetworkError(f"{path}: a damaged file: its model_config is no JSON; copy it again") from error


def _require_layers(path: Path, config: Any) -> None:
    for name, found in _serialized_objects(config):
        code = _CODE_LAYERS.get(name) or _custom_object_text(name, found)
        if code:
            raise NetworkError(f"{path}: {code}, whose code is not in Keras; {export_advice(keras_version(path))}")


def _custom_object_text(name: str, found: dict[str, Any]) -> str:
    """Words for a serialized custom object; empty for one of Keras. Files of Keras 3 have `module` and `registered_name`."""
    module, registered = found.get("module"), found.get("registered_name")
    if name == "function" and module == "builtins":
        return f"the custom function {str(found.get('config')).split('>')[-1]}"
    if module is not None and not str(module).startswith(("keras", "builtins", "tensorflow", "tf_keras")):
        return f"the custom layer {name}"
    if module is None and registered and registered != name and ">" in str(registered):
        return f"the custom layer {name}"
    return ""


def _serialized_objects(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and config of every serialized object, the outermost first."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            yield config["class_name"], config
        for value in config.values():
            yield from _serialized_objects(value)
    elif isinstance(config, list):
        for value in config:
            yield from _serialized_objects(value)
