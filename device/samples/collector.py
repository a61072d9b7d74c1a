"""Keeps the frames of items that a person's label would be worth something for: see `kept.py` for how they lie on disk.

Off unless the owner names a folder. Written on a thread of its own: the control loop hands a sighting over and goes on.
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
from device.vision.inference.novelty import unit
from device.vision.inference.preprocess import Pixels

log = logging.getLogger("sortbin")

WAITING = 8
"""sightings that may wait for the disk; further ones are not kept"""
UNLIKE = 0.25
"""1 - cosine of embeddings from which on an item is unlike one that was kept"""
COMPARED = 512
"""newest kept items that a new one is compared with"""
AT_BORDER = 0.02
"""share of the frame's border that an item may cover: a hand or an arm comes in over the border, and is never kept"""
OWN = re.compile(r"\d{4}-\d\d-\d\dT\d{6}\.\d{3}Z-.+\.jpg")
"""how pictures are named that are kept here; others in the folder are not ours to delete, nor do they count"""
QUALITY = 92


class KeepSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Frames that are kept for labelling."""

    folder: Annotated[str, msgspec.Meta(pattern="^($|[^~])", description="a folder, written in full, without ~")] = ""
    """where they go; empty keeps none"""
    most_mib: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 500.0
    """disk that they may take; the oldest make room"""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One item as it was judged.

    pixels: the whole frame, H x W x 3 uint8 RGB; mask: H x W uint8, 0 ground to 255 item, None where it was not isolated; embedding: features,
    float32; note: its embedding and mask are filled in here, its time where it has none, and the reason `confident` means that the item was sorted.
    """

    pixels: Pixels
    mask: Pixels | None
    embedding: Float32Array
    note: SampleNote


class SampleCollector:
    """Keeps what is worth it of the sightings it is given."""

    def __init__(self, settings: KeepSettings) -> None:
        """Starts a thread, to be ended by `close`, where a folder is set."""
        self._folder = Path(settings.folder)
        self._most = settings.most_mib * 2**20
        self._like: deque[Float32Array] = deque(maxlen=COMPARED)
        self._waiting: queue.Queue[Sample | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._keep_for_ever, name="keep", daemon=True) if settings.folder else None
        if self._thread is not None:
            self._thread.start()

    def offer(self, sighting: Sample) -> None:
        """Keep it if it is worth it and the disk is not behind. Returns at once."""
        if self._thread is not None:
            try:
                self._waiting.put_nowait(sighting)
            except queue.Full:
                log.warning("a frame was not kept: the disk is behind")

    def close(self, wait_s: float = 2.0) -> None:
        """Finish what waits, for at most so long."""
        if self._thread is not None:
            try:
                self._waiting.put(None, timeout=wait_s)
            except queue.Full:
                return
            self._thread.join(wait_s)

    def _keep_for_ever(self) -> None:
        while (sighting := self._waiting.get()) is not None:
            reason = self._worth(sighting)
            if reason:
                try:
                    self._write(sighting, reason)
                except (OSError, cv2.error) as error:
                    log.warning("a frame was not kept: %s", error)

    def _worth(self, sighting: Sample) -> str:
        """Why it is worth keeping, or nothing."""
        if sighting.mask is None or at_border(sighting.mask) > AT_BORDER:
            return ""
        direction = unit(sighting.embedding).astype(np.float32)
        unlike = not self._like or float(1 - (np.stack(self._like) @ direction).max()) > UNLIKE
        if sighting.note.reason != "confident":
            self._like.append(direction)
            return sighting.note.reason
        if unlike:
            self._like.append(direction)
            return "unlike"
        return ""

    def _write(self, sighting: Sample, reason: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        done, encoded = cv2.imencode(".jpg", cv2.cvtColor(sighting.pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        if not done:
            raise OSError("the frame could not be encoded")
        assert sighting.mask is not None
        embedding = tuple(round(float(value), 4) for value in sighting.embedding)
        time = sighting.note.time or datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        note = msgspec.structs.replace(sighting.note, reason=reason, time=time, mask=runs(sighting.mask > 127), embedding=embedding)
        described = msgspec.json.encode(note)
        self._make_room(len(encoded) + len(described))
        picture = self._folder / f"{note.time.replace(':', '')}-{note.item}.jpg"
        # The picture first: should the power fail in between, one without a note can still be labelled.
        for file, data in ((picture, encoded.tobytes()), (picture.with_suffix(".json"), described)):
            with replacing(file) as new:
                new.write_bytes(data)

    def _make_room(self, wanted: int) -> None:
        pictures = sorted(picture for picture in self._folder.glob("*.jpg") if OWN.fullmatch(picture.name))
        sizes = {picture: sum(file.stat().st_size for file in (picture, picture.with_suffix(".json")) if file.exists()) for picture in pictures}
        taken = sum(sizes.values()) + wanted
        for picture in pictures:
            if taken <= self._most:
                return
            picture.unlink()
            picture.with_suffix(".json").unlink(missing_ok=True)
            taken -= sizes[picture]
        if taken > self._most:
            raise OSError(f"{self._folder}: one frame takes more than keep.most_mib allows")


def at_border(mask: Pixels) -> float:
    """Share of the frame's border, one pixel wide, that an item covers: 0..1. mask: H x W uint8, 0 ground to 255 item."""
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return float((border > 127).mean())


def runs(item: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """Lengths of the runs of ground, item, ground, ... over the rows of H x W, from the top left corner on; the first may be 0."""
    flat = item.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], changes, [flat.size]]))
    return (0, *lengths.tolist()) if flat[0] else tuple(lengths.tolist())
