"""Leave each place out once: what is trained on in its round, and what it is measured on.

A round trains as `training fit --data DATA --also PLACE --also PLACE ...` does, without the place that is left out. The data set is a place as well;
in its round, whole groups of the other places are drawn for validation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from converter.data.photos import Photo, Split, read_split
from device.policy.rules import RulePack
from training.fit.job import TrainingJob
from training.fit.recipe import TrainingRecipe
from training.left_out.place import PhotoPlace, PhotoPlaceError

VAL_SHARE = 0.15
"""share of each label's photos that is drawn for validation where the data set is left out"""


@dataclass(frozen=True, eq=False)
class LeftOutRound:
    """A place that is left out, as it is measured; how many of its photos have other labels; and what is trained on."""

    place: PhotoPlace
    others: int
    job: TrainingJob


def plan_rounds(data: PhotoPlace, places: Sequence[PhotoPlace], recipe: TrainingRecipe, rules: RulePack | None) -> list[LeftOutRound]:
    """One round for each place, and one for the data set where the places have all of its labels. Raises PhotoPlaceError and PhotosError.

    data: the data set as a place; its own split is read with the recipe's seed.
    """
    split = read_split(data.folder, seed=recipe.seed)
    shown = {photo.name for photo in data.photos}
    train, val = (tuple(photo for photo in part if photo.name in shown) for part in (split.train, split.val))
    kept = [place.of_labels(split.labels) for place in places]
    named = {place.name: tuple(_named(photo, place.name) for photo in place.photos) for place in kept}
    rounds = []
    for place, whole in zip(kept, places, strict=True):
        extra = tuple(photo for name, photos in named.items() if name != place.name for photo in photos)
        job = TrainingJob(recipe, Split(split.labels, train, val), rules, extra_photos=extra)
        rounds.append(LeftOutRound(place, len(whole.photos) - len(place.photos), job))
    if {photo.label for photos in named.values() for photo in photos} == set(split.labels):
        drawn = _draw_split(kept, split.labels, recipe.seed)
        own = data.of_labels(split.labels)
        rounds.append(LeftOutRound(own, len(data.photos) - len(own.photos), TrainingJob(recipe, drawn, rules)))
    return rounds


def _named(photo: Photo, place: str) -> Photo:
    """The photo under a name that says where it comes from."""
    return replace(photo, name=f"{place}/{photo.name}", place=place)


def _draw_split(places: Sequence[PhotoPlace], labels: tuple[str, ...], seed: int) -> Split:
    """Draw whole groups of each label at each place for validation, never all of them."""
    rng = np.random.default_rng(seed)
    train: list[Photo] = []
    val: list[Photo] = []
    for place in places:
        of_label = np.array([photo.label for photo in place.photos])
        drawn: set[int] = set()
        for label in place.labels:
            groups = rng.permutation(np.unique(place.groups[of_label == label]))
            sizes = [int((place.groups[of_label == label] == group).sum()) for group in groups]
            wanted = VAL_SHARE * sum(sizes)
            drawn.update(groups[:-1][np.cumsum(sizes)[:-1] <= max(wanted, sizes[0])].tolist())
        for photo, group in zip(place.photos, place.groups.tolist(), strict=True):
            (val if group in drawn else train).append(_named(photo, place.name))
    missing = set(labels) - {photo.label for photo in train}
    if missing or not val:
        what = f"more items or sequences of {min(missing)}" if missing else "more items or sequences"
        raise PhotoPlaceError(f"{', '.join(place.name for place in places)}: expected {what}, so that some are left to validate with")
    return Split(labels, tuple(train), tuple(val))


def require_same_start(out: Path, start: str) -> None:
    """Note what rounds in the folder `out` start from, or compare it with an earlier note. Raises PhotoPlaceError where it differs."""
    file = out / "start.txt"
    if not file.is_file():
        out.mkdir(parents=True, exist_ok=True)
        file.write_text(start + "\n", encoding="utf-8")
    elif file.read_text(encoding="utf-8").strip() != start:
        raise PhotoPlaceError(f"{out}: its rounds began with other --weights, see {file.name} there; name another folder")
