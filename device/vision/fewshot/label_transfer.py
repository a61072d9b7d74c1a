"""Carry the bundle's probabilities over to labels that it does not know.

A bundle that knows no cans takes cans for metal. That alone tells cans from bottles better than a few photos do. So a new label gets a share of the
probability of the labels that the bundle takes it for.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float64Array

Ints = npt.NDArray[np.integer[Any]]

PSEUDO_PHOTOS = 2.0
"""photos of each new label that are added with equal probability for every label of the bundle (additive smoothing)"""
PROBABILITY_FLOOR = 1e-6
"""floor of a label's probability"""
GAP_FLOOR = 0.01
"""floor of probabilities in `certainty_gap`: below it, labels are equally unlikely"""


def label_affinity(probabilities: Float64Array, targets: Ints, photos: Ints, labels: Ints, pseudo_photos: float = PSEUDO_PHOTOS) -> Float64Array:
    """The bundle's mean probabilities over the photos of each new label: new labels x labels of the bundle, rows sum to 1.

    probabilities: rows x labels of the bundle. targets, photos: the label and the photo of each row. labels: the new labels, as in `targets`.
    """
    found = np.zeros((len(labels), probabilities.shape[1]))
    for place, label in enumerate(labels):
        found[place] = _affinity(probabilities[targets == label], photos[targets == label], pseudo_photos)
    return found


def label_affinity_without_own(
    probabilities: Float64Array, targets: Ints, photos: Ints, labels: Ints, pseudo_photos: float = PSEUDO_PHOTOS
) -> Float64Array:
    """As `label_affinity`, for each row without its own photo: rows x new labels x labels of the bundle."""
    found = np.repeat(label_affinity(probabilities, targets, photos, labels, pseudo_photos)[np.newaxis], len(targets), axis=0)
    for place, label in enumerate(labels):
        for photo in np.unique(photos[targets == label]):
            others = (targets == label) & (photos != photo)
            found[photos == photo, place] = _affinity(probabilities[others], photos[others], pseudo_photos)
    return found


def claim_shares(affinity: Float64Array, photos: Float64Array, others: Float64Array) -> Float64Array:
    """The share of each bundle label's probability that each new label claims.

    Example: the can's share of metal is the part of all photos taken for metal that are cans.

    affinity: new labels x labels of the bundle, or that for each row. photos: number of photos of each new label. others: for each label of the
    bundle how many other photos, real or assumed, it is the answer for, at least 0; or that for each row. Returns the shape of `affinity`; columns
    sum to at most 1.
    """
    claims = affinity * photos[:, np.newaxis]
    return np.asarray(claims / (claims.sum(axis=-2, keepdims=True) + others[..., np.newaxis, :]), np.float64)


def split_posterior(probabilities: Float64Array, columns: Ints, shares: Float64Array, in_domain: Float64Array) -> Float64Array:
    """Log probabilities of kept and new labels, rows x (len(columns) + new), not normalized.

    At the site a new label takes its share of each bundle label; elsewhere the bundle's probabilities stand.
    probabilities: rows x labels of the bundle, calibrated. columns: the bundle labels that stay, in their new order; new labels follow them.
    shares: see `claim_shares`. in_domain: probability that each row lies at the site, 0..1.
    """
    given = in_domain[:, np.newaxis, np.newaxis] * shares
    new = (given * probabilities[:, np.newaxis]).sum(axis=2)
    kept = (probabilities * (1 - given.sum(axis=1)))[:, columns]
    return np.asarray(np.log(np.maximum(np.concatenate([kept, new], axis=1), PROBABILITY_FLOOR)), np.float64)


def certainty_gap(probabilities: Float64Array, affinity: Float64Array) -> Float64Array:
    """How much surer the bundle is of an item than it was of a new label's photos: rows x new labels, in nats, at most 0.

    If the bundle is sure of one label for an item, but wavered between several for the photos of the new label, then the item is hardly of the new
    label, even if each of those labels is related to it. The gap is the logarithmic opinion pool of the probabilities, weighted by the affinity,
    minus the linear pool that `split_posterior` uses (Genest and Zidek 1986).

    probabilities: as for `split_posterior`. affinity: see `label_affinity`, or that for each row: rows x new labels x labels of the bundle.
    """
    likely = np.maximum(probabilities, GAP_FLOOR)[:, np.newaxis]
    return np.asarray((affinity * np.log(likely)).sum(axis=2) - np.log((affinity * likely).sum(axis=2)), np.float64)


def _affinity(probabilities: Float64Array, photos: Ints, pseudo_photos: float) -> Float64Array:
    """Smoothed mean; all photos weigh the same, however many rows they have."""
    count, labels = len(np.unique(photos)), probabilities.shape[1]
    total = probabilities.mean(axis=0) * count if count else np.zeros(labels)
    return np.asarray((total + pseudo_photos / labels) / (count + pseudo_photos), np.float64)
