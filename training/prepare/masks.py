"""Masks of the items: from the source where it has them, else from empty views, else from light card."""

import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2

from converter.common.progress import Progress
from converter.data.isolated_view import find_mask_on_card, is_plausible_mask, read_given_mask
from converter.data.photos import MASKS, PhotosError, read_pixels
from device.common.files import replacing
from device.vision.inference.ground import PLAIN
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.isolate import isolate
from training.prepare.layout import Layout, find_layout
from training.prepare.records import MaskRecord, PendingPicture, Records

EMPTY = "empty"
"""folder beside those of the labels with pictures of the place without an item"""
GIVEN, BY_VIEW, BY_CARD, NONE = "source", "empty view", "light card", "none"
ORIGINS = (GIVEN, BY_VIEW, BY_CARD, NONE)

THREADS = min(8, os.cpu_count() or 1)
METHOD = "1"
"""changes when masks come out otherwise, so that those of an earlier version are made again"""


@dataclass(frozen=True)
class NonItems:
    """Pictures of a source that show no item to learn. masks: by the path of their picture; strays: masks without a picture; empty: empty views."""

    masks: Mapping[str, str]
    strays: tuple[str, ...]
    empty: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return (*self.masks.values(), *self.strays, *self.empty)


@dataclass(frozen=True)
class Masks:
    """The masks of a data set. of: mask records by picture id, for every picture in a split; made: number made in this run, in took_s seconds."""

    of: Mapping[int, MaskRecord]
    made: int
    took_s: float

    def file(self, picture: int, path: str) -> str:
        """The mask of a picture below the data set, with forward slashes; empty where there is none."""
        return mask_file(path) if picture in self.of and self.of[picture].origin != NONE else ""

    def counts(self) -> dict[str, int]:
        """Pictures by where their mask comes from."""
        found = Counter(masked.origin for masked in self.of.values())
        return {origin: found[origin] for origin in ORIGINS}


def mask_file(path: str) -> str:
    """Where the mask of a picture lies below a data set. The picture's own suffix stays: two pictures may differ in that alone."""
    return f"{MASKS}/{path}.png"


def find_non_items(paths: Iterable[str], *, unwrap: bool, empty: bool) -> NonItems:
    """Find masks, `masks/can/7.png` of `can/7.jpg`, and where `empty` says so the pictures of the folder `empty` beside the labels' folders.

    paths: of all pictures, below the source; a label may be called as these folders are, as long as nothing in it is a picture's mask.
    """
    every = list(paths)
    masks, strays = _find_masks(every)
    taken = {*masks.values(), *strays}
    views: tuple[str, ...] = ()
    if empty:
        views = _find_empty([path for path in every if path not in taken], unwrap=unwrap)
    return NonItems(masks, strays, views)


def _find_masks(paths: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    candidates = {path: beside for path in paths if path.lower().endswith(".png") and (beside := _without_masks(path))}
    if not candidates:
        return {}, ()
    wanted = set(candidates.values())
    named: dict[str, list[str]] = {}
    for path in paths:
        if path not in candidates and (stem := _stem(path)) in wanted:
            named.setdefault(stem, []).append(path)
    masks = {picture: path for path, stem in candidates.items() for picture in named.get(stem, ())}
    folders = {_masks_folder(path) for path in masks.values()}
    used = set(masks.values())
    return masks, tuple(path for path in candidates if path not in used and _masks_folder(path) in folders)


def _without_masks(path: str) -> str:
    """The path without its folder `masks` and its suffix; empty where it lies in no such folder, or right in it."""
    parts = path.split("/")
    if MASKS not in parts[:-2]:
        return ""
    at = parts.index(MASKS)
    return _stem("/".join(parts[:at] + parts[at + 1 :]))


def _masks_folder(path: str) -> tuple[str, ...]:
    parts = path.split("/")
    return tuple(parts[: parts.index(MASKS)])


def _stem(path: str) -> str:
    return PurePosixPath(path).with_suffix("").as_posix()


def _find_empty(paths: Sequence[str], *, unwrap: bool) -> tuple[str, ...]:
    candidates = [path for path in paths if path.split("/")[-2:-1] == [EMPTY]]
    labels = {folder for path in paths if not (folder := path.rpartition("/")[0] or ".").endswith(EMPTY)}
    if not candidates or not labels:
        return ()
    layout = find_layout(labels, unwrap=unwrap)
    return tuple(path for path in candidates if _beside_labels(path, layout))


def _beside_labels(path: str, layout: Layout) -> bool:
    folders = tuple(path.split("/")[:-2])
    if folders == layout.wrapping:
        return True
    place = layout.place(path)
    return place is not None and place.label == EMPTY and not place.below and folders[: len(layout.wrapping)] == layout.wrapping


@dataclass(frozen=True)
class MaskSources:
    """What masks are made from.

    folder: where the source's pictures are. tags: the tags of the source's masks and empty views, in one string: other tags make other masks.
    backgrounds: further empty views, H x W x 3 uint8 RGB.
    """

    folder: Path
    non_items: NonItems
    tags: str
    backgrounds: Sequence[Pixels]


def make_masks(out: Path, records: Records, used: Set[int], sources: MaskSources, progress: Progress) -> Masks:
    """Make every mask that is missing or out of date, and write it below `out`.

    used: ids of the pictures that need one. Raises PhotosError for an empty view that cannot be decoded, and OSError.
    """
    folder = sources.folder
    views = BackgroundModel([*(read_pixels(folder / path) for path in sources.non_items.empty), *sources.backgrounds])
    kept = views.export()
    recipe = hashlib.sha256(f"{METHOD} {sources.tags} ".encode() + (b"" if kept is None else kept.tobytes())).hexdigest()
    finder = _Finder(folder, sources.non_items.masks, views)
    known = records.masks()
    found: dict[int, MaskRecord] = {}
    made, began_s = 0, time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        for page in records.decodable():
            own = [picture for picture in page if picture.id in used]
            waiting = [picture for picture in own if not _still(known.get(picture.id), recipe, picture, out)]
            for picture, masked in zip(waiting, pool.map(lambda picture: _made(finder, picture, recipe, out), waiting), strict=True):
                records.mask(picture.id, masked)
                known[picture.id] = masked
            records.commit()
            found |= {picture.id: known[picture.id] for picture in own}
            made += len(waiting)
            progress.step(f"isolating {len(found)}/{len(used)}")
    return Masks(found, made, time.monotonic() - began_s)


def _still(masked: MaskRecord | None, recipe: str, picture: PendingPicture, out: Path) -> bool:
    if masked is None or masked.made_of != f"{recipe} {picture.tag}":
        return False
    return masked.origin == NONE or (out / mask_file(picture.path)).is_file()


def _made(finder: "_Finder", picture: PendingPicture, recipe: str, out: Path) -> MaskRecord:
    file = out / mask_file(picture.path)
    origin, mask = finder.find(picture.path)
    if mask is None:
        file.unlink(missing_ok=True)
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as new:
            new.write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    return MaskRecord(f"{recipe} {picture.tag}", origin, 0.0 if mask is None else float(mask.mean()) / 255)


class _Finder:
    """Finds masks, on several threads at once."""

    def __init__(self, folder: Path, given: Mapping[str, str], views: BackgroundModel) -> None:
        self._folder, self._given, self._views = folder, given, views
        self._one_at_a_time = threading.Lock()  # the network that draws outlines is not for two threads

    def find(self, path: str) -> tuple[str, Pixels | None]:
        """Where a picture's mask comes from, and the mask: H x W uint8, 255 on the item. None where nothing gives a plausible one."""
        pixels = read_pixels(self._folder / path)
        if path in self._given and (mask := self._taken_over(self._given[path], pixels)) is not None:
            return GIVEN, mask
        if self._views.learned and (mask := self._against_views(pixels)) is not None:
            return BY_VIEW, mask
        mask = find_mask_on_card(pixels)
        return (NONE, None) if mask is None else (BY_CARD, mask)

    def _taken_over(self, path: str, pixels: Pixels) -> Pixels | None:
        try:
            return read_given_mask(self._folder / path, pixels)
        except PhotosError:
            return None

    def _against_views(self, pixels: Pixels) -> Pixels | None:
        with self._one_at_a_time:
            isolated = isolate(pixels, self._views, PLAIN)
        return isolated.mask if isolated.found and is_plausible_mask(isolated.mask) else None
