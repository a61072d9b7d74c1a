"""`sortbin teach`: teach the bin labels from photos, or from items shown to its camera."""

import argparse
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from device.adaptation.fewshot_head_store import FOLDER, head_files, read_head, require_bin_stopped, save_head, undo_last
from device.cameras import FIRST_FRAME_S, CameraError, EndOfFrames, Frame
from device.cameras.camera_thread import CameraThread, open_camera
from device.common.cli import int_range
from device.common.default_paths import DEFAULT_FILE
from device.common.label_names import LabelError, label_of, label_remarks
from device.daemon.startup import open_classifier, read_rule_pack
from device.policy.rules import find_rules, read_rules
from device.settings import BinSettings, Settings, read_settings
from device.vision.fewshot.examples import Examples, TaughtPhoto, embed_photos
from device.vision.fewshot.fewshot_head import FewshotHead, TeachingError, labels_after_teaching
from device.vision.fewshot.head_format import read_fewshot_head, write_fewshot_head
from device.vision.fewshot.teach import teach
from device.vision.inference.bundle import Bundle, default_bundle, find_bundle, read_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.embedding_stats import read_embedding_stats
from device.vision.inference.images import (
    PictureError,
    find_pictures,
    find_unreadable,
    is_hidden,
    read_pixels,
    unread_kinds_notes,
    unreadable_message,
)
from device.vision.inference.novelty import read_novelty_model
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.isolate import isolate, whole_frame
from device.vision.isolation.occupancy import OccupancyDetector, PresenceSettings
from device.vision.isolation.tta import teaching_crops

PERSON_TIMEOUT_S = 120.0
"""longest wait for a person to lay the next item on the tray"""
ADVISE_BELOW = 0.8
"""share of the taught photos that reach their bin below which the command says what helps"""
DEFAULT_FRAMES = 10
"""default for --frames"""

LABEL, FROM, OUT, LIST, UNDO = "LABEL", "--from", "--out", "--list", "--undo"
"""what the command can do; OUT goes with FROM, and writes a file instead of the bin's state folder"""
GOES_WITH = {
    "--frames": (LABEL,),
    "--background": (FROM, OUT),
    "--only": (LABEL, FROM, OUT),
    "--bundle": (OUT,),
    "--rules": (OUT,),
    "--config": (LABEL, FROM, LIST, UNDO),
    "--json": (LABEL, FROM, OUT, LIST),
}


class Summary(msgspec.Struct, frozen=True):
    """One few-shot head, as `--json` shows it.

    photos, distinct, isolated: counts by label: all photos; near-duplicates counted once; those in which the item was isolated from the empty view.
    sequences: photos that look like frames of one item counted once; without a label where an earlier version taught it. copies: photos that were
    set aside this time; null for --list. right, sure, sure_right: cross-validated shares of the distinct photos that get the right label, that reach
    a bin as neither unsure nor unknown, and of these the right one; null where no label has two sequences, and sure and sure_right also for a file
    of an earlier version.
    """

    file: str
    bundle: str
    labels: tuple[str, ...]
    photos: dict[str, int]
    distinct: dict[str, int]
    sequences: dict[str, int]
    isolated: dict[str, int]
    copies: int | None
    only: bool
    right: float | None
    sure: float | None
    sure_right: float | None
    reject_below: float


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `teach` to the command line."""
    parser = commands.add_parser(
        "teach",
        help="teach the bin the items of its site, under old labels or new ones",
        description="Teach from photos (--from, a folder a label), or show items to the bin's own camera (LABEL --frames N). Ten photos a label are "
        "a good start; more photos of other items help more than more of the same. The bundle itself does not change. "
        "With --out it is written to one file, for `sortbin classify --teaching`; without, it goes into the bin's state folder and is used from "
        "the next start on. A new label needs a bin before it goes into a bin's state folder: add it to the rule pack first. "
        "Exit status: 0 done, 2 photos, settings, a bundle or a rule pack that cannot be used.",
    )
    parser.add_argument("label", type=_label, metavar=LABEL, nargs="?", help="what will be laid on the tray, in front of the bin's camera")
    parser.add_argument("--frames", type=int_range(1, 500), metavar="N", help=f"with LABEL: how many frames to take (default: {DEFAULT_FRAMES})")
    parser.add_argument("--from", dest="source", type=Path, metavar="DIR", help="photos: a folder a label, pictures in and below it")
    parser.add_argument(
        "--background",
        action="extend",
        nargs="+",
        default=[],
        type=Path,
        metavar="EMPTY",
        help="with --from: pictures, or a folder of them, of what the camera sees without an item; photos are then isolated as the bin does",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="with --from: write what was taught to this file")
    parser.add_argument("--only", action="store_true", help="from now on use only labels that were taught")
    parser.add_argument("--list", action="store_true", help="list what the bin was taught; the last line is in use")
    parser.add_argument("--undo", action="store_true", help="delete what was taught last; what was in use before is in use again")
    parser.add_argument("--bundle", type=find_bundle, metavar="BUNDLE", help="with --out: folder of the bundle (default: the one that comes along)")
    parser.add_argument(
        "--rules", metavar="PACK", help="with --out: rule pack, its file or name, that must have a bin for every label (default: none has to)"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"without --out: settings file (default: {DEFAULT_FILE})")
    parser.add_argument("--json", action="store_true", help="print what was taught as one JSON object (--list: one a line)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Teach, list or undo. Returns the exit status."""
    action = _chosen_action(arguments)
    if action == OUT:
        return _teach_to_file(arguments)
    settings = read_settings(arguments.config or DEFAULT_FILE)
    state = Path(settings.device.state)
    if action == LIST:
        return _list_heads(settings, as_json=arguments.json)
    with require_bin_stopped(state):
        if action == UNDO:
            print(f"{undo_last(state)} is gone", flush=True)
            return 0
        return _teach_bin(arguments, settings)


def _list_heads(settings: BinSettings, *, as_json: bool) -> int:
    state = Path(settings.device.state)
    bundle = read_bundle(find_bundle(settings.model.bundle) if settings.model.bundle else default_bundle())
    files = head_files(state)
    if not files:
        _progress(f"{state / FOLDER}: nothing was taught")
    for file in files:
        _report(read_fewshot_head(file, bundle), file, None, as_json=as_json)
    return 0


def _teach_bin(arguments: argparse.Namespace, settings: Settings) -> int:
    """Fit a head to everything the bin was taught, this time and before, and store it in the state folder."""
    state, classifier = Path(settings.device.state), open_classifier(settings)
    before = read_head(state, classifier.bundle)
    taught_before = before.examples.labels if before is not None else ()
    only = arguments.only or (before is not None and before.only)
    folders = _folders(arguments.source) if arguments.source else {}
    labels = labels_after_teaching(classifier.labels, (*taught_before, *(folders or (arguments.label,))), only=only)
    read_rule_pack(settings, labels, classifier.labels)
    if arguments.source:
        photos = embed_photos(_photos(folders, arguments.background, classifier.bundle), classifier)
    else:
        with contextlib.closing(open_camera(settings.camera)) as camera:
            shown = _photos_from_camera(arguments.label, camera, settings.presence, classifier.bundle, arguments.frames or DEFAULT_FRAMES)
            photos = embed_photos(_report_isolation(shown), classifier)
    head, copies = _fit_without_copies(photos if before is None else before.examples.followed_by(photos), classifier.bundle, only=only)
    _report(head, save_head(head, state), copies, as_json=arguments.json)
    return 0


def _chosen_action(arguments: argparse.Namespace) -> str:
    """The one thing to do. Raises TeachingError for none or several, and for an option that does not go with it."""
    wanted = {LABEL: arguments.label, FROM: arguments.source, LIST: arguments.list, UNDO: arguments.undo}
    asked = [name for name, given in wanted.items() if given]
    if len(asked) != 1:
        raise TeachingError(f"expected one of LABEL, --from, --list and --undo, got {' and '.join(asked) or 'none'}")
    if arguments.out and not arguments.source:
        raise TeachingError(f"--out: goes with --from, not with {asked[0]}")
    way = OUT if arguments.out else asked[0]
    for option, ways in GOES_WITH.items():
        if getattr(arguments, option[2:]) and way not in ways:
            raise TeachingError(f"{option}: goes with {' or '.join(ways)}, not with {way}{' alone' if way == FROM else ''}")
    return way


def _teach_to_file(arguments: argparse.Namespace) -> int:
    _check_output(arguments.out)
    bundle = read_bundle(arguments.bundle or default_bundle())
    classifier = Classifier(bundle)
    classifier.check_golden_output()
    folders = _folders(arguments.source)
    labels = labels_after_teaching(classifier.labels, tuple(folders), only=arguments.only)
    if arguments.rules:
        read_rules(find_rules(arguments.rules), labels, classifier.labels)
    photos = embed_photos(_photos(folders, arguments.background, bundle), classifier)
    head, copies = _fit_without_copies(photos, bundle, only=arguments.only)
    try:
        write_fewshot_head(head, arguments.out)
    except OSError as error:
        raise TeachingError(f"--out {arguments.out}: {error.strerror}") from error
    _report(head, arguments.out, copies, as_json=arguments.json)
    return 0


def _check_output(out: Path) -> None:
    """Raises TeachingError where the file cannot be written, before photos are embedded for minutes."""
    try:
        has_folder, is_other = out.parent.is_dir(), out.exists() and not out.is_file()
    except OSError as error:
        raise TeachingError(f"--out {out}: {error.strerror}") from error
    if is_other or not has_folder:
        raise TeachingError(f"--out {out}: expected a file in an existing folder, found {'something else' if is_other else 'no such folder'}")


def _fit_without_copies(examples: Examples, bundle: Bundle, *, only: bool) -> tuple[FewshotHead, int]:
    """Fit a head without copies. Returns it, and how many copies were set aside."""
    unique = examples.without_copies()
    return teach(unique, bundle, read_embedding_stats(bundle), read_novelty_model(bundle), only=only), examples.count - unique.count


def _folders(source: Path) -> dict[str, list[Path]]:
    """The folders of each label. One label may have two, since a disk tells apart names that Unicode does not."""
    expected = "expected a folder with a folder of photos for each label"
    try:
        found = sorted(folder for folder in source.iterdir() if folder.is_dir() and not is_hidden(folder.name))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TeachingError(f"{source}: {expected}") from error
    except OSError as error:
        raise TeachingError(f"{source}: {error.strerror}; {expected}") from error
    if not found:
        raise TeachingError(f"{source}: expected a folder of photos for each label in it, found no folder")
    for remark in (*label_remarks(folder.name for folder in found), *unread_kinds_notes([source])):
        _progress(remark)
    folders: dict[str, list[Path]] = {}
    for folder in found:
        folders.setdefault(label_of(folder.name), []).append(folder)
    return folders


def _photos(folders: Mapping[str, list[Path]], backgrounds: list[Path], bundle: Bundle) -> Iterator[TaughtPhoto]:
    """The photos, one at a time: a hundred large ones with their views would fill the memory."""
    empty = BackgroundModel(read_pixels(view) for path in backgrounds for view in find_pictures(path))
    files = [(label, file) for label, own in folders.items() for folder in own for file in find_pictures(folder)]
    taken = (_prepare(label, pixels, empty, bundle) for label, pixels in _read(files))
    return _report_isolation(taken) if empty.learned else (each.photo for each in taken)


def _read(files: list[tuple[str, Path]]) -> Iterator[tuple[str, Pixels]]:
    """Label and pixels of each file. Raises PictureError at the first that cannot be read, and names all of them."""
    for number, (label, file) in enumerate(files):
        try:
            yield label, read_pixels(file)
        except PictureError as error:
            raise PictureError(unreadable_message(find_unreadable([later for _, later in files[number:]]), len(files))) from error


class _PreparedPhoto(NamedTuple):
    """why: why the item was not isolated; empty where it was."""

    photo: TaughtPhoto
    why: str


def _prepare(label: str, pixels: Pixels, empty: BackgroundModel, bundle: Bundle) -> _PreparedPhoto:
    ground = bundle.info.ground
    item = isolate(pixels, empty, ground) if empty.learned else whole_frame(pixels, "no empty view")
    return _PreparedPhoto(TaughtPhoto(label, teaching_crops(pixels, item, ground), item.found), item.why)


def _report_isolation(taken: Iterable[_PreparedPhoto]) -> Iterator[TaughtPhoto]:
    """The photos; after the last, print in how many the item was isolated, and why not in the others."""
    reasons: Counter[str] = Counter()
    for photo, why in taken:
        reasons[why] += 1
        yield photo
    others = ", ".join(f"{count} {why}" for why, count in reasons.most_common() if why)
    count = f"{reasons['']} of {reasons.total()} photos isolated from the empty view"
    _progress(f"{count}; the others are taught as whole views: {others}" if others else count)


def _progress(line: str) -> None:
    """Print progress on stderr; stdout is for the result."""
    print(line, file=sys.stderr, flush=True)


def _photos_from_camera(label: str, camera: CameraThread, presence: PresenceSettings, bundle: Bundle, count: int) -> Iterator[_PreparedPhoto]:
    """One photo each time something new lies still on the tray, isolated against the empty tray at the beginning."""
    view, empty = OccupancyDetector(presence), BackgroundModel()
    frames = _frames(camera)
    _progress("leave the tray empty")
    try:
        while not view.learned:
            frame = next(frames)
            view.learn(frame.pixels)
        empty.add(frame.pixels)
        for taken in range(count):
            _progress(f"{taken + 1} of {count}: {'lay an item on the tray' if taken == 0 else 'turn it, or lay another'}")
            yield _prepare(label, _wait_until_still(frames, view, presence), empty, bundle)
            if taken + 1 < count:
                _wait_until_moved(frames, view)
    except EndOfFrames as error:
        raise TeachingError("the camera has shown all it has before enough frames were taken") from error


def _frames(camera: CameraThread) -> Iterator[Frame]:
    number = 0
    while True:
        frame = camera.latest(number, FIRST_FRAME_S)
        if frame is None:
            raise camera.last_error or CameraError(f"camera: no picture within {FIRST_FRAME_S:g} s; is it plugged in, and free?")
        number = frame.number
        yield frame


def _wait_until_still(frames: Iterator[Frame], view: OccupancyDetector, presence: PresenceSettings) -> Pixels:
    """The first frame in which something has lain still for long enough."""
    still_since_s: float | None = None
    for frame in _until_timeout(frames, "nothing came to rest on the tray"):
        sight = view.observe(frame.pixels)
        if sight.moving or not sight.present:
            still_since_s = None
        elif still_since_s is None:
            still_since_s = frame.taken_s
        elif frame.taken_s - still_since_s >= presence.still_s:
            return frame.pixels
    raise AssertionError("frames never end")


def _wait_until_moved(frames: Iterator[Frame], view: OccupancyDetector) -> None:
    for frame in _until_timeout(frames, "the item was not moved"):
        sight = view.observe(frame.pixels)
        if sight.moving or not sight.present:
            return


def _until_timeout(frames: Iterator[Frame], missed: str) -> Iterator[Frame]:
    deadline_s = time.monotonic() + PERSON_TIMEOUT_S
    for frame in frames:
        if time.monotonic() > deadline_s:
            raise TeachingError(f"{missed} within {PERSON_TIMEOUT_S:g} s; nothing was taught")
        yield frame


def _report(head: FewshotHead, file: Path, copies: int | None, *, as_json: bool) -> None:
    """Print one head. copies: photos set aside, None where that is not known."""
    counts, distinct = head.examples.counts(), head.distinct
    if copies:
        _progress(f"{copies} of the photos are copies of others and were set aside")
    if as_json:
        summary = Summary(
            file=str(file),
            bundle=head.name,
            labels=head.labels,
            photos=counts,
            distinct=distinct,
            sequences=head.sequences,
            isolated=head.examples.isolated_counts(),
            copies=copies,
            only=head.only,
            right=_rounded(head.right),
            sure=_rounded(head.sure),
            sure_right=_rounded(head.sure_right),
            reject_below=head.reject_below,
        )
        print(json.dumps(msgspec.to_builtins(summary), ensure_ascii=False), flush=True)
        return
    taught = ", ".join(f"{label} {count}{_note_duplicates(count, distinct[label])}" for label, count in counts.items())
    rest = "these labels alone are in use" if head.only else f"{len(head.labels)} labels are in use"
    right = "" if head.right is None else f"; cross-validated, {head.right:.1%} of them get the right label"
    surely = "" if head.sure is None else f"; {head.sure:.1%} are sure enough to be sorted"
    surely += "" if head.sure_right is None else f", {head.sure_right:.1%} of these are right"
    print(f"{file}: photos of {taught}; {rest}{right}{surely}", flush=True)
    once = [label for label, count in (head.sequences or distinct).items() if count == 1]
    if once:
        print(f"{', '.join(once)}: all photos look alike, so there is no estimate for other items; show others", flush=True)
    if head.sure is not None and head.sure < ADVISE_BELOW:
        print("the others go to the residual bin. What helps: more photos of other items; --only, where nothing else comes", flush=True)
    for label, rival in head.rivals():
        print(f"{label}: the bundle takes it for {rival}, a label that stays in use. --only avoids that mistake, where nothing else comes")


def _note_duplicates(count: int, distinct: int) -> str:
    if distinct == count:
        return ""
    return " (all alike)" if distinct == 1 else f" ({distinct} distinct)"


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def _label(text: str) -> str:
    try:
        return label_of(text)
    except LabelError as error:
        raise argparse.ArgumentTypeError(f"expected a label, found {text!r}") from error
