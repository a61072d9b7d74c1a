"""Series of pictures on disk: written whole or not at all, several at a time, and gone on with after any stop.

OUT/order.json                     what was asked for; another order is refused
OUT/<place>/place.json             the description of the place, and the exposure metered in it
OUT/<place>/empty/NN.jpg           empty views
OUT/<place>/items/<label>/NNNN.jpg pictures of items, and their masks (0 or 255, of the same size) in
OUT/<place>/masks/<label>/NNNN.png
OUT/index.jsonl                    a row for each picture of an item, written last: what has no row is not there
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from converter.common.progress import Progress
from device.common.errors import SortbinError
from device.common.files import replacing
from training.render.places import Place
from training.render.shots import Shot

INDEX = "index.jsonl"
ORDER = "order.json"
RENEWED_AFTER = 100
"""pictures, after which a process is replaced: Blender's memory grows"""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Taken:
    """A picture as a JPEG file, and the item's mask (height x width uint8, 0 or 255), None for an empty view. in_view: share of the item."""

    jpeg: bytes
    mask: npt.NDArray[np.uint8] | None = None
    in_view: float = 0.0


class Photographer(Protocol):
    """Who takes the pictures; sent to other processes by pickle."""

    def meter(self, place: Place) -> float:
        """The exposure for all pictures of a place."""

    def take(self, shot: Shot, exposure: float) -> Taken:
        """Take one. Raises OutOfView when the item cannot be seen."""


class OutOfView(Exception):
    """An item cannot be brought into view where it was to be pictured."""


class AlbumError(SortbinError, ValueError):
    """A folder that holds something else, or a series that cannot be taken."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What a run did: pictures taken now, and those left out because the item cannot be seen."""

    taken: int
    left_out: int


def fill(out: Path, order: Row, shots: Sequence[Shot], photographer: Photographer, processes: int, progress: Progress) -> Filled:
    """Take what is missing of a series.

    order: what the series was made from; the folder keeps it. Raises AlbumError when the folder holds a series of another order, when it cannot
    be written, or when a renderer dies; what was taken until then stays.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        _agree(out, order)
        there = rows(out)
        _write(out / INDEX, b"".join(map(_line, there.values())))
        missing = [shot for shot in shots if not _is_there(out, shot, there)]
        done = left_out = 0
        for row in _taken(out, missing, photographer, processes):
            done += 1
            if "left_out" in row:
                left_out += 1
            elif row["mask"] is not None:
                with (out / INDEX).open("ab", buffering=0) as index:
                    index.write(_line(row))
            progress.step(f"{len(shots) - len(missing) + done}/{len(shots)} pictures, {row['image']}")
    except BrokenProcessPool as error:
        raise AlbumError(f"{out}: a renderer was killed, perhaps for want of memory; the same command goes on with the rest") from error
    except OSError as error:
        raise AlbumError(f"{error.filename or out}: cannot be written: {error.strerror}") from error
    return Filled(done - left_out, left_out)


def rows(out: Path) -> dict[str, Row]:
    """The index by picture, of pictures whose files are both there. A last line that a kill cut off does not count."""
    path = out / INDEX
    if not path.is_file():
        return {}
    whole = path.read_bytes().rpartition(b"\n")[0].splitlines()
    found = {row["image"]: row for row in map(json.loads, whole)}
    return {image: row for image, row in found.items() if (out / image).is_file() and (out / row["mask"]).is_file()}


def _agree(out: Path, order: Row) -> None:
    path = out / ORDER
    if path.is_file():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        differs = sorted(key for key in {*order, *earlier} if order.get(key) != earlier.get(key))
        if differs:
            key = differs[0]
            raise AlbumError(f"{path}: {key}: this folder holds a series with {earlier.get(key)}, not {order.get(key)}; give another folder")
    elif any(out.iterdir()):
        raise AlbumError(f"{out}: expected an empty folder, or one that an earlier run wrote ({ORDER} in it)")
    else:
        _write(path, json.dumps(order, indent=1).encode())


def _is_there(out: Path, shot: Shot, there: dict[str, Row]) -> bool:
    return (out / shot.image).is_file() if shot.kind is None else shot.image in there


def _taken(out: Path, shots: Sequence[Shot], photographer: Photographer, processes: int) -> Iterator[Row]:
    """Rows of pictures as they are done, in order of `shots`, several pictures at a time."""
    waiting = iter(shots)
    # bpy adds folders of its own to the path that new processes take over; they would find the wrong bpy in them
    path = [folder for folder in sys.path if "bpy" not in Path(folder).parts]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _look_in, (path,), max_tasks_per_child=RENEWED_AFTER) as pool:
        try:
            ahead = [pool.submit(_keep, out, shot, photographer) for shot in islice(waiting, 2 * processes)]
            while ahead:
                row = ahead.pop(0).result()
                ahead += [pool.submit(_keep, out, shot, photographer) for shot in islice(waiting, 1)]
                yield row
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _look_in(path: list[str]) -> None:
    """Begin a process: it finds modules on `path`, leaves Ctrl-C to its parent, and ends when that is killed."""
    sys.path[:] = path
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _keep(out: Path, shot: Shot, photographer: Photographer) -> Row:
    """Take a picture and write its files: the mask first, so that a picture is never without."""
    cv2.setNumThreads(1)
    try:
        taken = photographer.take(shot, _exposure(out, shot.place, photographer))
    except OutOfView as error:
        return {"image": shot.image, "left_out": str(error)}
    if taken.mask is not None and shot.mask is not None:
        _, png = cv2.imencode(".png", taken.mask)
        _write(out / shot.mask, png.tobytes())
    _write(out / shot.image, taken.jpeg)
    return _row(shot, taken)


def _row(shot: Shot, taken: Taken) -> Row:
    row: Row = {"image": shot.image, "mask": shot.mask, "place": shot.place.name, "number": shot.number, "seed": shot.seed}
    if taken.mask is not None and shot.kind is not None:
        down, across = (np.flatnonzero(taken.mask.any(axis=axis)) for axis in (1, 0))
        box = [int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1]
        area = float((taken.mask > 0).mean())
        row |= {"label": shot.kind.label, "kind": shot.kind.name, "box": box, "area": round(area, 5), "in_view": round(taken.in_view, 3)}
    return row


def _exposure(out: Path, place: Place, photographer: Photographer) -> float:
    """The exposure of a place, metered once. A note about a place that was described otherwise is not believed."""
    path = out / place.name / "place.json"
    described = json.loads(json.dumps(asdict(place)))
    if path.is_file():
        note = json.loads(path.read_text(encoding="utf-8"))
        if note["place"] == described:
            return float(note["exposure"])
    metered = photographer.meter(place)
    _write(path, json.dumps({"exposure": metered, "place": described}, indent=1).encode())
    return metered


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as new:
        new.write_bytes(content)


def _line(row: Row) -> bytes:
    return json.dumps(row).encode() + b"\n"
