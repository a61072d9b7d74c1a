"""What the bundle takes a new label for: cans are metal to one that knows no cans, and that tells them from bottles better than few photos do.

Where they are taught, the new label takes its share of that.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float64Array

Ints = npt.NDArray[np.integer[Any]]

SUPPOSED = 2.0
"""how many photos of each new label are supposed to have been seen, taken for every label of the bundle alike"""
LEAST = 1e-6
"""least probability that any label is taken to have"""
HARDLY = 0.01
"""probability below which one label is as good as another for telling how sure the bundle is"""


def label_affinity(probabilities: Float64Array, targets: Ints, photos: Ints, labels: Ints, supposed: float = SUPPOSED) -> Float64Array:
    """The mean probability of each label of the bundle among a new label's photos: new labels x labels of the bundle, rows sum to 1.

    probabilities: views x labels of the bundle. targets, photos: which label and which photo each view is of. labels: the new ones, as in targets.
    """
    found = np.zeros((len(labels), probabilities.shape[1]))
    for place, label in enumerate(labels):
        found[place] = _affinity(probabilities[targets == label], photos[targets == label], supposed)
    return found


def label_affinity_without_own(probabilities: Float64Array, targets: Ints, photos: Ints, labels: Ints, supposed: float = SUPPOSED) -> Float64Array:
    """As `label_affinity`, for each view without the photo that it is of: views x new labels x labels of the bundle."""
    found = np.repeat(label_affinity(probabilities, targets, photos, labels, supposed)[np.newaxis], len(targets), axis=0)
    for place, label in enumerate(labels):
        for photo in np.unique(photos[targets == label]):
            others = (targets == label) & (photos != photo)
            found[photos == photo, place] = _affinity(probabilities[others], photos[others], supposed)
    return found


def claim_shares(kin: Float64Array, photos: Float64Array, others: Float64Array) -> Float64Array:
    """The share that each new label has of what the bundle takes for each of its labels, at a place where such photos were shown.

    Of what is taken for metal there, as much is a can as of the photos that were taken for it. kin: new x labels of the bundle, or that for each
    view; photos: how many of each new label. others: how many further photos, shown or supposed, the bundle takes for each of its labels, at least 0,
    or that for each view. Same shape as kin; no column sums to more than 1.
    """
    claims = kin * photos[:, np.newaxis]
    return np.asarray(claims / (claims.sum(axis=-2, keepdims=True) + others[..., np.newaxis, :]), np.float64)


def split_posterior(probabilities: Float64Array, columns: Ints, shares: Float64Array, here: Float64Array) -> Float64Array:
    """What a bundle thinks of labels of which it knows some: log probabilities, views x (len(columns) + new), not brought to a sum of 1.

    At the place a new label takes its share from each label that the bundle takes its items for; elsewhere the bundle's judgement stands.
    probabilities: views x labels of the bundle, calibrated. columns: which of these are kept, in the new order; after them come the new ones.
    shares: see `claim_shares`. here: how likely each view is of that place, 0..1.
    """
    given = here[:, np.newaxis, np.newaxis] * shares
    new = (given * probabilities[:, np.newaxis]).sum(axis=2)
    kept = (probabilities * (1 - given.sum(axis=1)))[:, columns]
    return np.asarray(np.log(np.maximum(np.concatenate([kept, new], axis=1), LEAST)), np.float64)


def certainty_gap(probabilities: Float64Array, kin: Float64Array) -> Float64Array:
    """By how much surer the bundle is of an item than it was of a new label's photos: views x new labels, in nats, at most 0.

    An item that it surely takes for one label, where it took the photos for now this and now that, is hardly of their kind, though each of these
    labels is among their kin. It is the logarithmic pool of what it thinks, weighed by the kin, to the linear one that `split_posterior` has (Genest
    and Zidek 1986). probabilities: as for `split_posterior`; kin: see `label_affinity`, also of each view: views x new x labels of the bundle.
    """
    likely = np.maximum(probabilities, HARDLY)[:, np.newaxis]
    return np.asarray((kin * np.log(likely)).sum(axis=2) - np.log((kin * likely).sum(axis=2)), np.float64)


def _affinity(probabilities: Float64Array, photos: Ints, supposed: float) -> Float64Array:
    """Photos count alike, however many views they have."""
    count, labels = len(np.unique(photos)), probabilities.shape[1]
    seen = probabilities.mean(axis=0) * count if count else np.zeros(labels)
    return np.asarray((seen + supposed / labels) / (count + supposed), np.float64)
