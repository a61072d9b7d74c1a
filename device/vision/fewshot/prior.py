"""What the bundle says about the labels of a site before a head is fitted to photos from there."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float64Array
from device.vision.fewshot.domain import DomainDirection, domain_shift, fit_domain
from device.vision.fewshot.label_transfer import certainty_gap, claim_shares, label_affinity, label_affinity_without_own, split_posterior
from device.vision.fewshot.linear_head import NO_FOLD, Ints, PseudoExamples, TrainingSet
from device.vision.inference.embedding_stats import EmbeddingStats

Flags = npt.NDArray[np.bool_]

UNTAUGHT_FREQUENCY = 0.25
"""assumed frequency of a label that was not taught, relative to a taught one: people teach what comes to their bin"""
CERTAINTY_WEIGHT = 0.5
"""weight of `certainty_gap` against a new label, 0..1; 0.5 is half-way between the linear and the logarithmic pool"""
PSEUDO_CONFIDENCE = 0.9
"""probability that the bundle is assumed to give the label of a pseudo-example"""


class FoldedExamples(NamedTuple):
    """Taught photos ready for fitting, one row for each crop.

    embeddings: rows x features, float64. probabilities: rows x labels of the bundle. targets: index of the label after teaching. photos: number of
    the photo, near duplicates as one. sequences: number of the sequence (see `near_duplicates`). folds: number of the fold in which the row is left
    out with its photo. sequence_folds: with its sequence; no number is among those of `folds`.
    """

    embeddings: Float64Array
    probabilities: Float64Array
    targets: Ints
    photos: Ints
    sequences: Ints
    folds: Ints
    sequence_folds: Ints


@dataclass(frozen=True, eq=False)
class FewshotPrior:
    """The bundle's opinion, carried over to the labels after teaching.

    columns: indices of the bundle labels that stay, in the order of the labels after teaching; new labels follow them.
    claims: new labels x labels of the bundle, see `claim_shares`. frequencies: how often each label after teaching is assumed to come, relative to a
    taught one. affinity: new labels x labels of the bundle, see `label_affinity`; where it is all one label it says nothing.
    domain: tells items at the site from others; None where all items are taken to lie at the site.
    """

    columns: Ints
    claims: Float64Array
    frequencies: Float64Array
    affinity: Float64Array
    domain: DomainDirection | None

    def in_domain(self, probabilities: Float64Array, embeddings: Float64Array) -> Float64Array:
        """The probability, 0..1, that each row lies at the site. probabilities: rows x labels of the bundle, calibrated; embeddings: rows x
        features.
        """
        return np.ones(len(embeddings)) if self.domain is None else self.domain.in_domain(embeddings, probabilities)

    def log_probabilities(
        self, probabilities: Float64Array, in_domain: Float64Array, own: tuple[Float64Array, Float64Array] | None = None
    ) -> Float64Array:
        """Log probabilities of the labels after teaching, rows x labels, not normalized.

        probabilities: rows x labels of the bundle. in_domain: see there. own: claims and affinity for each row, in place of those of all rows.
        """
        claims, affinity = (self.claims, self.affinity) if own is None else own
        found = split_posterior(probabilities, self.columns, claims, in_domain) + np.log(1 - in_domain[:, np.newaxis] * (1 - self.frequencies))
        found[:, len(self.columns) :] += CERTAINTY_WEIGHT * in_domain[:, np.newaxis] * certainty_gap(probabilities, affinity)
        return np.asarray(found, np.float64)

    def out_of_domain(self, probabilities: Float64Array) -> Float64Array:
        """Probabilities of rows that lie elsewhere: the bundle's own, with 0 for new labels. rows x labels, summing to 1 where no label was left
        out.
        """
        new = np.zeros((len(probabilities), len(self.frequencies) - len(self.columns)))
        return np.concatenate([probabilities[:, self.columns], new], axis=1)


def excluded_evidence(start: Float64Array) -> Float64Array:
    """How strongly the bundle takes each row for labels that were left out, in nats; 0 where none was. start: from `log_probabilities`."""
    return np.asarray(np.maximum(-np.logaddexp.reduce(start, axis=1), 0.0), np.float64)


class FittedPrior(NamedTuple):
    """A prior; its log probabilities of each taught row without the row's photo; pseudo-examples of labels that were not taught."""

    prior: FewshotPrior
    out_of_fold: Float64Array
    pseudo_examples: PseudoExamples


def fit_prior(stats: EmbeddingStats, columns: Ints, rows: FoldedExamples, *, only: bool, isolated: bool) -> FittedPrior:
    """Fit the prior to taught photos.

    columns: see `FewshotPrior`. only: whether labels that were not taught are left out. isolated: whether the rows show isolated items, which lie at
    the site for certain.
    """
    means = stats.means.astype(np.float64)
    labels = np.unique(rows.targets)
    new = labels[labels >= len(columns)]
    untaught = np.setdiff1d(np.arange(len(columns)), labels)
    once = 1 / np.unique(rows.photos, return_counts=True)[1][np.unique(rows.photos, return_inverse=True)[1]]
    frequencies = np.ones(len(columns) + len(new))
    frequencies[untaught] = UNTAUGHT_FREQUENCY
    of_each = once.sum() / len(labels)

    def shares(affinity: Float64Array) -> Float64Array:
        # A left-out label says little about which new label an item is: as if all photos were taken for it as well.
        others = np.full((*affinity.shape[:-2], affinity.shape[-1]), once.sum())
        others[..., columns] = 0.0
        # An untaught label that stays is assumed to come as well, except as far as new labels claim it.
        stays = columns[untaught]
        others[..., stays] = of_each * (1 - affinity.max(axis=-2, initial=0.0))[..., stays]
        taught = (once * (rows.targets < len(columns))) @ rows.probabilities
        return claim_shares(affinity, np.bincount(rows.targets, once)[new], others + taught)

    shown = rows.probabilities, rows.targets, rows.photos, new
    affinity, own_affinity = label_affinity(*shown), label_affinity_without_own(*shown)
    claims, own_claims = shares(affinity), shares(own_affinity)
    in_domain, domain = np.ones(len(rows.targets)), None
    if not only and (isolated or len(new) + len(untaught)):
        found = fit_domain(stats.covariance(), means, rows.embeddings, rows.probabilities, rows.targets, rows.photos)
        in_domain, domain = in_domain if isolated else found.out_of_fold, found.direction
    prior = FewshotPrior(columns, claims, frequencies, affinity, domain)
    # The bundle tells its own labels apart by itself. Beside new labels, the head would take every item for a taught label without pseudo-examples.
    pseudo = _pseudo_examples(prior, untaught if len(new) else untaught[:0], means, rows, UNTAUGHT_FREQUENCY * of_each)
    return FittedPrior(prior, prior.log_probabilities(rows.probabilities, in_domain, (own_claims, own_affinity)), pseudo)


def _pseudo_examples(prior: FewshotPrior, untaught: Ints, means: Float64Array, rows: FoldedExamples, photos: float) -> PseudoExamples:
    """One pseudo-example of each untaught label: the mean of its training photos, moved by the domain shift. One more for each fold, without it.

    means: labels of the bundle x features. photos: weight of each, less where new labels claim its label.
    """
    own = prior.columns[untaught]
    probabilities = np.full((len(own), prior.claims.shape[1]), (1 - PSEUDO_CONFIDENCE) / prior.claims.shape[1])
    probabilities[np.arange(len(own)), own] += PSEUDO_CONFIDENCE
    before = prior.log_probabilities(probabilities, np.ones(len(own)))
    worth = photos * (1 - prior.claims.sum(axis=0)[own])
    folds = [NO_FOLD, *np.unique([rows.folds, rows.sequence_folds]).tolist()] if len(own) else []
    kept = [(rows.folds != fold) & (rows.sequence_folds != fold) for fold in folds]
    made = [TrainingSet(means[own] + _shift(means, rows, chosen), before, untaught, worth) for chosen in kept]
    nothing = TrainingSet(means[:0], before[:0], untaught[:0], worth[:0])
    return PseudoExamples(functools.reduce(TrainingSet.followed_by, made, nothing), np.repeat(np.array(folds, np.int64), len(own)))


def _shift(means: Float64Array, rows: FoldedExamples, chosen: Flags) -> Float64Array:
    return domain_shift(means, rows.embeddings[chosen], rows.probabilities[chosen], rows.targets[chosen], rows.photos[chosen])
