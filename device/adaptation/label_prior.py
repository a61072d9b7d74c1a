"""What a bin's place is like: which labels come there, and how often. Probabilities are weighed with that."""

import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
import numpy as np

from device.common.arrays import Float64Array
from device.common.errors import SortbinError

WINDOW_ITEMS = 400
"""items that the learned mix rests on: the latest ones"""
PSEUDO_ITEMS = 20.0
"""how many items of the expected mix the start of learning counts for"""
MOST_CHANGE = 6.0
"""most that learning may raise or lower a label's share, as a factor of what was expected"""

_STEPS = 60
_CLOSE = 1e-5
_LEAST = 1e-9


class SiteError(SortbinError, ValueError):
    """A description of a place that does not fit the labels. The message names the label and what was expected."""


class SiteSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of the waste at this place."""

    labels: dict[str, Annotated[float, msgspec.Meta(gt=0, le=1e6)]] | tuple[str, ...] = ()
    """labels that occur, alone or with how often (any unit: only ratios matter); none given: all of the model's"""
    others: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    """share of items with a label that is not among these, 0 for none at all"""
    learn: bool = False
    """follow the mix of labels that the bin sees, within bounds"""

    def __post_init__(self) -> None:
        if self.others and not self.labels:
            raise SiteError(f"others: {self.others:g} of what, while no labels are named; expected labels beside it")


def label_shares(occurring: Mapping[str, float] | Sequence[str], labels: tuple[str, ...], usual: Float64Array, others: float = 0.0) -> Float64Array:
    """The share of each label at a place: one a label, summing to 1.

    occurring: labels with how often they occur, or labels alone, which then occur as often, relative to each other, as in `usual`: the
    shares that the probabilities were calibrated with. Nothing given means all labels. others: the share of all others together, less than 1, divided
    among them as in `usual`. Raises SiteError for a label that is none of `labels`, and for others where none are named.
    """
    for label in occurring:
        if label not in labels:
            raise SiteError(f"labels: {label}: not a label that is known here; expected some of {', '.join(labels)}")
    if not occurring and others:
        raise SiteError(f"others: {others:g} of what, while no labels are named; name those that occur, or leave it out")
    if not occurring:
        return np.divide(usual, usual.sum())
    if isinstance(occurring, Mapping):
        weights = np.array([occurring.get(label, 0.0) for label in labels])
    else:
        weights = np.where([label in occurring for label in labels], usual, 0.0)
    rest = np.where(weights > 0, 0.0, usual)
    if not rest.any():
        return np.divide(weights, weights.sum())
    return np.asarray((1 - others) * weights / weights.sum() + others * rest / rest.sum())


def reweight(probabilities: Float64Array, usual: Float64Array, at_site: Float64Array) -> Float64Array:
    """Probabilities that hold where labels occur with shares `at_site`, of ones that hold where they occur with shares `usual`.

    Bayes: each is multiplied by the ratio of the shares (Saerens et al. 2002, eq. 2.4), and all are brought back to a sum of 1. probabilities:
    (... x labels), each summing to 1. A label whose share is 0 gets 0; where nothing else is left, the shares of the place.
    """
    weighed = np.maximum(probabilities, _LEAST) * (at_site / usual)
    result: Float64Array = weighed / weighed.sum(axis=-1, keepdims=True)
    return result


def estimate_shares(probabilities: Float64Array, usual: Float64Array, expected: Float64Array) -> Float64Array:
    """The shares of labels that explain best what was seen: expectation maximisation of Saerens, Latinne and Decaestecker (2002).

    probabilities: items x labels, calibrated, as they hold where labels occur with shares `usual`. expected: what the owner or the training
    data say; it counts for PSEUDO_ITEMS items (a Dirichlet prior), a label with share 0 keeps it, and no share leaves
    `expected / MOST_CHANGE` .. `expected * MOST_CHANGE`: otherwise items that are often mistaken would push a label out of use.
    Returns one share a label, summing to 1.
    """
    found = expected
    for _ in range(_STEPS):
        given = reweight(probabilities, usual, found).sum(axis=0)
        before, found = found, (given + PSEUDO_ITEMS * expected) / (len(probabilities) + PSEUDO_ITEMS)
        if float(np.abs(found - before).max()) < _CLOSE:
            break
    return _within(found, expected / MOST_CHANGE, expected * MOST_CHANGE)


class LabelPrior:
    """The mix of labels at one bin: what was expected, and, where it may learn, what its latest items say."""

    def __init__(self, labels: tuple[str, ...], usual: Float64Array, settings: SiteSettings) -> None:
        """labels, usual: as for `label_shares`. Raises SiteError."""
        self.labels = labels
        self._usual = np.divide(usual, usual.sum())
        self._expected = label_shares(settings.labels, labels, self._usual, settings.others)
        self._learns = settings.learn
        self._seen: deque[Float64Array] = deque(maxlen=WINDOW_ITEMS)
        self._found = self._expected

    @property
    def file(self) -> str:
        """A name for the file of what was learned about these labels."""
        return f"site-{zlib.crc32(chr(0).join(self.labels).encode()):08x}.npy"

    @property
    def known(self) -> bool:
        """Whether anything was learned that is worth keeping."""
        return bool(self._seen)

    @property
    def shares(self) -> dict[str, float]:
        """Each label's share, as decisions use it."""
        return dict(zip(self.labels, (round(float(share), 4) for share in self._found), strict=True))

    def apply_prior(self, probabilities: Float64Array) -> Float64Array:
        """Probabilities of an item as they hold here: one a label, summing to 1, as are the ones given."""
        return reweight(probabilities, self._usual, self._found)

    def observe(self, probabilities: Float64Array) -> None:
        """Learn from one item, given its probabilities before `apply_prior`. About a millisecond; nothing where it may not learn."""
        if self._learns:
            self._seen.append(probabilities)
            self._found = estimate_shares(np.stack(self._seen), self._usual, self._expected)

    def export(self) -> Float64Array:
        """What was learned from: items x labels."""
        return np.stack(self._seen) if self._seen else np.zeros((0, len(self.labels)))

    def restore(self, stored: Float64Array) -> None:
        """Take what `export` gave before. Raises ValueError for other labels than these."""
        if stored.ndim != 2 or stored.shape[1] != len(self.labels):
            raise ValueError(f"expected probabilities of {len(self.labels)} labels an item, found shape {stored.shape}")
        if self._learns and len(stored):
            self._seen.extend(stored[-WINDOW_ITEMS:])
            self._found = estimate_shares(np.stack(self._seen), self._usual, self._expected)


def _within(found: Float64Array, least: Float64Array, most: Float64Array) -> Float64Array:
    """Shares in proportion to `found` wherever the bounds allow it, summing to 1: the factor is found by bisection."""
    low, high = 0.0, float(most.sum() / found[found > 0].min())
    for _ in range(80):
        factor = (low + high) / 2
        total = np.clip(found * factor, least, most).sum()
        low, high = (factor, high) if total < 1 else (low, factor)
    bounded: Float64Array = np.clip(found * high, least, most)
    return np.divide(bounded, bounded.sum())
