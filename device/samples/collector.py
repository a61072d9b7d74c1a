"""Collects samples: stores the frames of items that are worth labelling by a person. `store.py` has the format.

Off unless the owner names a folder. A thread of its own writes the files, so the control loop never waits for a disk.
"""

import logging
import queue
import re
import threading
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array
from device.common.files import replacing
from device.samples.store import SampleNote
from device.vision.inference.novelty import normalize
from device.vision.inference.preprocess import Pixels

log = logging.getLogger("sortbin")

WAITING = 8
"""samples that may wait for the disk; further ones are dropped"""
NOVEL_ABOVE = 0.25
"""cosine distance (1 - cosine) to every stored embedding above which a sorted item is worth storing"""
COMPARED = 512
"""newest stored items that a new one is compared with"""
MOST_AT_BORDER = 0.02
"""share of the frame's border that an item may cover: a hand or an arm comes in over the border, and is never stored"""
OWN_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d{6}\.\d{3}Z-.+\.jpg")
"""names of the pictures that are stored here. Others in the folder are neither counted nor deleted"""
JPEG_QUALITY = 92


class KeepSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Frames that are stored for labelling."""

    folder: Annotated[str, msgspec.Meta(pattern="^($|[^~])", description="a folder, written in full, without ~")] = ""
    """where they go; empty: none are stored"""
    most_mib: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 500.0
    """most space that they may take; the oldest are deleted"""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One item as it was judged.

    pixels: the whole frame, H x W x 3 uint8 RGB. mask: H x W uint8, 0 ground to 255 item; None where it was not isolated. embedding: pooled features.
    note: the collector fills in embedding, mask, and the time where it has none. Its reason `confident` means that the item was sorted.
    """

    pixels: Pixels
    mask: Pixels | None
    embedding: Float32Array
    note: SampleNote


class SampleCollector:
    """Stores the samples that are worth labelling."""

    def __init__(self, settings: KeepSettings) -> None:
        """Starts a thread where a folder is set; `close` ends it."""
        self._folder = Path(settings.folder)
        self._most_bytes = settings.most_mib * 2**20
        self._stored: deque[Float32Array] = deque(maxlen=COMPARED)
        self._queue: queue.Queue[Sample | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="keep", daemon=True) if settings.folder else None
        if self._thread is not None:
            self._thread.start()

    def offer(self, sample: Sample) -> None:
        """Store a sample if it is worth labelling and the disk keeps up. Returns at once."""
        if self._thread is not None:
            try:
                self._queue.put_nowait(sample)
            except queue.Full:
                log.warning("a frame was not stored for review: the disk is too slow")

    def close(self, wait_s: float = 2.0) -> None:
        """Store what waits, for at most so long, and end the thread."""
        if self._thread is not None:
            try:
                self._queue.put(None, timeout=wait_s)
            except queue.Full:
                return
            self._thread.join(wait_s)

    def _run(self) -> None:
        while (sample := self._queue.get()) is not None:
            reason = self._reason_to_store(sample)
            if reason:
                try:
                    self._write(sample, reason)
                except (OSError, cv2.error) as error:
                    log.warning("a frame was not stored for review: %s", error)

    def _reason_to_store(self, sample: Sample) -> str:
        """Why a sample is worth labelling; empty where it is not."""
        if sample.mask is None or border_coverage(sample.mask) > MOST_AT_BORDER:
            return ""
        direction = normalize(sample.embedding).astype(np.float32)
        novel = not self._stored or float(1 - (np.stack(self._stored) @ direction).max()) > NOVEL_ABOVE
        if sample.note.reason != "confident":
            self._stored.append(direction)
            return sample.note.reason
        if novel:
            self._stored.append(direction)
            return "unlike"
        return ""

    def _write(self, sample: Sample, reason: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        done, encoded = cv2.imencode(".jpg", cv2.cvtColor(sample.pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not done:
            raise OSError("the frame could not be encoded")
        assert sample.mask is not None
        embedding = tuple(round(float(value), 4) for value in sample.embedding)
        time = sample.note.time or datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        note = msgspec.structs.replace(sample.note, reason=reason, time=time, mask=run_lengths(sample.mask > 127), embedding=embedding)
        note_json = msgspec.json.encode(note)
        self._make_room(len(encoded) + len(note_json))
        picture = self._folder / f"{note.time.replace(':', '')}-{note.item}.jpg"
        # The picture comes first: after a power cut in between, a picture without a note can still be labelled.
        for file, data in ((picture, encoded.tobytes()), (picture.with_suffix(".json"), note_json)):
            with replacing(file) as new:
                new.write_bytes(data)

    def _make_room(self, size: int) -> None:
        pictures = sorted(picture for picture in self._folder.glob("*.jpg") if OWN_NAME.fullmatch(picture.name))
        sizes = {picture: sum(file.stat().st_size for file in (picture, picture.with_suffix(".json")) if file.exists()) for picture in pictures}
        taken = sum(sizes.values()) + size
        for picture in pictures:
            if taken <= self._most_bytes:
                return
            picture.unlink()
            picture.with_suffix(".json").unlink(missing_ok=True)
            taken -= sizes[picture]
        if taken > self._most_bytes:
            raise OSError(f"{self._folder}: one frame takes more than keep.most_mib allows")


def border_coverage(mask: Pixels) -> float:
    """Share of the frame's border, one pixel wide, that an item covers: 0..1. mask: H x W uint8, 0 ground to 255 item."""
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return float((border > 127).mean())


def run_lengths(item: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """Run-length encoding: lengths of the runs of ground, item, ground, ... over the rows of H x W. The first may be 0."""
    flat = item.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], changes, [flat.size]]))
    return (0, *lengths.tolist()) if flat[0] else tuple(lengths.tolist())
