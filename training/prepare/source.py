"""What every kind of source gives: its pictures, one after the other."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from training.prepare.name_filter import NameFilter
from training.prepare.options import PrepareError

LARGEST_BYTES = 256 << 20
"""larger files are refused: they would fill memory and disk"""


class SourcePicture(NamedTuple):
    """One picture.

    path: below the source, with forward slashes. tag: changes whenever the content changes. read: returns the bytes of the file.
    """

    path: str
    tag: str
    read: Callable[[], bytes]


class PictureSource(Protocol):
    """Where pictures come from.

    folder: where they are on this machine, None when they must be downloaded. unwrap: whether single folders around those of the labels are
    skipped. at_once: how many pictures may be read in parallel; with 1, a picture must be read before the next one is asked for.
    names: which file names were taken and which were not, complete once all pictures were listed.
    """

    folder: Path | None
    unwrap: bool
    at_once: int
    names: NameFilter

    def pictures(self) -> Iterator[SourcePicture]:
        """Every picture. Raises PrepareError when the source, or a part of it, cannot be read."""
        ...


def require_sane(where: str, size: int) -> None:
    """Raise PrepareError for a picture of more than LARGEST_BYTES."""
    if size > LARGEST_BYTES:
        raise PrepareError(f"{where}: {size / 2**20:.0f} MiB; expected a picture, {LARGEST_BYTES >> 20} MiB at most")
