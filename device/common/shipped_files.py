"""Files that come with Sortbin and are named without a path: rule packs, recipes, search spaces.

They are in `config/`. `device/config` is a link to it, so they are package data of `device` in every kind of installation.
"""

from pathlib import Path
from typing import Literal

from device.common.errors import SortbinError

Kind = Literal["rules", "recipes", "spaces"]

_CONFIG = (Path(__file__).parents[1] / "config").resolve()
_IN_WORDS: dict[Kind, str] = {"rules": "rule pack", "recipes": "recipe", "spaces": "search space"}


def shipped(kind: Kind) -> dict[str, Path]:
    """The files of one kind by name, sorted."""
    return {file.stem: file for file in sorted((_CONFIG / kind).glob("*.toml"))}


def find(kind: Kind, named: str, refusal: type[SortbinError]) -> Path:
    """The shipped file of this name, else the file at this path. Raises `refusal` where there is neither."""
    ours = shipped(kind)
    if named in ours:
        return ours[named]
    try:
        if Path(named).exists() and not Path(named).is_dir():
            return Path(named)
    except OSError as error:
        raise refusal(f"{named}: {error.strerror}; expected the file of a {_IN_WORDS[kind]}") from error
    raise refusal(f"{named}: expected the file of a {_IN_WORDS[kind]}, or the name of one that Sortbin comes with ({', '.join(ours)})")
