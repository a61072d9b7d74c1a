"""What a bundle thinks of the labels of a place before a head is fitted to photos from there."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from device.vision.head import Floats, Ints, Lessons
from device.vision.kinship import kinship, kinship_to_others, split, taken
from device.vision.place import Place, learn
from device.vision.reference import Reference

STAYS = 1.0
"""photos of each label that stays although nobody taught it that are supposed to have been shown: something of what is taken for it remains to it"""
IMAGINED = 5.0
"""photos that the imagined one of each label that stays untaught is worth, less where new labels take that label over: with none, all that lies here
would be taken for what was taught"""
SURELY = 0.9
"""what the bundle is supposed to think of the label of an imagined photo"""


@dataclass(frozen=True, eq=False)
class Prior:
    """Log probabilities of labels of which the bundle knows some.

    columns: its labels that stay, as indices, in the order of labels after teaching; new ones come last. taken: what each new label takes over
    of each label of the bundle (see `kinship.taken`). place: where it does, None for wherever.
    """

    columns: Ints
    taken: Floats
    place: Place | None

    def of(self, probabilities: Floats, embeddings: Floats) -> Floats:
        """Views x labels, not brought to a sum of 1. probabilities: views x labels of the bundle, calibrated; embeddings: views x features."""
        here = np.ones(len(embeddings)) if self.place is None else self.place.here(embeddings, probabilities)
        return split(probabilities, self.columns, self.taken, here)


def elsewhere(start: Floats) -> Floats:
    """How surely the bundle takes each view for labels that do not count here, in nats, 0 where none were left out. start: as `Prior.of` gives it."""
    return np.asarray(np.maximum(-np.logaddexp.reduce(start, axis=1), 0.0), np.float64)


class Start(NamedTuple):
    """A prior; what it says of each taught view by other photos than its own, views x labels; and a lesson for each label that nobody taught."""

    prior: Prior
    unseen: Floats
    imagined: Lessons


def begin(reference: Reference, columns: Ints, embeddings: Floats, probabilities: Floats, targets: Ints, photos: Ints, *, only: bool) -> Start:
    """What is known before a head is fitted.

    columns: see `Prior`. embeddings: of taught views, views x features, float64; probabilities: views x labels of the bundle; targets, photos: the
    label of each view, after teaching, and which photo it is of. only: whether labels that were not taught are left out.
    """
    means = reference.means.astype(np.float64)
    labels = np.unique(targets)
    new = labels[labels >= len(columns)]
    untaught = np.setdiff1d(np.arange(len(columns)), labels)
    once = 1 / np.unique(photos, return_counts=True)[1][np.unique(photos, return_inverse=True)[1]]
    counts = np.bincount(targets, once)[new]
    # What is taken for a label that does not occur here tells little of which it is: as if all that was shown had been taken for that one as well.
    supposed = np.full(len(means), once.sum())
    supposed[columns] = np.where(np.isin(np.arange(len(columns)), untaught), STAYS, 0.0)
    others = supposed + (once * (targets < len(columns))) @ probabilities

    taking = taken(kinship(probabilities, targets, photos, new), counts, others)
    apart = taken(kinship_to_others(probabilities, targets, photos, new), counts, others)
    if only or not len(new):  # whatever is shown is taken to lie here
        unseen = split(probabilities, columns, apart, np.ones(len(targets)))
        return Start(Prior(columns, taking, None), unseen, _imagined(untaught[:0], taking, columns, means))
    found = learn(reference.spread(), means, embeddings, probabilities, targets, photos)
    unseen = split(probabilities, columns, apart, found.unseen)
    return Start(Prior(columns, taking, found.place), unseen, _imagined(untaught, taking, columns, means + found.shift))


def _imagined(untaught: Ints, taking: Floats, columns: Ints, embeddings: Floats) -> Lessons:
    """One photo of each label that nobody taught, as it would look here. embeddings: labels of the bundle x features."""
    own = columns[untaught]
    probabilities = np.full((len(own), taking.shape[1]), (1 - SURELY) / taking.shape[1])
    probabilities[np.arange(len(own)), own] += SURELY
    before = split(probabilities, columns, taking, np.ones(len(own)))
    return Lessons(embeddings[own], before, untaught, IMAGINED * (1 - taking.sum(axis=0)[own]))
