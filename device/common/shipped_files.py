"""Files that Sortbin comes with and users name without a path: rule packs, recipes, search spaces.

They lie in `config/`; `device/config` is a link to it, so that they are package data of `device` and are found however Sortbin was installed.
"""

from pathlib import Path
from typing import Literal

from device.common.errors import SortbinError

Kind = Literal["rules", "recipes", "spaces"]

_CONFIG = (Path(__file__).parents[1] / "config").resolve()
_IN_WORDS: dict[Kind, str] = {"rules": "rule pack", "recipes": "recipe", "spaces": "search space"}


def shipped(kind: Kind) -> dict[str, Path]:
    """The files of one kind by their bare names, in order."""
    return {file.stem: file for file in sorted((_CONFIG / kind).glob("*.toml"))}


def find(kind: Kind, named: str, refusal: type[SortbinError]) -> Path:
    """The file behind a bare name that Sortbin comes with, or else behind a path. Raises `refusal` where there is neither."""
    ours = shipped(kind)
    if named in ours:
        return ours[named]
    try:
        if Path(named).exists() and not Path(named).is_dir():
            return Path(named)
    except OSError as error:
        raise refusal(f"{named}: {error.strerror}; expected the file of a {_IN_WORDS[kind]}") from error
    raise refusal(f"{named}: expected the file of a {_IN_WORDS[kind]}, or the name of one that Sortbin comes with ({', '.join(ours)})")
