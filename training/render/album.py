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
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from converter.progress import Progress
from device.errors import SortbinError
from training.render.places import Place
from training.render.shots import Shot
from training.render.taking import Look, Taken, exposure, take

INDEX = "index.jsonl"
ORDER = "order.json"
Row = dict[str, Any]


class AlbumError(SortbinError, ValueError):
    """A folder that holds something else, or a series that cannot be taken."""


def fill(out: Path, order: Row, shots: Sequence[Shot], look: Look, processes: int, progress: Progress) -> int:
    """Take what is missing of a series. Returns how many pictures were taken.

    order: what the series was made from; the folder keeps it. Raises AlbumError when the folder holds a series of another order, when it cannot
    be written, or when a picture cannot be taken; what was taken until then stays.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        _agree(out, order)
        there = rows(out)
        missing = [shot for shot in shots if not _is_there(out, shot, there)]
        taken = 0
        for row in _taken(out, missing, look, processes):
            taken += 1
            if row["mask"] is not None:
                _append(out / INDEX, row)
            progress.step(f"{len(shots) - len(missing) + taken}/{len(shots)} pictures, {row['image']}")
    except BrokenProcessPool as error:
        raise AlbumError(f"{out}: a renderer was killed, perhaps for want of memory; the same command goes on with the rest") from error
    except (OSError, RuntimeError) as error:
        raise AlbumError(f"{out}: {error}") from error
    return taken


def rows(out: Path) -> dict[str, Row]:
    """The index by picture, of pictures whose files are both there. A last line that was cut off by a kill is cut away."""
    path = out / INDEX
    if not path.is_file():
        return {}
    written = path.read_bytes()
    whole = written[: written.rfind(b"\n") + 1]
    if len(whole) < len(written):
        with path.open("r+b") as index:
            index.truncate(len(whole))
    found = {row["image"]: row for row in map(json.loads, whole.splitlines())}
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


def _taken(out: Path, shots: Sequence[Shot], look: Look, processes: int) -> Iterator[Row]:
    """Rows of pictures as they are done, in order. Each process keeps a Blender; they are renewed, as Blender's memory grows."""
    waiting = iter(shots)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), max_tasks_per_child=100) as pool:
        try:
            ahead = [pool.submit(_keep, out, shot, look) for shot in islice(waiting, 2 * processes)]
            while ahead:
                row = ahead.pop(0).result()
                ahead += [pool.submit(_keep, out, shot, look) for shot in islice(waiting, 1)]
                yield row
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _keep(out: Path, shot: Shot, look: Look) -> Row:
    """Take a picture and write its files: the mask first, so that a picture is never without."""
    cv2.setNumThreads(1)
    taken = take(shot, look, _exposed(out, shot.place))
    if taken.mask is not None and shot.mask is not None:
        _, png = cv2.imencode(".png", taken.mask)
        _write(out / shot.mask, png.tobytes())
    _write(out / shot.image, taken.jpeg)
    return _row(shot, look, taken)


def _row(shot: Shot, look: Look, taken: Taken) -> Row:
    row: Row = {"image": shot.image, "mask": shot.mask, "place": shot.place.name, "number": shot.number, "seed": shot.seed}
    if taken.mask is not None and shot.kind is not None:
        down, across = (np.flatnonzero(taken.mask.any(axis=axis)) for axis in (1, 0))
        box = [int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1]
        area = float((taken.mask > 0).mean())
        row |= {"label": shot.kind.label, "kind": shot.kind.name, "box": box, "area": round(area, 5), "in_view": round(taken.in_view, 3)}
    return row | {"size": list(look.size), "samples": look.samples}


def _exposed(out: Path, place: Place) -> float:
    """The exposure of a place, metered once. A note about a place that was described otherwise is not believed."""
    path = out / place.name / "place.json"
    described = json.loads(json.dumps(asdict(place)))
    if path.is_file():
        note = json.loads(path.read_text(encoding="utf-8"))
        if note["place"] == described:
            return float(note["exposure"])
    metered = exposure(place)
    _write(path, json.dumps({"exposure": metered, "place": described}, indent=1).encode())
    return metered


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_bytes(content)
    half.replace(path)


def _append(path: Path, row: Row) -> None:
    with path.open("ab", buffering=0) as index:
        index.write(json.dumps(row).encode() + b"\n")
