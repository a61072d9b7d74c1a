"""The folder of samples: frames that a bin has stored for a person to label.

Each picture `<time>-<item>.jpg` has a note `<time>-<item>.json` beside it, with the device's judgement. A picture without a note, or with one that
cannot be read, can still be labelled.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import msgspec
import numpy as np

from device.common.errors import describe_error
from device.vision.inference.images import PictureError, find_pictures

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


class SampleNote(msgspec.Struct, frozen=True, kw_only=True):
    """The device's judgement of the item on a stored frame. Keys of later versions are ignored."""

    item: str
    """the item's own id, as in its event"""
    label: str
    """the likeliest label; p is its probability"""
    p: Probability
    probabilities: dict[str, Probability]
    """calibrated, one per label, in the bundle's order"""
    bin: str
    """where the item went"""
    reason: str
    """why the frame was stored: `unlike` for a sorted item, or why it was rejected, as `unsure` or `unknown`"""
    bundle: str
    """name of the bundle that judged it"""
    time: str
    """RFC 3339, UTC"""
    mask: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] | None = None
    """the item's pixels as run lengths: ground, item, ground, ... over the picture's rows"""
    embedding: tuple[float, ...] | None = None
    """the network's pooled features"""


@dataclass(frozen=True, slots=True)
class StoredSample:
    """A picture that can be decoded, and its note where it has one."""

    picture: Path
    note: SampleNote | None


@dataclass(frozen=True, slots=True)
class SampleFolder:
    """The samples in a folder, sorted by path, and one line for each picture or note that cannot be used."""

    samples: tuple[StoredSample, ...]
    problems: tuple[str, ...]


def read_samples(folder: Path) -> SampleFolder:
    """Read the samples in and below a folder. Every picture is decoded once, at an eighth of its size, to find damaged ones.

    Raises PictureError when there is no such folder, it may not be entered, or there is no picture in it.
    """
    try:
        is_folder, there = folder.is_dir(), folder.exists()
    except OSError as error:
        raise PictureError(f"{folder}: {error.strerror}; expected a folder of stored frames") from error
    if not is_folder:
        raise PictureError(f"{folder}: expected a folder of stored frames, found {'a file' if there else 'nothing'}")
    samples: list[StoredSample] = []
    problems: list[str] = []
    for picture in find_pictures(folder):
        try:
            _check_picture(picture)
        except PictureError as error:
            problems.append(f"{error}; left out")
            continue
        try:
            note = _read_note(picture.with_suffix(".json"))
        except _NoteError as error:
            problems.append(f"{error}; its picture is shown without a guess")
            note = None
        samples.append(StoredSample(picture, note))
    return SampleFolder(tuple(samples), tuple(problems))


class _NoteError(ValueError):
    """A note that cannot be read."""


def _read_note(file: Path) -> SampleNote | None:
    try:
        note = msgspec.json.decode(file.read_bytes(), type=SampleNote)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _NoteError(f"{file}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _NoteError(f"{file}: {describe_error(error) if isinstance(error, msgspec.MsgspecError) else 'expected UTF-8'}") from error
    if note.label not in note.probabilities:
        raise _NoteError(f"{file}: probabilities: expected one for the label {note.label}")
    return note


def _check_picture(file: Path) -> None:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise PictureError(f"{file}: {error.strerror}") from error
    # OpenCV fills what is missing with grey. A scan holds no end marker, so a whole file has one after its last scan began.
    if data.startswith(_JPEG_START) and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        raise PictureError(f"{file}: breaks off before the picture is complete")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) if data else None
    except cv2.error as error:
        raise PictureError(f"{file}: not a picture that can be decoded: {error.err}") from error
    if pixels is None:
        raise PictureError(f"{file}: not a picture that can be decoded")
