"""A picture that a source holds, and what every kind of source has in common."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from training.prepare.order import PrepareError
from training.prepare.sieve import Sieve

LARGEST_BYTES = 256 << 20
"""no picture is bigger; what says it is would fill memory and disk"""


class Offer(NamedTuple):
    """A picture. path: below the source, with forward slashes. tag: another text whenever the content is another. read: gives its bytes."""

    path: str
    tag: str
    read: Callable[[], bytes]


class Source(Protocol):
    """Where pictures come from.

    folder: where they lie on this machine, or None when they have to be brought. unwrap: whether lone folders around the labels' are to be
    looked into. at_once: how many offers may be read side by side; with 1, an offer must be read before the next one is asked for.
    sieve: what the names of the source were, once all offers were seen.
    """

    folder: Path | None
    unwrap: bool
    at_once: int
    sieve: Sieve

    def offers(self) -> Iterator[Offer]:
        """Every picture. Raises PrepareError when the source, or a part of it, cannot be read."""
        ...


def require_sane(where: str, size: int) -> None:
    """Raise PrepareError for a picture of more than LARGEST_BYTES."""
    if size > LARGEST_BYTES:
        raise PrepareError(f"{where}: {size / 2**20:.0f} MiB; expected a picture, {LARGEST_BYTES >> 20} MiB at most")
