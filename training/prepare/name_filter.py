"""Which file names of a source are pictures to prepare, and which are not."""

from collections import Counter
from pathlib import PurePosixPath

from converter.data.photos import unlistable_reason
from device.vision.inference.images import SUFFIXES

LISTS_FOLDER = "splits"


class NameFilter:
    """Takes file names one after the other, and records those that it refuses.

    Hidden files and those that macOS adds to archives are ignored. others: number of files of other kinds, by suffix. strange: names that
    cannot be used, with the reason. folders: every folder of the source, with or without pictures.
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
