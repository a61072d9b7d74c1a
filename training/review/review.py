"""A review: frames that wait for a person's word, the decisions so far, and where they are kept."""

import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from device.common.errors import SortbinError
from device.common.wording import counted
from training.review.dataset import Dataset
from training.review.decisions import Counts, Decision, Decisions, Discarded, Labelled, Row, Undone, outcome
from training.review.frames import ReviewFrame, read_frames
from training.review.journal import Journal
from training.review.labels import FolderLabelError, checked, composed, same_but_for_case


class ReviewError(SortbinError, ValueError):
    """A review that cannot begin, or a decision that cannot be taken. The message says why."""


class Outdated(ReviewError):
    """Someone else decided meanwhile (a second window), so what was asked for may not be what was meant."""


class Stands(msgspec.Struct, frozen=True, kw_only=True):
    """What stands for a picture: `confirmed`, `corrected`, `labelled` or `discarded`, and its label unless discarded."""

    what: str
    label: str | None


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A frame as the page gets it. Without a note the device's fields are None and probabilities empty."""

    id: str
    name: str
    guess: str | None
    probabilities: dict[str, float]
    bin: str | None
    reason: str | None
    bundle: str | None
    time: str | None
    stands: Stands | None


class ReviewState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the page shows. rows is the length of the journal: a request names it, and is refused when it has grown since."""

    labels: tuple[str, ...]
    frames: tuple[Shown, ...]
    rows: int
    counts: Counts
    out: str
    problems: tuple[str, ...]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision or an undo led to: what stands for that picture now, and the totals."""

    picture: str
    stands: Stands | None
    labels: tuple[str, ...]
    rows: int
    counts: Counts


class Review:
    """A review of the frames in one folder, with its result in another. Safe from every thread.

    Opening goes on where an earlier review of the same result stopped. Every decision is on disk, in the journal and as a picture in its
    label's folder, when `decide` or `undo` returns.
    """

    def __init__(self, source: Path, out: Path, labels: Sequence[str] = ()) -> None:
        """Read the frames in `source` and open or create `out`.

        labels: those to choose from, in their order; without any, the device's. Others can be given all the same.
        Raises PictureError for `source`, FolderLabelError for `labels`, ReviewError, JournalError or DatasetError for `out`.
        """
        chosen = [checked(label) for label in labels]
        _require_apart(source, out)
        found = read_frames(source)
        if not found.frames:
            raise ReviewError(f"{source}: expected at least one picture that can be decoded; {found.problems[0]}")
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ReviewError(f"{out}: {error.strerror}; expected a folder for the result") from error
        self.frames = found.frames
        self.out = out
        self._by_id = {frame.id: frame for frame in found.frames}
        self._one_at_a_time = threading.Lock()
        self._closed = False
        self._dataset = Dataset(out)
        self._journal = Journal(out)
        try:
            self._decisions = Decisions(self._journal.rows)
            sources = {frame.id: frame.picture for frame in found.frames}
            mended = self._dataset.mend(self._journal.rows, self._decisions, sources)
        except BaseException:
            self._journal.close()
            raise
        self.problems = (*found.problems, *mended)
        self._labels = list(dict.fromkeys([*(chosen or _guessed(found.frames)), *self._labels_so_far()]))

    def state(self) -> ReviewState:
        """Everything, for a page that begins."""
        with self._one_at_a_time:
            return ReviewState(
                labels=tuple(self._labels),
                frames=tuple(self._shown(frame) for frame in self.frames),
                rows=len(self._journal.rows),
                counts=self._decisions.counts(),
                out=str(self.out),
                problems=self.problems,
            )

    def picture(self, picture: str) -> Path | None:
        """The file of a frame, by its id. None for any other text."""
        frame = self._by_id.get(picture)
        return frame.picture if frame else None

    def decide(self, picture: str, label: str | None, rows: int) -> Answer:
        """Give a frame its label, or None to discard it. To decide what stands already changes nothing.

        rows: length of the journal as the person who decides knows it. Raises Outdated when it has grown, ReviewError for a frame that
        is not of this review, FolderLabelError, and JournalError or DatasetError when it cannot be stored; nothing has changed then.
        """
        with self._one_at_a_time:
            self._require_current(rows)
            frame = self._by_id.get(picture)
            if frame is None:
                raise ReviewError(f"{picture[:12]}: no frame of this review")
            before = self._decisions.of(picture)
            after = self._decision(frame, label)
            if not _same(before, after):
                with self._dataset.changed(before, after, frame.picture):
                    self._add(after)
            return self._answer(picture)

    def undo(self, rows: int) -> Answer:
        """Take back the newest decision, of an earlier review too. Raises as `decide` does; ReviewError when there is nothing to undo."""
        with self._one_at_a_time:
            self._require_current(rows)
            before = self._decisions.newest()
            if before is None:
                raise ReviewError("nothing to undo")
            with self._dataset.changed(before, self._decisions.below_newest(), self.picture(before.picture)):
                self._add(Undone(at=_now()))
            return self._answer(before.picture)

    def summary(self) -> str:
        """One line: how many of each, where they are, how many frames are left."""
        with self._one_at_a_time:
            counts = self._decisions.counts()
            labels = Counter(made.label for made in self._decisions.standing() if isinstance(made, Labelled))
            left = sum(self._decisions.of(frame.id) is None for frame in self.frames)
        unguessed = f"{counts.labelled} labelled without a guess, " if counts.labelled else ""
        each = f" ({', '.join(f'{label} {n}' for label, n in sorted(labels.items()))})" if labels else ""
        return (
            f"{counts.confirmed} confirmed, {counts.corrected} corrected, {unguessed}{counts.discarded} discarded: "
            f"{counted(labels.total(), 'picture')} in {self.out}{each}; {left} of {len(self.frames)} frames left"
        )

    def close(self) -> None:
        """Let another review have the result. What is asked afterwards raises ReviewError."""
        with self._one_at_a_time:
            self._closed = True
            self._journal.close()

    def _decision(self, frame: ReviewFrame, label: str | None) -> Decision:
        if label is None:
            return Discarded(at=_now(), picture=frame.id, name=frame.name, guess=frame.guess)
        name = checked(label)
        alike = same_but_for_case(name, self._labels)
        if alike:
            raise FolderLabelError(f"label {name}: there is {alike} already, which differs by its case alone")
        return Labelled(at=_now(), picture=frame.id, name=frame.name, guess=frame.guess, label=name)

    def _add(self, row: Row) -> None:
        self._journal.append(row)
        self._decisions.add(row)
        if isinstance(row, Labelled) and row.label not in self._labels:
            self._labels.append(row.label)

    def _require_current(self, rows: int) -> None:
        if self._closed:
            raise ReviewError("the review has ended")
        if rows != len(self._journal.rows):
            raise Outdated("another window decided meanwhile; look again")

    def _answer(self, picture: str) -> Answer:
        return Answer(
            picture=picture,
            stands=_stands(self._decisions.of(picture)),
            labels=tuple(self._labels),
            rows=len(self._journal.rows),
            counts=self._decisions.counts(),
        )

    def _shown(self, frame: ReviewFrame) -> Shown:
        note = frame.note
        return Shown(
            id=frame.id,
            name=frame.name,
            guess=frame.guess,
            probabilities=frame.probabilities,
            bin=note.bin if note else None,
            reason=note.reason if note else None,
            bundle=note.bundle if note else None,
            time=note.time if note else None,
            stands=_stands(self._decisions.of(frame.id)),
        )

    def _labels_so_far(self) -> list[str]:
        given = [made.label for made in self._decisions.standing() if isinstance(made, Labelled)]
        return [*given, *(name for name in self._dataset.labels() if _is_label(name))]


def _require_apart(source: Path, out: Path) -> None:
    result, frames = out.resolve(), source.resolve()
    if result.is_relative_to(frames):
        raise ReviewError(f"{out}: lies in {source}, which a review never changes; name another folder for the result")
    if frames.is_relative_to(result):
        raise ReviewError(f"{out}: {source} lies in it and would become a label; name another folder for the result")


def _guessed(frames: Sequence[ReviewFrame]) -> list[str]:
    """The labels of the notes, in the order of the bundles."""
    seen = dict.fromkeys(label for frame in frames for label in frame.probabilities)
    return [label for label in seen if _is_label(label)]


def _is_label(text: str) -> bool:
    try:
        return checked(text) == composed(text)
    except FolderLabelError:
        return False


def _same(before: Decision | None, after: Decision) -> bool:
    return before is not None and _stands(before) == _stands(after)


def _stands(decision: Decision | None) -> Stands | None:
    if decision is None:
        return None
    return Stands(what=outcome(decision), label=decision.label if isinstance(decision, Labelled) else None)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
