"""The options of `training prepare`: everything that decides the result."""

from pathlib import Path
from typing import Any

import msgspec

from device.common.errors import SortbinError
from device.vision.inference.bundle import INFO_FILE, hash_file

FLAGS = (
    "unreadable",
    "truncated",
    "tiny",
    "aspect",
    "duplicate",
    "near",
    "conflict",
    "transparent",
    "capped",
    "unlisted",
    "straddles",
)
"""What can be said of a picture, in the order of the manifest.

unreadable: cannot be decoded. truncated: its end is missing. tiny, aspect: smaller or longer than allowed. duplicate: the same pixels as
an earlier picture. near: nearly the same as an earlier one. conflict: the same pixels as a picture with another label.
transparent: plain ground is shown in place of some of it. capped: over the cap
of its label. unlisted: in none of the given lists. straddles: some of its group are in another split, which only given splits bring about.
"""


class PrepareError(SortbinError, ValueError):
    """A source, an option or a place to write to that cannot be used. The message names it and says what to do."""


class PrepareOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The command line of `training prepare`. Shares are of the pictures, 0..1."""

    source: str
    """a folder, a zip or tar, `cifar100`, or a URL that fsspec knows"""
    min_side: int = 32
    """pixels of the shorter side below which a picture is tiny"""
    max_aspect: float = 3.0
    """longer side over shorter side, above which the aspect ratio is odd"""
    cap: int | None = None
    """most pictures of a label"""
    near_bits: int = 8
    """bits out of 64 by which the perceptual hashes of near-duplicates may differ"""
    bundle: Path | None = None
    """bundle whose embeddings are compared as well"""
    alike: float = 0.95
    """cosine of two embeddings from which their pictures are near-duplicates"""
    group_by: str = ""
    lists: tuple[Path, ...] = ()
    """names for training, for validation, and maybe for the test, one a line"""
    val_share: float = 0.15
    test_share: float = 0.0
    folds: int = 0
    seed: int = 0
    leave_out: tuple[str, ...] = ("aspect", "conflict", "tiny", "truncated")
    """flags, apart from unreadable, capped and unlisted, whose pictures are in no split; those three never are"""
    names_encoding: str | None = None
    """how a zip spells names that it does not mark as UTF-8"""
    isolate: bool = False
    """make masks of the items"""
    backgrounds: tuple[Path, ...] = ()
    """pictures without an item, for isolating"""

    def recorded(self) -> dict[str, Any]:
        """The options as they are stored in the data set. Files come with their sha256, so a changed file changes the options.

        Raises PrepareError for a file that cannot be read.
        """
        recorded = {name: getattr(self, name) for name in self.__struct_fields__}
        if "://" not in self.source and Path(self.source).exists():
            recorded["source"] = str(Path(self.source).resolve())
        try:
            recorded["lists"] = [f"{file.name} {hash_file(file)}" for file in self.lists]
            recorded["bundle"] = hash_file(self.bundle / INFO_FILE) if self.bundle else None
            recorded["backgrounds"] = [f"{file.name} {hash_file(file)}" for file in self.backgrounds]
        except OSError as error:
            raise PrepareError(f"{error.filename}: {error.strerror}") from error
        if not self.isolate:  # data sets from before there were masks have no such options
            del recorded["isolate"], recorded["backgrounds"]
        return recorded
