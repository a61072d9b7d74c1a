"""A finished run that is trained further: its whole network is where training starts."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import keras

from converter.network import read_heads
from device.errors import SortbinError
from training.network import HEAD

FROM_FILE = "from.json"
FOUND_BY_NAME = ("pool", "dropout", HEAD)


class StartError(SortbinError, ValueError):
    """A run that cannot be trained further, or another one than was begun with."""


def read_start(start: Path, widths: Mapping[str, int]) -> keras.Model:
    """The network of a finished run. widths: the outputs to be trained, and how many columns each has. Raises StartError and NetworkError."""
    file = start / "model.keras"
    network = read_heads(file, widths["logits"])
    for name, width in widths.items():
        found = network.output[name].shape[-1] if name in network.output else 0
        if found != width:
            raise StartError(f"{file}: expected {width} of {name}, as the rule pack has bins; found {found}")
    missing = set(FOUND_BY_NAME) - {layer.name for layer in network.layers}
    if missing:
        raise StartError(f"{file}: expected a network that `training fit` made, found no layer {min(missing)}")
    return network


def require_same_start(run: Path, start: Path | None, *, goes_on: bool) -> None:
    """Note in `run` what it starts from; where it goes on, compare. Raises StartError when that is another network than it was begun with."""
    file = run / FROM_FILE
    if start is not None and not (start / "model.keras").is_file():
        raise StartError(f"{start}: expected a finished run to train further: model.keras is missing")
    given = None if start is None else {"run": str(start), "model_sha256": _sha256(start / "model.keras")}
    if goes_on:
        begun = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        if (begun or {}).get("model_sha256") != (given or {}).get("model_sha256"):
            was = f"with --from {begun['run']}, as it was then" if begun else "without --from"
            raise StartError(f"{run}: was begun {was}; give the same again, or name another folder")
    elif given is not None:
        file.write_text(json.dumps(given, ensure_ascii=False) + "\n", encoding="utf-8")
    else:
        file.unlink(missing_ok=True)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
