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
from training.fit.origin import origin
from training.fit.recipe import Recipe

FILE = "begun.json"


class BeginningError(SortbinError, ValueError):
    """A run that is to go on with other things than it was begun with."""


@dataclass(frozen=True)
class Beginning:
    """What makes a run what it will be, beside the pixels. start, teachers, remembered: runs that it learns from. train, val, further: its photos."""

    recipe: Recipe
    train: Sequence[Photo]
    val: Sequence[Photo]
    start: Path | None = None
    teachers: tuple[Path, ...] = ()
    remembered: Path | None = None
    further: Sequence[Photo] = ()

    def described(self) -> dict[str, Any]:
        """By the options of `training fit`."""
        return {
            "--from": [origin(run) for run in (self.start,) if run],
            "--teacher": [origin(run) for run in self.teachers],
            "--remember": [origin(run) for run in (self.remembered,) if run],
            "--recipe": msgspec.to_builtins(self.recipe),
            "--data": named([*self.train, *self.val]),
            "--also": named(self.further),
        }


def require_same_beginning(run: Path, beginning: Beginning, *, goes_on: bool) -> None:
    """Note in `run` what it is begun with; where it goes on, compare. Raises BeginningError."""
    file, described = run / FILE, json.dumps(beginning.described(), ensure_ascii=False, indent=1)
    if not goes_on:
        file.write_text(described + "\n", encoding="utf-8")
        return
    begun = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if "--recipe" in begun:  # of an earlier version, without the keys that came since
        begun["--recipe"] = json.loads(msgspec.json.encode(msgspec.convert(begun["--recipe"], Recipe)))
    for option, now in json.loads(described).items():
        if _essence(begun.get(option)) != _essence(now):
            raise BeginningError(f"{run}: was begun with another {option}; give what {FILE} there names, or name another folder")


def named(photos: Sequence[Photo]) -> dict[str, Any]:
    """What tells these photos from others: how many, and a hash of their names in this order."""
    listed = "".join(f"{photo.name}\n" for photo in photos)
    return {"photos": len(photos), "names_sha256": hashlib.sha256(listed.encode()).hexdigest()}


def _essence(given: Any) -> Any:
    """A run is the same wherever it lies now."""
    return [run["model_sha256"] for run in given] if isinstance(given, list) else given
