"""From a source to a prepared data set, step by step. Each step continues where a killed run stopped."""

import itertools
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from converter.common.progress import Progress
from converter.common.silence import silenced
from converter.data.manifest import INFO_FILE, RECORDS_FILE, DatasetInfo
from converter.data.photos import read_pixels
from device.vision.inference.bundle import read_bundle
from training.prepare.assignment import TRAIN, Assignment, assign
from training.prepare.decoder_messages import DecoderMessages
from training.prepare.duplicates import find_duplicates
from training.prepare.embeddings import embed_pictures
from training.prepare.groups import sequence_key
from training.prepare.inspection import Inspected, inspect
from training.prepare.layout import Layout, find_layout
from training.prepare.manifest import used_labels, write_info, write_manifest
from training.prepare.masks import MaskSources, NonItems, find_non_items, make_masks
from training.prepare.open_source import open_source
from training.prepare.options import PrepareError, PrepareOptions
from training.prepare.picture_arrays import UNASSIGNED, Catalogue, read_catalogue
from training.prepare.records import Records
from training.prepare.remarks import remarks
from training.prepare.report import write_report
from training.prepare.source import PictureSource, SourcePicture
from training.prepare.survey import Survey

IMAGES = "images"
THREADS = min(8, os.cpu_count() or 1)
"""each decodes a picture, so more of them would take more memory"""


class Prepared(msgspec.Struct, frozen=True):
    """The result for the user.

    groups: number of groups. same, conflicts, near: number of pairs, see `Duplicates`. resumed: pictures that an earlier run had inspected.
    remarks: one line each. masks_per_s: masks made per second, 0 where none were made.
    """

    info: DatasetInfo
    groups: int
    same: int
    conflicts: int
    near: int
    resumed: int
    remarks: tuple[str, ...]
    masks_per_s: float = 0.0


def prepare(options: PrepareOptions, out: Path, progress: Progress) -> Prepared:
    """Make `out` the data set that the options describe, or continue an interrupted run. The source is never changed.

    Raises PrepareError, PhotosError for an empty view that is no picture and for a picture that vanished meanwhile, and BundleError or
    RuntimeFault for the bundle that the options name.
    """
    bundle = read_bundle(options.bundle) if options.bundle else None
    if options.group_by:
        sequence_key(options.group_by)
    backgrounds = [read_pixels(file) for file in options.backgrounds]
    recorded = options.recorded()
    source = open_source(options.source, options.names_encoding)
    out = out.resolve()
    _require_outside_source(out, source)
    try:
        _claim_folder(out)
        with Records(out) as records:
            _require_same_options(records, out, recorded)
            folder = source.folder or out / IMAGES
            _list_pictures(records, source, folder, progress)
            non_items, tags = _drop_non_items(records, source, options)
            layout, strays = _find_layout(records, source, options)
            resumed = _inspect_pictures(records, folder, progress)
            if bundle:
                with silenced():
                    embed_pictures(records, folder, bundle, progress)
            survey = _survey(records, layout, options, progress)
            if options.isolate:
                used = set(survey.catalogue.ids[survey.assignment.split != UNASSIGNED].tolist())
                with silenced():
                    masks = make_masks(out, records, used, MaskSources(folder, non_items, tags, backgrounds), progress)
                survey = replace(survey, masks=masks)
            lines = remarks(survey, source.names, strays, non_items)
            progress.step("writing")
            write_manifest(out, survey)
            with silenced():
                write_report(out, folder, survey, lines, progress)
            info = write_info(out, folder, survey, recorded)
    except OSError as error:
        raise PrepareError(
            f"{error.filename or out}: {error.strerror or error}; mend that and run the same command again: it goes on where it stopped"
        ) from error
    return _result(info, survey, resumed, lines)


def _survey(records: Records, layout: Layout, options: PrepareOptions, progress: Progress) -> Survey:
    """Compare the inspected pictures and assign them to splits."""
    catalogue = read_catalogue(records, layout)
    duplicates = find_duplicates(records, catalogue, options, progress)
    assignment = assign(records, catalogue, duplicates, layout, options)
    _require_labels(catalogue, assignment, options)
    return Survey(options, records, layout, catalogue, duplicates, assignment, None)


def _require_outside_source(out: Path, source: PictureSource) -> None:
    if source.folder is not None and (out == source.folder or source.folder in out.parents):
        raise PrepareError(f"{out}: lies in the source, which is never changed; name another folder")


def _claim_folder(out: Path) -> None:
    """Create the folder, or check that it holds a data set."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise PrepareError(f"{out}: exists and is no folder; name another") from error
    if any(out.iterdir()) and not (out / RECORDS_FILE).exists():
        raise PrepareError(f"{out}: holds something that is no prepared data set; name another folder")


def _require_same_options(records: Records, out: Path, options: dict[str, object]) -> None:
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


def _list_pictures(records: Records, source: PictureSource, folder: Path, progress: Progress) -> None:
    """Record every picture of the source, and download those that are not on this machine."""
    number = int(records.about("round") or 0) + 1
    records.note("round", str(number))
    if source.folder is not None:
        for count, picture in enumerate(source.pictures(), start=1):
            records.see(picture.path, picture.tag, number)
            progress.step(f"looking through the source: {count}")
    else:
        _download(records, source, folder, number, progress)
    records.forget_unseen(number)
    records.commit()


def _download(records: Records, source: PictureSource, folder: Path, number: int, progress: Progress) -> None:
    parts = folder.with_name(f".{IMAGES}")
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir()
    pictures, count = source.pictures(), 0
    with ThreadPoolExecutor(source.at_once) as pool:
        while page := list(itertools.islice(pictures, source.at_once)):
            missing = [picture for picture in page if not (folder / picture.path).is_file()]
            seen = {picture.path: records.see(picture.path, picture.tag, number) for picture in page}
            wanted = [picture for picture in page if picture in missing or seen[picture.path] != picture.tag]
            for picture, content in zip(wanted, pool.map(_read, wanted), strict=True):
                _write_whole(content, folder / picture.path, parts / "part")
                records.brought(picture.path, picture.tag)
            records.commit()
            count += len(page)
            progress.step(f"bringing the pictures: {count}")
    shutil.rmtree(parts)


def _read(picture: SourcePicture) -> bytes:
    return picture.read()


def _write_whole(content: bytes, file: Path, part: Path) -> None:
    """Write a file that appears complete or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)
    part.replace(file)


def _drop_non_items(records: Records, source: PictureSource, options: PrepareOptions) -> tuple[NonItems, str]:
    """Drop the source's masks and empty views from the records. Returns them, and their tags in one string."""
    non_items = find_non_items(records.paths(), unwrap=source.unwrap, empty=options.isolate)
    tags = " ".join(f"{path} {records.tag(path)}" for path in sorted(non_items.paths))
    records.drop(non_items.paths)
    return non_items, tags


def _find_layout(records: Records, source: PictureSource, options: PrepareOptions) -> tuple[Layout, list[str]]:
    """Find the folders of the labels. Returns the layout, and the pictures in no label folder, which are dropped from the records."""
    layout = find_layout({path.rpartition("/")[0] or "." for path in records.paths()}, unwrap=source.unwrap)
    strays = [path for path in records.paths() if layout.place(path) is None]
    records.drop(strays)
    if not records.count():
        kinds = f"; it holds {source.names.others.total()} files of other kinds" if source.names.others else ""
        raise PrepareError(f"{options.source}: expected a folder of pictures for each label, found no picture in any folder{kinds}")
    return layout, strays


def _inspect_pictures(records: Records, folder: Path, progress: Progress) -> int:
    """Inspect every picture that is new or has changed. Returns how many needed no inspection."""
    total, resumed = records.count(), records.count_inspected()
    done = resumed
    with DecoderMessages() as messages, ThreadPoolExecutor(THREADS) as pool:
        for page in records.uninspected():
            found = list(pool.map(lambda picture: inspect(folder / picture.path), page))
            if messages.damage():  # of one picture on this page: decode each alone to find which
                found = [_inspect_alone(folder / picture.path, messages) for picture in page]
            for picture, inspected in zip(page, found, strict=True):
                records.store(picture, inspected)
            records.commit()
            done += len(page)
            progress.step(f"inspecting {done}/{total}")
    return resumed


def _inspect_alone(file: Path, messages: DecoderMessages) -> Inspected:
    found = inspect(file)
    damage = messages.damage()
    return msgspec.structs.replace(found, fault="truncated", reason=damage) if damage and not found.fault else found


def _require_labels(catalogue: Catalogue, assignment: Assignment, options: PrepareOptions) -> None:
    labels = used_labels(catalogue, assignment)
    if len(labels) < 2:
        raise PrepareError(f"{options.source}: expected a folder for each of at least two labels, found usable pictures of {labels[0]} only")
    if not (assignment.split == TRAIN).any():
        raise PrepareError(f"{options.source}: no picture is left for training; see --leave-out and the given splits")


def _result(info: DatasetInfo, survey: Survey, resumed: int, lines: list[str]) -> Prepared:
    assignment, duplicates, masks = survey.assignment, survey.duplicates, survey.masks
    groups = len(np.unique(assignment.group[assignment.split != UNASSIGNED]))
    masks_per_s = round(masks.made / masks.took_s, 1) if masks and masks.made else 0.0
    return Prepared(info, groups, len(duplicates.same), len(duplicates.conflicts), len(duplicates.near), resumed, tuple(lines), masks_per_s)
