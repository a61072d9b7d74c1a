"""`sortbin teach`: show the bin what comes at its place, or give it photos of that."""

import argparse
import contextlib
import json
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec

from device.cameras import CameraError, EndOfFrames, Frame
from device.cameras.opening import open_camera
from device.daemon import open_classifier, read_rule_pack
from device.rules import find_rules, read_rules
from device.settings import DEFAULT_FILE, read_settings
from device.taught import bin_stopped, keep, read_taught, taught_files, undo
from device.vision.bundle import Bundle, default_bundle, find_bundle, read_bundle
from device.vision.classifier import Classifier
from device.vision.empty import EmptyViews
from device.vision.isolate import isolate, whole_frame
from device.vision.looks import taught_views
from device.vision.pictures import find_pictures, read_pixels
from device.vision.preprocess import Pixels
from device.vision.presence import EmptyView, PresenceSettings
from device.vision.reference import read_reference
from device.vision.teaching import Examples, Photo, Teaching, TeachingError, labels_after, look_at, read_teaching, teach
from device.vision.unknown import read_known

CAMERA_S = 8.0
"""longest wait for a frame"""
PERSON_S = 120.0
"""longest wait for a person to lay the next item on the tray"""
MOSTLY_SURE = 0.8
"""share of the taught photos that are named surely enough for their bin below which it is said what helps"""


class Summary(msgspec.Struct, frozen=True):
    """One teaching, as `--json` shows it. photos: taught of each label; right, sure: shares of them named right, and named surely enough for
    their bin, while left out of the fit; sure is null for a file that does not say.
    """

    file: str
    bundle: str
    labels: tuple[str, ...]
    photos: dict[str, int]
    only: bool
    right: float
    sure: float | None
    reject_below: float


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `teach` to the command line."""
    parser = commands.add_parser(
        "teach",
        help="teach the bin the items of its place, old labels or new ones",
        description="Teach from photos (--from, a folder a label), or show items to the bin's own camera (LABEL --frames N). Ten photos a label are "
        "a good start; more, of other items, are better than more of the same. What was taught is kept apart from the bundle. "
        "With --out it is written to one file, for `sortbin classify --teaching`; without, it goes into the bin's state folder and counts from its "
        "next start on. A new label needs a bin before it goes into a bin's state folder: add it to the rule pack first. "
        "Exit status: 0 done, 2 photos, settings, a bundle or a rule pack that cannot be used.",
    )
    parser.add_argument("label", metavar="LABEL", nargs="?", help="what will be laid on the tray, in front of the bin's camera")
    parser.add_argument("--frames", type=frames, default=10, metavar="N", help="with LABEL: how many frames to take (default: 10)")
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
    parser.add_argument("--only", action="store_true", help="from now on know only labels that were taught")
    parser.add_argument("--list", action="store_true", help="list what the bin was taught; the last line counts")
    parser.add_argument("--undo", action="store_true", help="take back what was taught last; what counted before counts again")
    parser.add_argument("--bundle", type=find_bundle, metavar="BUNDLE", help="with --out: folder of the bundle (default: the one that comes along)")
    parser.add_argument(
        "--rules", metavar="PACK", help="with --out: rule pack, its file or name, that must have a bin for every label (default: none has to)"
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_FILE, metavar="FILE", help="without --out: settings file (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="say what was taught as one JSON object (--list: one a line)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Teach, list or undo. Returns the exit status."""
    asked = [
        name
        for name, given in (("LABEL", arguments.label), ("--from", arguments.source), ("--list", arguments.list), ("--undo", arguments.undo))
        if given
    ]
    if len(asked) != 1:
        raise TeachingError(f"expected one of LABEL, --from, --list and --undo, got {' and '.join(asked) or 'none'}")
    if arguments.out and not arguments.source:
        raise TeachingError(f"--out: goes with --from, not with {asked[0]}")
    if arguments.out:
        return _to_file(arguments)
    settings = read_settings(arguments.config)
    state = Path(settings.device.state)
    if arguments.list:
        bundle = read_bundle(find_bundle(settings.model.bundle) if settings.model.bundle else default_bundle())
        for file in taught_files(state):
            _say(read_teaching(file, bundle), file, as_json=arguments.json)
        return 0
    with bin_stopped(state):
        if arguments.undo:
            print(f"{undo(state)} is gone", flush=True)
            return 0
        classifier = open_classifier(settings)
        before = read_taught(state, classifier.bundle)
        known = before.examples.labels if before is not None else ()
        only = arguments.only or (before is not None and before.only)
        folders = _folders(arguments.source) if arguments.source else {}
        labels = labels_after(classifier.labels, (*known, *(folders or (arguments.label,))), only=only)
        read_rule_pack(settings, labels, classifier.labels)
        if arguments.source:
            photos = _photos(folders, arguments.background, classifier.bundle)
        else:
            with contextlib.closing(open_camera(settings.camera)) as camera:
                photos = list(_shown(arguments.label, camera, settings.presence, classifier.bundle, arguments.frames))
        taught = look_at(photos, classifier)
        teaching = _taught(taught if before is None else before.examples.followed_by(taught), classifier.bundle, only=only)
        _say(teaching, keep(teaching, state), as_json=arguments.json)
    return 0


def _to_file(arguments: argparse.Namespace) -> int:
    bundle = read_bundle(arguments.bundle or default_bundle())
    classifier = Classifier(bundle)
    classifier.check_known_answer()
    folders = _folders(arguments.source)
    labels = labels_after(classifier.labels, tuple(folders), only=arguments.only)
    if arguments.rules:
        read_rules(find_rules(arguments.rules), labels, classifier.labels)
    teaching = _taught(look_at(_photos(folders, arguments.background, bundle), classifier), bundle, only=arguments.only)
    try:
        teaching.write(arguments.out)
    except OSError as error:
        raise TeachingError(f"--out {arguments.out}: {error.strerror}") from error
    _say(teaching, arguments.out, as_json=arguments.json)
    return 0


def _taught(examples: Examples, bundle: Bundle, *, only: bool) -> Teaching:
    return teach(examples, bundle, read_reference(bundle), read_known(bundle), only=only)


def _folders(source: Path) -> dict[str, Path]:
    """The folder of each label, by the label."""
    if not source.is_dir():
        raise TeachingError(f"{source}: expected a folder with a folder of photos for each label")
    folders = sorted(folder for folder in source.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not folders:
        raise TeachingError(f"{source}: expected a folder of photos for each label in it, found no folder")
    return {unicodedata.normalize("NFC", folder.name): folder for folder in folders}


def _photos(folders: dict[str, Path], backgrounds: list[Path], bundle: Bundle) -> list[Photo]:
    empty = EmptyViews(read_pixels(view) for path in backgrounds for view in find_pictures(path))
    photos = ((label, read_pixels(photo)) for label, folder in folders.items() for photo in find_pictures(folder))
    return [_photo(label, pixels, empty, bundle) for label, pixels in photos]


def _photo(label: str, pixels: Pixels, empty: EmptyViews, bundle: Bundle) -> Photo:
    ground = bundle.info.ground
    item = isolate(pixels, empty, ground) if empty.known else whole_frame(pixels, "no empty view")
    return Photo(label, taught_views(pixels, item, ground), item.found)


class _Camera(Protocol):
    def latest(self, number: int, wait_s: float) -> Frame | None: ...


def _shown(label: str, camera: _Camera, presence: PresenceSettings, bundle: Bundle, count: int) -> Iterator[Photo]:
    """One frame each time something new has come to rest on the tray, isolated against the tray as it was at first."""
    view, empty = EmptyView(presence), EmptyViews()
    frames = _frames(camera)
    print("leave the tray empty", flush=True)
    try:
        while not view.known:
            frame = next(frames)
            view.learn(frame.pixels)
        empty.see(frame.pixels)
        for taken in range(count):
            print(
                f"{taken + 1} of {count}: lay an item on the tray" if taken == 0 else f"{taken + 1} of {count}: turn it, or lay another", flush=True
            )
            yield _photo(label, _rested(frames, view, presence), empty, bundle)
            if taken + 1 < count:
                _changed(frames, view)
    except EndOfFrames as error:
        raise TeachingError("the camera has shown all it has before enough frames were taken") from error


def _frames(camera: _Camera) -> Iterator[Frame]:
    number = 0
    while True:
        frame = camera.latest(number, CAMERA_S)
        if frame is None:
            raise CameraError(f"camera: no picture within {CAMERA_S:g} s; is it plugged in, and free?")
        number = frame.number
        yield frame


def _rested(frames: Iterator[Frame], view: EmptyView, presence: PresenceSettings) -> Pixels:
    """The first frame on which something has lain still for long enough."""
    still_since_s: float | None = None
    for frame in _awaited(frames, "nothing came to rest on the tray"):
        sight = view.look(frame.pixels)
        if sight.moving or not sight.present:
            still_since_s = None
        elif still_since_s is None:
            still_since_s = frame.taken_s
        elif frame.taken_s - still_since_s >= presence.still_s:
            return frame.pixels
    raise AssertionError("frames never end")


def _changed(frames: Iterator[Frame], view: EmptyView) -> None:
    for frame in _awaited(frames, "the item was not moved"):
        sight = view.look(frame.pixels)
        if sight.moving or not sight.present:
            return


def _awaited(frames: Iterator[Frame], missed: str) -> Iterator[Frame]:
    deadline_s = time.monotonic() + PERSON_S
    for frame in frames:
        if time.monotonic() > deadline_s:
            raise TeachingError(f"{missed} within {PERSON_S:g} s; nothing was taught")
        yield frame


def _say(teaching: Teaching, file: Path, *, as_json: bool) -> None:
    counts = teaching.examples.counts()
    if as_json:
        right, sure = round(teaching.right, 4), None if teaching.sure is None else round(teaching.sure, 4)
        summary = Summary(str(file), teaching.name, teaching.labels, counts, teaching.only, right, sure, teaching.reject_below)
        print(json.dumps(msgspec.to_builtins(summary), ensure_ascii=False), flush=True)
        return
    taught = ", ".join(f"{label} {count}" for label, count in counts.items())
    rest = "these alone are known" if teaching.only else f"{len(teaching.labels)} labels are known"
    surely = "" if teaching.sure is None else f", {teaching.sure:.1%} surely enough for their bin"
    print(f"{file}: photos of {taught}; {rest}; left out of the fit {teaching.right:.1%} of them are named right{surely}", flush=True)
    if teaching.sure is not None and teaching.sure < MOSTLY_SURE:
        print("the others go to the residual bin: more photos, of other items, or --only where nothing else comes, make it surer", flush=True)
    for label, rival in teaching.rivals():
        print(
            f"{label} is {rival} to the bundle, and {rival} stays known beside it; --only, where nothing else comes, leaves no room for that mistake"
        )


def frames(text: str) -> int:
    """Parse a number of frames."""
    n = int(text)
    if not 1 <= n <= 500:
        raise argparse.ArgumentTypeError(f"expected 1 to 500, found {text}")
    return n
