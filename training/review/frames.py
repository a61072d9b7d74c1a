"""The frames to review, the one that teaches most first."""

import hashlib
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from device.samples.store import SampleNote, StoredSample, read_samples
from training.review.labels import composed


@dataclass(frozen=True, slots=True)
class ReviewFrame:
    """A kept frame under review. id is the sha256 of the picture's bytes, name its path below the folder, to be shown."""

    id: str
    name: str
    picture: Path
    note: SampleNote | None

    @property
    def guess(self) -> str | None:
        """The device's likeliest label."""
        return composed(self.note.label) if self.note else None

    @property
    def probabilities(self) -> dict[str, float]:
        """The device's posterior; empty where there is no note."""
        return {composed(label): p for label, p in self.note.probabilities.items()} if self.note else {}


@dataclass(frozen=True, slots=True)
class ReviewFrames:
    """ReviewFrames in the order of review, and one line for each file that was passed over."""

    frames: tuple[ReviewFrame, ...]
    problems: tuple[str, ...]


def read_frames(folder: Path) -> ReviewFrames:
    """Read a folder of kept frames; nothing in it is changed. Of pictures with the same bytes the first is taken.

    Raises PictureError when there is no such folder, or no picture in it.
    """
    kept = read_samples(folder)
    problems = list(kept.problems)
    frames: dict[str, ReviewFrame] = {}
    for one in kept.samples:
        try:
            frame = _frame(folder, one)
        except OSError as error:
            problems.append(f"{one.picture}: {error.strerror}; left out")
            continue
        if frame.id in frames:
            problems.append(f"{one.picture}: the same picture as {frames[frame.id].name}; left out")
        else:
            frames[frame.id] = frame
    return ReviewFrames(tuple(sorted(frames.values(), key=_unsurest_first)), tuple(problems))


def uncertainty(probabilities: Collection[float]) -> float:
    """Entropy of a posterior as a share of the greatest possible, 0..1; 1 where there is none."""
    if len(probabilities) < 2:
        return 0.0 if probabilities else 1.0
    entropy = -math.fsum(p * math.log(p) for p in probabilities if p > 0)
    return entropy / math.log(len(probabilities))


def _unsurest_first(frame: ReviewFrame) -> tuple[bool, float, str]:
    """An item unlike all that was trained on teaches most, however sure the network took it for something else."""
    unknown = frame.note is not None and frame.note.reason == "unknown"
    return not unknown, -uncertainty(frame.probabilities.values()), frame.name


def _frame(folder: Path, kept: StoredSample) -> ReviewFrame:
    with kept.picture.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    name = kept.picture.relative_to(folder).as_posix()
    # A name that is not UTF-8 could be neither shown nor written into the journal.
    return ReviewFrame(sha256, name.encode("utf-8", "replace").decode(), kept.picture, kept.note)
