"""Provenance of a run: its inputs, written to `begun.json`. A run can only be resumed with the same inputs."""

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
    """A run that is to be resumed with other inputs than it was begun with."""


@dataclass(frozen=True)
class RunInputs:
    """Everything that decides the result of a run, except pixels. start, teachers, feature_teacher: runs that it learns from; others: its photos."""

    recipe: TrainingRecipe
    train: Sequence[Photo]
    val: Sequence[Photo]
    start: Path | None = None
    teachers: tuple[Path, ...] = ()
    feature_teacher: Path | None = None
    extra_photos: Sequence[Photo] = ()

    def by_option(self) -> dict[str, Any]:
        """The inputs by the options of `training fit`."""
        return {
            "--from": [run_reference(run) for run in (self.start,) if run],
            "--teacher": [run_reference(run) for run in self.teachers],
            "--remember": [run_reference(run) for run in (self.feature_teacher,) if run],
            "--recipe": msgspec.to_builtins(self.recipe),
            "--data": photos_digest([*self.train, *self.val]),
            "--also": photos_digest(self.extra_photos),
        }


def require_same_inputs(run: Path, inputs: RunInputs, *, resumed: bool) -> None:
    """Write the inputs of a new run into its folder; compare those of a resumed one. Raises ProvenanceError."""
    file, described = run / INPUTS_FILE, json.dumps(inputs.by_option(), ensure_ascii=False, indent=1)
    if not resumed:
        file.write_text(described + "\n", encoding="utf-8")
        return
    earlier = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if "--recipe" in earlier:  # an earlier version wrote it: without newer keys, with old names of some
        earlier["--recipe"] = json.loads(msgspec.json.encode(msgspec.convert(with_current_keys(earlier["--recipe"]), TrainingRecipe)))
    for option, now in json.loads(described).items():
        if _comparable(earlier.get(option)) != _comparable(now):
            raise ProvenanceError(f"{run}: was begun with another {option}; give what {INPUTS_FILE} there names, or name another folder")


def photos_digest(photos: Sequence[Photo]) -> dict[str, Any]:
    """How many photos, and the SHA-256 of their names in this order."""
    listed = "".join(f"{photo.name}\n" for photo in photos)
    return {"photos": len(photos), "names_sha256": hashlib.sha256(listed.encode()).hexdigest()}


def run_reference(run: Path) -> dict[str, str]:
    """Folder of a run, and the SHA-256 of its network: empty where there is none; reading the network reports that."""
    file = run / "model.keras"
    return {"run": str(run), "model_sha256": hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""}


def _comparable(given: Any) -> Any:
    """Runs are compared by their networks, not by their folders."""
    return [run["model_sha256"] for run in given] if isinstance(given, list) else given
