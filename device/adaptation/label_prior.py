"""The label prior of a site: which labels come there, and how often. Probabilities are reweighted with it."""

import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
import numpy as np

from device.common.arrays import Float64Array
from device.common.errors import SortbinError

WINDOW_ITEMS = 400
"""the latest items that the prior is estimated from"""
PSEUDO_ITEMS = 20.0
"""how many items the expected shares count for in the estimate"""
MOST_CHANGE = 6.0
"""largest factor by which learning may raise or lower a label's expected share"""

_MOST_STEPS = 60
_CONVERGED = 1e-5
_LEAST_P = 1e-9


class SiteError(SortbinError, ValueError):
    """A [site] table that does not fit the labels. The message names the key, the label and what was expected."""


class SiteSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the owner knows of the waste at this site."""

    labels: dict[str, Annotated[float, msgspec.Meta(gt=0, le=1e6)]] | tuple[str, ...] = ()
    """labels that occur, alone or with how often (any unit: only ratios matter); empty: all of the model's"""
    others: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    """share of items whose label is not among these"""
    learn: bool = False
    """follow how often the bin sees each label, within bounds"""

    def __post_init__(self) -> None:
        if self.others and not self.labels:
            raise SiteError(f"others: {self.others:g} of what, while no labels are named? Expected labels beside it")


def label_shares(occurring: Mapping[str, float] | Sequence[str], labels: tuple[str, ...], usual: Float64Array, others: float = 0.0) -> Float64Array:
    """The expected share of each label at a site: one a label, summing to 1.

    occurring: labels with how often they occur, or labels alone; these occur in the ratios of `usual`. Empty: all labels. usual: the shares that the
    probabilities were calibrated with. others: the share of all other labels together, 0 to below 1, divided among them as in `usual`.
    Raises SiteError for a label that is none of `labels`, and for others where no labels are named.
    """
    for label in occurring:
        if label not in labels:
            raise SiteError(f"labels: {label}: no such label; expected some of {', '.join(labels)}")
    if not occurring and others:
        raise SiteError(f"others: {others:g} of what, while no labels are named? Name those that occur, or leave it out")
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
    """Probabilities calibrated for label shares `usual`, converted to label shares `at_site`.

    Bayes: each is multiplied by the ratio of the shares (Saerens et al. 2002, eq. 2.4), then all are normalised to a sum of 1.
    probabilities: (... x labels), each row summing to 1. A label whose share is 0 gets 0; where no other had any
    probability, the result is `at_site`.
    """
    weighted = np.maximum(probabilities, _LEAST_P) * (at_site / usual)
    result: Float64Array = weighted / weighted.sum(axis=-1, keepdims=True)
    return result


def estimate_shares(probabilities: Float64Array, usual: Float64Array, expected: Float64Array) -> Float64Array:
    """The label shares that best explain the probabilities of past items: expectation maximisation (Saerens, Latinne, Decaestecker 2002).

    probabilities: items x labels, calibrated for label shares `usual`. expected: shares that the owner or the training data give; they count for
    PSEUDO_ITEMS items (a Dirichlet prior). A label with share 0 keeps it. No share leaves
    `expected / MOST_CHANGE` .. `expected * MOST_CHANGE`: otherwise items that are often mistaken would push a label out of use.
    Returns one share a label, summing to 1.
    """
    shares = expected
    for _ in range(_MOST_STEPS):
        given = reweight(probabilities, usual, shares).sum(axis=0)
        before, shares = shares, (given + PSEUDO_ITEMS * expected) / (len(probabilities) + PSEUDO_ITEMS)
        if float(np.abs(shares - before).max()) < _CONVERGED:
            break
    return _within(shares, expected / MOST_CHANGE, expected * MOST_CHANGE)


class LabelPrior:
    """The label shares at one site: the expected ones, and, with `learn`, those that its latest items show."""

    def __init__(self, labels: tuple[str, ...], usual: Float64Array, settings: SiteSettings) -> None:
        """labels, usual: as for `label_shares`. Raises SiteError."""
        self.labels = labels
        self._usual = np.divide(usual, usual.sum())
        self._expected = label_shares(settings.labels, labels, self._usual, settings.others)
        self._learns = settings.learn
        self._window: deque[Float64Array] = deque(maxlen=WINDOW_ITEMS)
        self._shares = self._expected

    @property
    def file(self) -> str:
        """The name of the file for the state; another for other labels."""
        return f"site-{zlib.crc32(chr(0).join(self.labels).encode()):08x}.npy"

    @property
    def learned(self) -> bool:
        """Whether there is anything to store."""
        return bool(self._window)

    @property
    def shares(self) -> dict[str, float]:
        """The share of each label in use."""
        return dict(zip(self.labels, (round(float(share), 4) for share in self._shares), strict=True))

    def apply_prior(self, probabilities: Float64Array) -> Float64Array:
        """Probabilities of an item, reweighted with the prior. Takes and returns one a label, summing to 1."""
        return reweight(probabilities, self._usual, self._shares)

    def observe(self, probabilities: Float64Array) -> None:
        """Learn from one item, unless `learn` is off. probabilities: before `apply_prior`. Takes about a millisecond."""
        if self._learns:
            self._window.append(probabilities)
            self._shares = estimate_shares(np.stack(self._window), self._usual, self._expected)

    def export(self) -> Float64Array:
        """The items learned from: items x labels."""
        return np.stack(self._window) if self._window else np.zeros((0, len(self.labels)))

    def restore(self, stored: Float64Array) -> None:
        """Take what `export` returned. Raises ValueError for another number of labels."""
        if stored.ndim != 2 or stored.shape[1] != len(self.labels):
            raise ValueError(f"expected probabilities of {len(self.labels)} labels an item, found shape {stored.shape}")
        if self._learns and len(stored):
            self._window.extend(stored[-WINDOW_ITEMS:])
            self._shares = estimate_shares(np.stack(self._window), self._usual, self._expected)


def _within(shares: Float64Array, least: Float64Array, most: Float64Array) -> Float64Array:
    """Shares in proportion to `shares` where the bounds allow it, summing to 1. The factor is found by bisection."""
    low, high = 0.0, float(most.sum() / shares[shares > 0].min())
    for _ in range(80):
        factor = (low + high) / 2
        total = np.clip(shares * factor, least, most).sum()
        low, high = (factor, high) if total < 1 else (low, factor)
    bounded: Float64Array = np.clip(shares * high, least, most)
    return np.divide(bounded, bounded.sum())
