"""What a run was begun with: one that goes on after a stop has to be given the same."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from converter.data.photos import Photo
from device.common.errors import SortbinError
from training.fit.recipe import TrainingRecipe, with_current_keys

INPUTS_FILE = "begun.json"


class ProvenanceError(SortbinError, ValueError):
    """A run that is to go on with other things than it was begun with."""


@dataclass(frozen=True)
class RunInputs:
    """What makes a run what it will be, beside the pixels. start, teachers, remembered: runs that it learns from. train, val, further: its photos."""

    recipe: TrainingRecipe
    train: Sequence[Photo]
    val: Sequence[Photo]
    start: Path | None = None
    teachers: tuple[Path, ...] = ()
    remembered: Path | None = None
    further: Sequence[Photo] = ()

    def described(self) -> dict[str, Any]:
        """By the options of `training fit`."""
        return {
            "--from": [run_reference(run) for run in (self.start,) if run],
            "--teacher": [run_reference(run) for run in self.teachers],
            "--remember": [run_reference(run) for run in (self.remembered,) if run],
            "--recipe": msgspec.to_builtins(self.recipe),
            "--data": photos_digest([*self.train, *self.val]),
            "--also": photos_digest(self.further),
        }


def require_same_inputs(run: Path, beginning: RunInputs, *, resumed: bool) -> None:
    """Note in `run` what it is begun with; where it goes on, compare. Raises BeginningError."""
    file, described = run / INPUTS_FILE, json.dumps(beginning.described(), ensure_ascii=False, indent=1)
    if not resumed:
        file.write_text(described + "\n", encoding="utf-8")
        return
    begun = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if "--recipe" in begun:  # an earlier version wrote it: without newer keys, with old names of some
        begun["--recipe"] = json.loads(msgspec.json.encode(msgspec.convert(with_current_keys(begun["--recipe"]), TrainingRecipe)))
    for option, now in json.loads(described).items():
        if _comparable(begun.get(option)) != _comparable(now):
            raise ProvenanceError(f"{run}: was begun with another {option}; give what {INPUTS_FILE} there names, or name another folder")


def photos_digest(photos: Sequence[Photo]) -> dict[str, Any]:
    """What tells these photos from others: how many, and a hash of their names in this order."""
    listed = "".join(f"{photo.name}\n" for photo in photos)
    return {"photos": len(photos), "names_sha256": hashlib.sha256(listed.encode()).hexdigest()}


def run_reference(run: Path) -> dict[str, str]:
    """Its folder, and the SHA-256 of its network: empty where there is none, which whoever reads the network says."""
    file = run / "model.keras"
    return {"run": str(run), "model_sha256": hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""}


def _comparable(given: Any) -> Any:
    """A run is the same wherever it lies now."""
    return [run["model_sha256"] for run in given] if isinstance(given, list) else given
