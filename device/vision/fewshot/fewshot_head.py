"""The head that was fitted on the device to a site's own photos. It judges the old and new labels on top of the bundle's embedding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float64Array
from device.common.errors import SortbinError
from device.vision.fewshot.examples import Examples
from device.vision.fewshot.linear_head import HeadRecipe, Ints, LinearHead
from device.vision.fewshot.prior import FewshotPrior, excluded_evidence
from device.vision.inference.classifier import softmax
from device.vision.inference.novelty import NoveltyModel

RIVAL_SHARE = 0.5
"""share of an old label's probability above which a new label counts as its rival"""


class TeachingError(SortbinError, ValueError):
    """Teaching that is not possible, or a file of it that cannot be used. The message names the file or label and what was expected."""


@dataclass(frozen=True, eq=False)
class FewshotHead:
    """A head for the labels of one site.

    digest, name: of the bundle that it belongs to.
    labels: the labels that it can name. First come the bundle's labels that stay (all, or only the taught ones), in the bundle's order, then the
    new labels.
    only: whether the bundle's labels that were not taught were left out.
    prior: what the bundle alone says about these labels at this site.
    temperature, reject_below, unknown_above, novelty: as in a bundle, for this head.
    distinct: number of photos for each taught label; near duplicates count once. sequences: number of sequences of photos that look alike, see
    `near_duplicates`; each was left out as a whole.
    right: share of the photos that were named right while they were left out of the fit. sure: share of them that reached their bin, neither unsure
    nor unknown; sure_right: share of these that were named right. All only over labels with at least two sequences; None where no label has two, and
    sure_right also where none was sure. Files of older versions lack `sequences` (then empty), `sure` and `sure_right` (then None).
    """

    digest: str
    name: str
    labels: tuple[str, ...]
    only: bool
    examples: Examples
    head: LinearHead
    recipe: HeadRecipe
    prior: FewshotPrior
    temperature: float
    reject_below: float
    unknown_above: float
    novelty: NoveltyModel
    distinct: dict[str, int]
    sequences: dict[str, int]
    right: float | None
    sure: float | None
    sure_right: float | None

    def predict(self, probabilities: Float64Array, embedding: npt.NDArray[np.floating[Any]], *, in_domain: bool) -> tuple[Float64Array, float]:
        """Return calibrated probabilities, one for each of `labels` and summing to 1, and the novelty score, 0..1.

        probabilities: of the bundle's labels. embedding: features. in_domain: whether the item is known to lie at the site, as an isolated item
        does; else the domain direction estimates it.
        """
        features, before, certain = embedding[np.newaxis].astype(np.float64), probabilities[np.newaxis].astype(np.float64), np.ones(1)
        likely = certain if in_domain else self.prior.in_domain(before, features)
        # A head fitted to isolated items is right only for items at the site. One fitted to whole frames blends by itself.
        start = self.prior.log_probabilities(before, certain if self.examples.mostly_isolated else likely)
        found: Float64Array = softmax(self.head.logits(features, start), self.temperature)[0]
        if self.examples.mostly_isolated and not self.only:
            found = likely * found + (1 - likely) * self.prior.out_of_domain(before)[0]
        return found, self.novelty.score(embedding, found, float(excluded_evidence(start)[0]))

    def rivals(self) -> list[tuple[str, str]]:
        """Pairs of a new label and an old one that the bundle mostly takes it for, where the old one stays although it was not taught."""
        old, new = self.labels[: len(self.prior.columns)], self.labels[len(self.prior.columns) :]
        shares = zip(new, self.prior.claims[:, self.prior.columns], strict=True)
        pairs = [(label, rival, share) for label, row in shares for rival, share in zip(old, row, strict=True)]
        return [(label, rival) for label, rival, share in pairs if share > RIVAL_SHARE and rival not in self.examples.labels]


def labels_after_teaching(old: tuple[str, ...], taught: Sequence[str], *, only: bool) -> tuple[str, ...]:
    """The labels after teaching: the bundle's labels that stay, in their order, then the new ones by name. Raises TeachingError for fewer than two.

    old: the bundle's labels. only: whether labels that were not taught are left out.
    """
    labels = (*(label for label in old if not only or label in taught), *sorted(set(taught) - set(old)))
    if len(labels) < 2:
        raise TeachingError(f"{', '.join(labels)}: one label alone cannot be told from others; teach a second one, or keep the old ones (no --only)")
    return labels


def kept_columns(old: tuple[str, ...], labels: tuple[str, ...]) -> Ints:
    """The indices of the bundle's labels `old` that are among `labels`, in the order of `labels`."""
    return np.array([old.index(label) for label in labels if label in old], np.int64)
