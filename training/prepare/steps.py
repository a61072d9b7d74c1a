"""From a source to a prepared data set, step by step. Each step goes on where a killed run left it."""

import itertools
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np

from converter.common.progress import Progress
from converter.common.silence import silenced
from converter.data.manifest import INFO_FILE, RECORDS_FILE, DatasetInfo
from converter.data.photos import read_pixels
from device.vision.inference.bundle import read_bundle
from training.prepare.alike import Alike, find_alike
from training.prepare.catalogue import UNKNOWN, Catalogue, read_catalogue
from training.prepare.complaints import Complaints
from training.prepare.embeddings import embed_pictures
from training.prepare.groups import sequence_key
from training.prepare.inspection import Inspected, inspect
from training.prepare.layout import Layout, find_layout
from training.prepare.manifest import used_labels, write_info, write_manifest
from training.prepare.masks import Aside, Masks, find_aside, make_masks
from training.prepare.offer import Offer, Source
from training.prepare.order import Order, PrepareError
from training.prepare.records import Records
from training.prepare.remarks import remarks
from training.prepare.report import write_report
from training.prepare.sources import open_source
from training.prepare.verdict import TRAIN, Verdict, judge

IMAGES = "images"
THREADS = min(8, os.cpu_count() or 1)
"""each decodes a picture, so more of them would take more memory"""


class Prepared(msgspec.Struct, frozen=True):
    """What was made. groups: how many; same, conflicts, near: pairs, see `Alike`. resumed: pictures that an earlier run had inspected.
    remarks: lines for a person. masks_per_s: how fast masks were made, 0 where none were.
    """

    info: DatasetInfo
    groups: int
    same: int
    conflicts: int
    near: int
    resumed: int
    remarks: tuple[str, ...]
    masks_per_s: float = 0.0


def prepare(order: Order, out: Path, progress: Progress) -> Prepared:
    """Make `out` the data set that the order asks for, or go on making it. The source is never changed.

    Raises PrepareError, PhotosError for an empty view that is no picture and for a picture that vanished meanwhile, and BundleError or
    RuntimeFault for the order's bundle.
    """
    bundle = read_bundle(order.bundle) if order.bundle else None
    if order.group_by:
        sequence_key(order.group_by)
    backgrounds = [read_pixels(file) for file in order.backgrounds]
    options = order.options()
    source = open_source(order.source, order.names_encoding)
    out = out.resolve()
    _require_apart(out, source)
    try:
        _claim(out)
        with Records(out) as records:
            _require_same(records, out, options)
            folder = source.folder or out / IMAGES
            _see(records, source, folder, progress)
            aside, aside_tags = _set_aside(records, source, order)
            layout, beside = _place(records, source, order)
            resumed = _inspect(records, folder, progress)
            if bundle:
                with silenced():
                    embed_pictures(records, folder, bundle, progress)
            catalogue = read_catalogue(records, layout)
            alike = find_alike(records, catalogue, order, progress)
            verdict = judge(records, catalogue, alike, layout, order)
            _require_labels(catalogue, verdict, order)
            masks = None
            if order.isolate:
                used = set(catalogue.ids[verdict.split != UNKNOWN].tolist())
                with silenced():
                    masks = make_masks(out, folder, records, used, aside, aside_tags, backgrounds, progress)
            lines = remarks(records, catalogue, alike, verdict, layout, source.sieve, beside, aside, masks, order)
            progress.step("writing")
            write_manifest(out, records, catalogue, verdict, masks)
            with silenced():
                write_report(out, folder, records, catalogue, alike, verdict, masks, order, lines, progress)
            info = write_info(out, order.source, folder, options, order.folds, catalogue, verdict, masks)
    except OSError as error:
        raise PrepareError(
            f"{error.filename or out}: {error.strerror or error}; mend that and run the same command again: it goes on where it stopped"
        ) from error
    return _told(info, alike, verdict, masks, resumed, lines)


def _require_apart(out: Path, source: Source) -> None:
    if source.folder is not None and (out == source.folder or source.folder in out.parents):
        raise PrepareError(f"{out}: lies in the source, which is never changed; name another folder")


def _claim(out: Path) -> None:
    """Make the folder, or make sure that it is ours."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise PrepareError(f"{out}: exists and is no folder; name another") from error
    if any(out.iterdir()) and not (out / RECORDS_FILE).exists():
        raise PrepareError(f"{out}: holds something that is no prepared data set; name another folder")


def _require_same(records: Records, out: Path, options: dict[str, object]) -> None:
    """Raise PrepareError when the folder holds a data set with other options, or the beginning of one of another source.

    Until a data set is finished, all but its source may change: what was inspected stays true. Where nothing was found yet, the source may too.
    """
    now = msgspec.json.decode(msgspec.json.encode(options))
    before = msgspec.json.decode(records.about("options") or "{}")
    binding = now.keys() | before.keys() if (out / INFO_FILE).exists() else before.keys() & {"source", "names_encoding"} if records.count() else set()
    for name in sorted(binding):
        if before.get(name) != now.get(name):
            changed = f"{name} was {before.get(name)}, now {now.get(name)}"
            raise PrepareError(f"{out}: was prepared with other options ({changed}); name another folder, or remove this one first")
    records.note("options", msgspec.json.encode(options).decode())
    records.commit()


def _see(records: Records, source: Source, folder: Path, progress: Progress) -> None:
    """Note every picture of the source, and bring those that do not lie on this machine."""
    number = int(records.about("round") or 0) + 1
    records.note("round", str(number))
    if source.folder is not None:
        for count, offer in enumerate(source.offers(), start=1):
            records.see(offer.path, offer.tag, number)
            progress.step(f"looking through the source: {count}")
    else:
        _bring(records, source, folder, number, progress)
    records.forget_unseen(number)
    records.commit()


def _bring(records: Records, source: Source, folder: Path, number: int, progress: Progress) -> None:
    parts = folder.with_name(f".{IMAGES}")
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir()
    offers, count = source.offers(), 0
    with ThreadPoolExecutor(source.at_once) as pool:
        while page := list(itertools.islice(offers, source.at_once)):
            missing = [offer for offer in page if not (folder / offer.path).is_file()]
            seen = {offer.path: records.see(offer.path, offer.tag, number) for offer in page}
            wanted = [offer for offer in page if offer in missing or seen[offer.path] != offer.tag]
            for offer, content in zip(wanted, pool.map(_read, wanted), strict=True):
                _put(content, folder / offer.path, parts / "part")
                records.brought(offer.path, offer.tag)
            records.commit()
            count += len(page)
            progress.step(f"bringing the pictures: {count}")
    shutil.rmtree(parts)


def _read(offer: Offer) -> bytes:
    return offer.read()


def _put(content: bytes, file: Path, part: Path) -> None:
    """Write a file that appears whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)
    part.replace(file)


def _set_aside(records: Records, source: Source, order: Order) -> tuple[Aside, str]:
    """The source's masks and empty views, which are dropped from the records, and their tags."""
    aside = find_aside(records.paths(), unwrap=source.unwrap, empty=order.isolate)
    tags = " ".join(f"{path} {records.tag(path)}" for path in sorted(aside.paths))
    records.drop(aside.paths)
    return aside, tags


def _place(records: Records, source: Source, order: Order) -> tuple[Layout, list[str]]:
    """How the source lays out its labels, and the pictures that lie beside them, which are dropped from the records."""
    layout = find_layout({path.rpartition("/")[0] or "." for path in records.paths()}, unwrap=source.unwrap)
    beside = [path for path in records.paths() if layout.place(path) is None]
    records.drop(beside)
    if not records.count():
        kinds = f"; it holds {source.sieve.others.total()} files of other kinds" if source.sieve.others else ""
        raise PrepareError(f"{order.source}: expected a folder of pictures for each label, found no picture in any folder{kinds}")
    return layout, beside


def _inspect(records: Records, folder: Path, progress: Progress) -> int:
    """Inspect what was not inspected as it is now. Returns how many pictures were."""
    total, resumed = records.count(), records.count_inspected()
    done = resumed
    with Complaints() as complaints, ThreadPoolExecutor(THREADS) as pool:
        for page in records.uninspected():
            found = list(pool.map(lambda picture: inspect(folder / picture.path), page))
            if complaints.damage():  # of one of these, and which one shows when they are decoded alone
                found = [_alone(folder / picture.path, complaints) for picture in page]
            for picture, inspected in zip(page, found, strict=True):
                records.store(picture, inspected)
            records.commit()
            done += len(page)
            progress.step(f"inspecting {done}/{total}")
    return resumed


def _alone(file: Path, complaints: Complaints) -> Inspected:
    found = inspect(file)
    damage = complaints.damage()
    return msgspec.structs.replace(found, fault="truncated", reason=damage) if damage and not found.fault else found


def _require_labels(catalogue: Catalogue, verdict: Verdict, order: Order) -> None:
    labels = used_labels(catalogue, verdict)
    if len(labels) < 2:
        raise PrepareError(f"{order.source}: expected a folder for each of at least two labels, found usable pictures of {labels[0]} only")
    if not (verdict.split == TRAIN).any():
        raise PrepareError(f"{order.source}: no picture is left for training; see --leave-out and the given splits")


def _told(info: DatasetInfo, alike: Alike, verdict: Verdict, masks: Masks | None, resumed: int, lines: list[str]) -> Prepared:
    groups = len(np.unique(verdict.group[verdict.split != UNKNOWN]))
    masks_per_s = round(masks.made / masks.took_s, 1) if masks and masks.made else 0.0
    return Prepared(info, groups, len(alike.same), len(alike.conflicts), len(alike.near), resumed, tuple(lines), masks_per_s)
