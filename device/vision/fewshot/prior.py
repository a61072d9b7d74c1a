"""What a bundle thinks of the labels of a place before a head is fitted to photos from there."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float64Array
from device.vision.fewshot.domain import DomainDirection, domain_shift, fit_domain
from device.vision.fewshot.head import WHOLE, Ints, PseudoExamples, TrainingSet
from device.vision.fewshot.label_transfer import certainty_gap, claim_shares, label_affinity, label_affinity_without_own, split_posterior
from device.vision.inference.embedding_stats import EmbeddingStats

Flags = npt.NDArray[np.bool_]

RARE = 0.25
"""how often a label that nobody taught is supposed to come here, to one that was taught: who teaches a place shows what comes there"""
UNLIKE = 0.5
"""how much it tells against a new label that the bundle is surer of an item than it was of that label's photos (see `certainty_gap`), 0..1: half-way
between the two pools"""
SURELY = 0.9
"""what the bundle is supposed to think of the label of an imagined photo"""


class FoldedExamples(NamedTuple):
    """Taught views, a row each.

    embeddings: x features, float64. probabilities: x labels of the bundle. targets, photos, folds: the label of each, after teaching, which photo it
    is of, and with which others that is left out.
    """

    embeddings: Float64Array
    probabilities: Float64Array
    targets: Ints
    photos: Ints
    folds: Ints


@dataclass(frozen=True, eq=False)
class FewshotPrior:
    """Log probabilities of labels of which the bundle knows some.

    columns: its labels that stay, as indices, in the order of labels after teaching; new ones come last. taken: what each new label takes over
    of each label of the bundle (see `claim_shares`). often: how often each label after teaching is supposed to come here, to one that was taught.
    kin: what the bundle takes each new label's photos for, new x its labels; where it is all one of them, that tells nothing. place: tells whether a
    view lies here, None where all are taken to.
    """

    columns: Ints
    taken: Float64Array
    often: Float64Array
    kin: Float64Array
    place: DomainDirection | None

    def here(self, probabilities: Float64Array, embeddings: Float64Array) -> Float64Array:
        """How likely each view lies here, 0..1. probabilities: views x labels of the bundle, calibrated; embeddings: views x features."""
        return np.ones(len(embeddings)) if self.place is None else self.place.here(embeddings, probabilities)

    def of(self, probabilities: Float64Array, here: Float64Array, apart: tuple[Float64Array, Float64Array] | None = None) -> Float64Array:
        """Views x labels, not brought to a sum of 1. here: see `here`. apart: taken and kin of each view, where these are others."""
        shares, kin = (self.taken, self.kin) if apart is None else apart
        found = split_posterior(probabilities, self.columns, shares, here) + np.log(1 - here[:, np.newaxis] * (1 - self.often))
        found[:, len(self.columns) :] += UNLIKE * here[:, np.newaxis] * certainty_gap(probabilities, kin)
        return np.asarray(found, np.float64)

    def not_here(self, probabilities: Float64Array) -> Float64Array:
        """What the bundle thinks of views that lie elsewhere, where no label was left out: views x labels, summing to 1."""
        new = np.zeros((len(probabilities), len(self.often) - len(self.columns)))
        return np.concatenate([probabilities[:, self.columns], new], axis=1)


def excluded_evidence(start: Float64Array) -> Float64Array:
    """How surely the bundle takes each view for labels that do not count here, in nats, 0 where none were left out. start: as `Prior.of` gives it."""
    return np.asarray(np.maximum(-np.logaddexp.reduce(start, axis=1), 0.0), np.float64)


class FittedPrior(NamedTuple):
    """A prior; what it says of each taught view by other photos than its own, views x labels; and what is imagined of labels that nobody taught."""

    prior: FewshotPrior
    unseen: Float64Array
    imagined: PseudoExamples


def fit_prior(reference: EmbeddingStats, columns: Ints, views: FoldedExamples, *, only: bool, isolated: bool) -> FittedPrior:
    """What is known before a head is fitted.

    columns: see `FewshotPrior`. only: whether labels that were not taught are left out. isolated: whether the views show items that were told apart
    from the place's empty view: they lie here for sure.
    """
    means = reference.means.astype(np.float64)
    labels = np.unique(views.targets)
    new = labels[labels >= len(columns)]
    untaught = np.setdiff1d(np.arange(len(columns)), labels)
    once = 1 / np.unique(views.photos, return_counts=True)[1][np.unique(views.photos, return_inverse=True)[1]]
    often = np.ones(len(columns) + len(new))
    often[untaught] = RARE
    of_each = once.sum() / len(labels)

    def shares(kin: Float64Array) -> Float64Array:
        # What is taken for a label that does not occur here tells little of which it is: as if all that was shown were taken for that one as well.
        supposed = np.full((*kin.shape[:-2], kin.shape[-1]), once.sum())
        supposed[..., columns] = 0.0
        # A label that stays is supposed to come as well, unless it is what new labels are called elsewhere.
        stays = columns[untaught]
        supposed[..., stays] = of_each * (1 - kin.max(axis=-2, initial=0.0))[..., stays]
        taught = (once * (views.targets < len(columns))) @ views.probabilities
        return claim_shares(kin, np.bincount(views.targets, once)[new], supposed + taught)

    shown = views.probabilities, views.targets, views.photos, new
    kin, kin_to_others = label_affinity(*shown), label_affinity_without_own(*shown)
    taking, apart = shares(kin), shares(kin_to_others)
    here, place = np.ones(len(views.targets)), None
    if not only and (isolated or len(new) + len(untaught)):
        found = fit_domain(reference.covariance(), means, views.embeddings, views.probabilities, views.targets, views.photos)
        here, place = here if isolated else found.unseen, found.place
    prior = FewshotPrior(columns, taking, often, kin, place)
    # Labels of its own the bundle tells apart by itself; beside new ones, all that lies here would be taken for what was taught.
    imagined = _imagined(prior, untaught if len(new) else untaught[:0], means, views, RARE * of_each)
    return FittedPrior(prior, prior.of(views.probabilities, here, (apart, kin_to_others)), imagined)


def _imagined(prior: FewshotPrior, untaught: Ints, means: Float64Array, views: FoldedExamples, photos: float) -> PseudoExamples:
    """One of each label that nobody taught, as it would look here. means: of training photos, labels of the bundle x features. photos: that each is
    worth, less where new labels take its label over.
    """
    own = prior.columns[untaught]
    probabilities = np.full((len(own), prior.taken.shape[1]), (1 - SURELY) / prior.taken.shape[1])
    probabilities[np.arange(len(own)), own] += SURELY
    before = prior.of(probabilities, np.ones(len(own)))
    worth = photos * (1 - prior.taken.sum(axis=0)[own])
    folds = [WHOLE, *np.unique(views.folds).tolist()] if len(own) else []
    made = [TrainingSet(means[own] + _shift(means, views, views.folds != fold), before, untaught, worth) for fold in folds]
    nothing = TrainingSet(means[:0], before[:0], untaught[:0], worth[:0])
    return PseudoExamples(functools.reduce(TrainingSet.followed_by, made, nothing), np.repeat(np.array(folds, np.int64), len(own)))


def _shift(means: Float64Array, views: FoldedExamples, chosen: Flags) -> Float64Array:
    return domain_shift(means, views.embeddings[chosen], views.probabilities[chosen], views.targets[chosen], views.photos[chosen])
