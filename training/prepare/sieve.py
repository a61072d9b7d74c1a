"""Which of the names in a source are pictures to prepare, and what the rest is."""

from collections import Counter
from pathlib import PurePosixPath

from converter.data.photos import unlistable_reason
from device.vision.inference.images import SUFFIXES

LISTS_FOLDER = "splits"


class Sieve:
    """Takes the names of a source one after the other, and remembers what it did not let through.

    Hidden names and what a Mac adds to archives are passed over in silence. others: files of other kinds, by suffix. strange: names that
    cannot be kept, with the reason. folders: every folder of the source, with or without pictures.
    """

    def __init__(self) -> None:
        self.others: Counter[str] = Counter()
        self.strange: dict[str, str] = {}
        self.folders: set[str] = set()

    def takes(self, path: str) -> bool:
        """Whether this file is a picture to prepare. path: below the source, with forward slashes."""
        whole = PurePosixPath(path)
        if _hidden(whole):
            return False
        self.folder(whole.parent.as_posix())
        suffix = whole.suffix.lower()
        if suffix not in SUFFIXES:
            if LISTS_FOLDER not in whole.parts[:-1]:
                self.others[suffix or whole.name] += 1
            return False
        reason = _unfit(path)
        if reason:
            self.strange[path.encode("utf-8", "replace").decode()] = reason
        return not reason

    def folder(self, path: str) -> None:
        """Note that there is such a folder."""
        whole = PurePosixPath(path)
        if not (_hidden(whole) or _unfit(path)):
            self.folders.add(whole.as_posix())


def _hidden(path: PurePosixPath) -> bool:
    return any(part == "__MACOSX" or (part.startswith(".") and part not in (".", "..")) for part in path.parts)


def _unfit(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        return "points out of the source"
    return unlistable_reason(path)
