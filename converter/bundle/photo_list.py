"""`photos.txt` of a bundle: the photos it was made from, so that none of its training photos is used to test it.

One line per photo: the first digits of its sha256, and `train` or `val`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from converter.data.photos import Photo, PhotosError, Split, read_part, read_photos, read_split
from converter.data.training_run import Run
from converter.quantization import calibration_photos as calibration
from device.vision.inference.bundle import Bundle, hash_file

FILE = "photos.txt"
_DIGITS = 16


@dataclass(frozen=True)
class PhotoList:
    """Digests of photos; each is counted once per copy. train: training photos, or the calibration photos of a foreign network. val: the photos
    that the bundle's figures were measured on.
    """

    train: Counter[str]
    val: Counter[str]

    def text(self) -> str:
        """The content of the file, sorted by digest."""
        lines = sorted(f"{digest} {part}\n" for part, digests in (("train", self.train), ("val", self.val)) for digest in digests.elements())
        return "".join(lines)


@dataclass(frozen=True)
class EvaluationPhotos:
    """Photos to measure a bundle on. claimed: whether the bundle's claims are about exactly these. remark: a note for the user, or empty."""

    photos: tuple[Photo, ...]
    claimed: bool
    remark: str


def read_photo_list(bundle: Bundle) -> PhotoList | None:
    """The photo list of a bundle; None for an older bundle without one."""
    if FILE not in bundle.info.files:
        return None
    parts: dict[str, Counter[str]] = {"train": Counter(), "val": Counter()}
    for line in (bundle.folder / FILE).read_text(encoding="utf-8").split("\n"):
        digest, _, part = line.partition(" ")
        if part in parts:
            parts[part][digest] += 1
    return PhotoList(parts["train"], parts["val"])


def photo_list(train: Iterable[Photo], val: Iterable[Photo]) -> PhotoList:
    """The list of these photos. Their files are read. Raises OSError."""
    return PhotoList(Counter(map(photo_digest, train)), Counter(map(photo_digest, val)))


def choose_evaluation_photos(bundle: Bundle, data: Path, split: str, run: Run | None = None) -> EvaluationPhotos:
    """The photos of `split` below `data` to measure a bundle on. For `val` these are the bundle's own validation photos if they exist there.

    Photos that it was trained on are left out of `val` and `test`; for other splits the remark counts them. run: the run it is said to be made of.
    Raises PhotosError, also if no photo is left.
    """
    listed = _list_or_match(bundle, data, run)
    if listed is None:
        return EvaluationPhotos(read_part(data, split), False, _unlisted_remark(bundle, data))
    word = "trained" if bundle.info.foreign is msgspec.UNSET else "calibrated"
    own = run.val if run is not None else photos_with_digests(read_photos(data), listed.val)
    if split == "val" and own:
        found = Counter(map(photo_digest, own))
        if found <= listed.val:
            missing = (listed.val - found).total()
            return EvaluationPhotos(
                own, not missing, _foreign_remark(bundle) or (f"{missing} of its {listed.val.total()} validation photos missing" if missing else "")
            )
    photos = own if split == "val" and run is not None else read_part(data, split)
    trained_on = {photo for photo in photos if photo_digest(photo) in listed.train}
    if not trained_on:
        return EvaluationPhotos(photos, False, _foreign_remark(bundle) or f"it was {word} on none of these {len(photos)} photos")
    if split not in ("val", "test"):
        return EvaluationPhotos(photos, False, f"it was {word} on {len(trained_on)} of these {len(photos)} photos: this is no test")
    others = tuple(photo for photo in photos if photo not in trained_on)
    if not others:
        raise PhotosError(
            f"{data}: {bundle.folder} was {word} on all {len(photos)} photos of {split}: no test; expected other photos, or --split all"
        )
    return EvaluationPhotos(others, False, f"{len(trained_on)} photos that it was {word} on are left out")


def photos_with_digests(photos: Iterable[Photo], wanted: Counter[str]) -> tuple[Photo, ...]:
    """The photos with these digests, as many copies of each as `wanted` counts."""
    left, found = Counter(wanted), []
    for photo in photos:
        digest = photo_digest(photo)
        if left[digest] > 0:
            left[digest] -= 1
            found.append(photo)
    return tuple(found)


def photo_digest(photo: Photo) -> str:
    """The digest of a photo in a list. Raises OSError."""
    return hash_file(photo.path)[:_DIGITS]


def listed_split(bundle: Bundle, data: Path) -> Split | None:
    """The split that a bundle was made with; None unless the list is known and all of its photos are below `data`."""
    listed = _list_or_match(bundle, data, None)
    if listed is None:
        return None
    photos = read_photos(data)
    train, val = photos_with_digests(photos, listed.train), photos_with_digests(photos, listed.val)
    complete = (len(train), len(val)) == (listed.train.total(), listed.val.total()) and not set(train) & set(val)
    return Split(tuple(sorted(bundle.info.labels)), train, val) if complete else None


def _list_or_match(bundle: Bundle, data: Path, run: Run | None) -> PhotoList | None:
    """The bundle's own list. For an older bundle without one: the split of `run` or `data` whose photos match its hashes, or None."""
    found = read_photo_list(bundle)
    if found is not None:
        return found
    seeds = dict.fromkeys((bundle.info.calibration.seed, 0, 1))
    tried = (read_split(data, seed=seed) for seed in seeds) if run is None else (run,)
    return next((photo_list(split.train, split.val) for split in tried if _matches_split(bundle, split)), None)


def _matches_split(bundle: Bundle, split: Split | Run) -> bool:
    """Whether the hashes of the bundle match these photos and calibration photos drawn from their training part."""
    info = bundle.info
    if not _same_photos(bundle, (*split.train, *split.val)):
        return False
    chosen = calibration.choose_photos(split.train, info.calibration.n, info.calibration.seed)
    return calibration.fingerprint(chosen, names=False) == info.calibration.sha256


def _same_photos(bundle: Bundle, photos: Sequence[Photo]) -> bool:
    return calibration.fingerprint(sorted(photos), names=True) == bundle.info.data_fingerprint


def _unlisted_remark(bundle: Bundle, data: Path) -> str:
    if _same_photos(bundle, read_photos(data)):
        return "it was made from these photos and does not say which it was trained on: this is no test; name its run with --run"
    return "it does not list the photos it was made from, being older: it may have been trained on some of these"


def _foreign_remark(bundle: Bundle) -> str:
    return "" if bundle.info.foreign is msgspec.UNSET else "which photos the network was trained on is not known; it may be these"
