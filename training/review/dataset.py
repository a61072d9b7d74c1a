"""The result of a review: a folder per label, with a copy of each picture that was given that label.

The journal says what has to be there. A change is prepared before it is written into the journal and published right after, and
opening the folder makes good what was not published, so the folder always follows from the journal and the pictures alone.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from device.common.errors import SortbinError
from device.common.files import sync
from training.review.decisions import Decision, Decisions, Labelled, Row

LONGEST_STEM = 60
"""characters of a picture's name that its copy keeps, so that no name gets too long in any script"""

_PART = re.compile(r"\..+-[0-9a-f]{8}(\.\w+)?\.part", re.DOTALL)


class DatasetError(SortbinError, OSError):
    """A picture that could not be copied to its label's folder, or taken out of it. The message names it."""


class Dataset:
    """The folder of labelled pictures. Files in it that no decision put there are left alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def labels(self) -> list[str]:
        """The labels that have a folder, sorted."""
        return sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))

    def file_of(self, decision: Decision | None) -> Path | None:
        """Where a decision puts its picture; nowhere for a discarded one. Part of the picture's hash keeps equal names apart."""
        if not isinstance(decision, Labelled):
            return None
        name = PurePosixPath(decision.name)
        return self.folder / decision.label / f"{name.stem[:LONGEST_STEM]}-{decision.picture[:8]}{name.suffix.lower()}"

    @contextlib.contextmanager
    def changed(self, before: Decision | None, after: Decision | None, source: Path | None) -> Iterator[None]:
        """Prepare the change from one decision on a picture to another; publish it when the block ends, drop it when the block raises.

        source: the picture itself, needed where no copy of it lies in the folder yet. Raises DatasetError before the block begins when
        there is no room, the source is gone or is no longer the picture that was decided on.
        """
        old, new = self.file_of(before), self.file_of(after)
        if new is None or after is None:
            yield
            with _explained(old):
                _remove(old)
            return
        with _explained(new):
            new.parent.mkdir(exist_ok=True)
        ready = old if old is not None and old.exists() else _copy(source, after, new)
        try:
            yield
        except BaseException:
            if ready != old:
                _remove(ready)
            _remove_if_empty(new.parent)
            raise
        with _explained(new):
            ready.replace(new)
            _remove_if_empty(ready.parent)

    def mend(self, rows: Iterable[Row], decisions: Decisions, sources: Mapping[str, Path]) -> list[str]:
        """Bring the folder to what the decisions say. One line for each picture that is missing and cannot be copied any more.

        rows: the whole journal, since a decision that was taken back may have left a file. sources: pictures by the sha256 of their bytes.
        """
        self._remove_parts()
        wanted = {file: decision for decision in decisions.standing() if (file := self.file_of(decision))}
        for row in rows:
            file = self.file_of(row) if isinstance(row, Labelled) else None
            if file and file not in wanted:
                with _explained(file):
                    _remove(file)
        problems: list[str] = []
        for file, decision in wanted.items():
            if file.exists():
                continue
            try:
                with self.changed(None, decision, sources.get(decision.picture)):
                    pass
            except DatasetError as error:
                _remove_if_empty(file.parent)
                problems.append(str(error))
        return problems

    def _remove_parts(self) -> None:
        """Remove copies that were not finished, or whose decision never got into the journal."""
        for part in self.folder.glob("*/.*.part"):
            if _PART.fullmatch(part.name):
                with _explained(part):
                    _remove(part)


def _copy(source: Path | None, decision: Decision, to: Path) -> Path:
    """A complete copy beside its place, under a name that no reader of data folders takes for a picture."""
    if source is None:
        _remove_if_empty(to.parent)
        raise DatasetError(f"{decision.name}: not among the pictures of this review any more, so it cannot be copied to {to.parent}")
    part = _part(to)
    try:
        data = source.read_bytes()
        if hashlib.sha256(data).hexdigest() != decision.picture:
            raise DatasetError(f"{source}: was changed since this review began; start it again to see it as it is now")
        part.write_bytes(data)
        sync(part)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        _remove_if_empty(to.parent)
        raise error if isinstance(error, DatasetError) else DatasetError(f"{error.filename or part}: {error.strerror}") from error
    return part


def _part(file: Path) -> Path:
    return file.with_name(f".{file.name}.part")


def _remove(file: Path | None) -> None:
    if file is not None:
        file.unlink(missing_ok=True)
        _remove_if_empty(file.parent)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def _explained(file: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DatasetError(f"{error.filename or file}: {error.strerror}") from error
