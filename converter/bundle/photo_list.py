"""`photos.txt` of a bundle: which photos it was made from, by what is in them, so that nobody takes photos it was trained on for a test.

A line a photo: the first digits of its sha256, and `train` or `val`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from converter.data.photos import Photo, PhotosError, Split, read_part, read_photos, read_split
from converter.data.run import Run
from converter.quantization import calibration
from device.vision.inference.bundle import Bundle, hash_file

FILE = "photos.txt"
_DIGITS = 16


@dataclass(frozen=True)
class PhotoList:
    """Digests of photos, each as often as there were copies of it. train: what the network was trained on, or was calibrated on where another
    maker trained it; val: what its claims were measured on.
    """

    train: Counter[str]
    val: Counter[str]

    def text(self) -> str:
        """The content of the file, sorted by digest."""
        lines = sorted(f"{digest} {part}\n" for part, digests in (("train", self.train), ("val", self.val)) for digest in digests.elements())
        return "".join(lines)


@dataclass(frozen=True)
class EvaluationPhotos:
    """Photos to measure a bundle on. claimed: whether they are those that its claims are about. remark: what else is to be said of them, or empty."""

    photos: tuple[Photo, ...]
    claimed: bool
    remark: str


def read_photo_list(bundle: Bundle) -> PhotoList | None:
    """The photos that a bundle lists; None of an older one, which lists none."""
    if FILE not in bundle.info.files:
        return None
    parts: dict[str, Counter[str]] = {"train": Counter(), "val": Counter()}
    for line in (bundle.folder / FILE).read_text(encoding="utf-8").split("\n"):
        digest, _, part = line.partition(" ")
        if part in parts:
            parts[part][digest] += 1
    return PhotoList(parts["train"], parts["val"])


def photo_list(train: Iterable[Photo], val: Iterable[Photo]) -> PhotoList:
    """The list of these photos, whose files are read."""
    return PhotoList(Counter(map(photo_digest, train)), Counter(map(photo_digest, val)))


def choose_evaluation_photos(bundle: Bundle, data: Path, split: str, run: Run | None = None) -> EvaluationPhotos:
    """What to measure a bundle on: photos of `split` below `data`, those of the bundle's own validation where they are there.

    Photos that it was trained on are left out of `val` and `test`, and are named in the others. run: what it is said to be made of. Raises
    PhotosError, also where nothing is left.
    """
    listed = _listed(bundle, data, run)
    if listed is None:
        return EvaluationPhotos(read_part(data, split), False, _unlisted(bundle, data))
    word = "trained" if bundle.info.foreign is msgspec.UNSET else "calibrated"
    own = run.val if run is not None else photos_with_digests(read_photos(data), listed.val)
    if split == "val" and own:
        found = Counter(map(photo_digest, own))
        if found <= listed.val:
            missing = (listed.val - found).total()
            return EvaluationPhotos(
                own, not missing, _foreign(bundle) or (f"{missing} of its {listed.val.total()} validation photos missing" if missing else "")
            )
    photos = own if split == "val" and run is not None else read_part(data, split)
    seen = {photo for photo in photos if photo_digest(photo) in listed.train}
    if not seen:
        return EvaluationPhotos(photos, False, _foreign(bundle) or f"it was {word} on none of these {len(photos)} photos")
    if split not in ("val", "test"):
        return EvaluationPhotos(photos, False, f"it was {word} on {len(seen)} of these {len(photos)} photos: this is no test")
    rest = tuple(photo for photo in photos if photo not in seen)
    if not rest:
        raise PhotosError(
            f"{data}: {bundle.folder} was {word} on all {len(photos)} photos of {split}: no test; expected other photos, or --split all"
        )
    return EvaluationPhotos(rest, False, f"{len(seen)} photos that it was {word} on are left out")


def photos_with_digests(photos: Iterable[Photo], wanted: Counter[str]) -> tuple[Photo, ...]:
    """The photos with these digests, as many copies of each as are wanted."""
    left, found = Counter(wanted), []
    for photo in photos:
        digest = photo_digest(photo)
        if left[digest] > 0:
            left[digest] -= 1
            found.append(photo)
    return tuple(found)


def photo_digest(photo: Photo) -> str:
    """What a list calls a photo. Raises OSError."""
    return hash_file(photo.path)[:_DIGITS]


def listed_split(bundle: Bundle, data: Path) -> Split | None:
    """The photos below `data` that a bundle was trained on and chosen by, where all of them are there and it is known which were which."""
    listed = _listed(bundle, data, None)
    if listed is None:
        return None
    photos = read_photos(data)
    train, val = photos_with_digests(photos, listed.train), photos_with_digests(photos, listed.val)
    complete = (len(train), len(val)) == (listed.train.total(), listed.val.total()) and not set(train) & set(val)
    return Split(tuple(sorted(bundle.info.labels)), train, val) if complete else None


def _listed(bundle: Bundle, data: Path, run: Run | None) -> PhotoList | None:
    """What the bundle lists; of an older one, the split of `run` or `data` that it was made with, if that can be told."""
    found = read_photo_list(bundle)
    if found is not None:
        return found
    seeds = dict.fromkeys((bundle.info.calibration.seed, 0, 1))
    tried = (read_split(data, seed=seed) for seed in seeds) if run is None else (run,)
    return next((photo_list(split.train, split.val) for split in tried if _made_with(bundle, split)), None)


def _made_with(bundle: Bundle, split: Split | Run) -> bool:
    """Whether the bundle was made of these photos, and calibrated on its training photos."""
    info = bundle.info
    if not _same_photos(bundle, (*split.train, *split.val)):
        return False
    chosen = calibration.choose_photos(split.train, info.calibration.n, info.calibration.seed)
    return calibration.fingerprint(chosen, names=False) == info.calibration.sha256


def _same_photos(bundle: Bundle, photos: Sequence[Photo]) -> bool:
    return calibration.fingerprint(sorted(photos), names=True) == bundle.info.data_fingerprint


def _unlisted(bundle: Bundle, data: Path) -> str:
    if _same_photos(bundle, read_photos(data)):
        return "it was made from these photos and does not say which it was trained on: this is no test; name its run with --run"
    return "it does not list the photos it was made from, being older: it may have been trained on some of these"


def _foreign(bundle: Bundle) -> str:
    return "" if bundle.info.foreign is msgspec.UNSET else "which photos the network was trained on is not known; it may be these"
