"""What a bundle thinks of the labels of a place before a head is fitted to photos from there."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from device.vision.head import Floats, Ints, Lessons
from device.vision.kinship import kinship, kinship_to_others, split, taken
from device.vision.place import Place, learn
from device.vision.reference import Reference

Flags = npt.NDArray[np.bool_]

RARE = 0.25
"""how often a label that nobody taught is supposed to come here, to one that was taught: who teaches a place shows what comes there"""
SURELY = 0.9
"""what the bundle is supposed to think of the label of an imagined photo"""


class Views(NamedTuple):
    """Taught views, a row each.

    embeddings: x features, float64. probabilities: x labels of the bundle. targets, photos: the label of each, after teaching, and which photo it
    is of. isolated: whether it shows an item that was told apart from the place's empty view.
    """

    embeddings: Floats
    probabilities: Floats
    targets: Ints
    photos: Ints
    isolated: Flags


@dataclass(frozen=True, eq=False)
class Prior:
    """Log probabilities of labels of which the bundle knows some.

    columns: its labels that stay, as indices, in the order of labels after teaching; new ones come last. taken: what each new label takes over
    of each label of the bundle (see `kinship.taken`). often: how often each label after teaching is supposed to come here, to one that was taught.
    place: tells whether a view lies where that holds, None for wherever.
    """

    columns: Ints
    taken: Floats
    often: Floats
    place: Place | None

    def of(self, probabilities: Floats, embeddings: Floats, isolated: Flags) -> Floats:
        """Views x labels, not brought to a sum of 1. probabilities: views x labels of the bundle, calibrated; embeddings: views x features; isolated:
        whether each shows an item that was told apart from the place's empty view, and so lies here for sure.
        """
        here = np.ones(len(isolated)) if self.place is None else np.where(isolated, 1.0, self.place.here(embeddings, probabilities))
        return self.where(probabilities, self.taken, here)

    def where(self, probabilities: Floats, shares: Floats, here: Floats) -> Floats:
        """The same, with what new labels take over of each view's labels, and with how likely each view lies here, 0..1."""
        return np.asarray(split(probabilities, self.columns, shares, here) + np.log(1 - here[:, np.newaxis] * (1 - self.often)), np.float64)


def elsewhere(start: Floats) -> Floats:
    """How surely the bundle takes each view for labels that do not count here, in nats, 0 where none were left out. start: as `Prior.of` gives it."""
    return np.asarray(np.maximum(-np.logaddexp.reduce(start, axis=1), 0.0), np.float64)


class Start(NamedTuple):
    """A prior; what it says of each taught view by other photos than its own, views x labels; and a lesson for each label that nobody taught."""

    prior: Prior
    unseen: Floats
    imagined: Lessons


def begin(reference: Reference, columns: Ints, views: Views, *, only: bool) -> Start:
    """What is known before a head is fitted.

    columns: see `Prior`. only: whether labels that were not taught are left out.
    """
    means = reference.means.astype(np.float64)
    labels = np.unique(views.targets)
    new = labels[labels >= len(columns)]
    untaught = np.setdiff1d(np.arange(len(columns)), labels)
    once = 1 / np.unique(views.photos, return_counts=True)[1][np.unique(views.photos, return_inverse=True)[1]]
    often = np.ones(len(columns) + len(new))
    often[untaught] = RARE
    of_each = once.sum() / len(labels)

    def shares(kin: Floats) -> Floats:
        # What is taken for a label that does not occur here tells little of which it is: as if all that was shown were taken for that one as well.
        supposed = np.full((*kin.shape[:-2], kin.shape[-1]), once.sum())
        supposed[..., columns] = 0.0
        # A label that stays is supposed to come as well, unless it is what new labels are called elsewhere.
        stays = columns[untaught]
        supposed[..., stays] = of_each * (1 - kin.max(axis=-2, initial=0.0))[..., stays]
        taught = (once * (views.targets < len(columns))) @ views.probabilities
        return taken(kin, np.bincount(views.targets, once)[new], supposed + taught)

    taking = shares(kinship(views.probabilities, views.targets, views.photos, new))
    apart = shares(kinship_to_others(views.probabilities, views.targets, views.photos, new))
    if only or not len(new) + len(untaught):  # whatever is shown is taken to lie here, or it does not matter
        prior, here, shift = Prior(columns, taking, often, None), np.ones(len(views.targets)), np.zeros(means.shape[1])
    else:
        found = learn(reference.spread(), means, views.embeddings, views.probabilities, views.targets, views.photos)
        prior, here, shift = Prior(columns, taking, often, found.place), np.where(views.isolated, 1.0, found.unseen), found.shift
    # Labels of its own the bundle tells apart by itself; beside new ones, all that lies here would be taken for what was taught.
    imagined = untaught if len(new) else untaught[:0]
    return Start(prior, prior.where(views.probabilities, apart, here), _imagined(prior, imagined, means + shift, RARE * of_each))


def _imagined(prior: Prior, untaught: Ints, embeddings: Floats, photos: float) -> Lessons:
    """One of each label that nobody taught, as it would look here. embeddings: labels of the bundle x features. photos: that each is worth, less
    where new labels take its label over.
    """
    own = prior.columns[untaught]
    probabilities = np.full((len(own), prior.taken.shape[1]), (1 - SURELY) / prior.taken.shape[1])
    probabilities[np.arange(len(own)), own] += SURELY
    before = prior.where(probabilities, prior.taken, np.ones(len(own)))
    return Lessons(embeddings[own], before, untaught, photos * (1 - prior.taken.sum(axis=0)[own]))
