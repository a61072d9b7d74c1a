"""Synthetic embeddings for tests of few-shot heads."""

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from device.common.arrays import Float64Array
from device.vision.fewshot.examples import Examples
from device.vision.fewshot.fewshot_head import FewshotHead
from device.vision.inference.classifier import softmax

FEATURES, OLD = 48, ("cardboard", "glass", "metal", "paper", "plastic", "trash")
RNG = np.random.default_rng(0)
MIDDLES = 3 * RNG.normal(size=(8, FEATURES)) / np.sqrt(FEATURES) + 2
"""mean embeddings of six old labels and two new ones"""
SHIFT = 0.3 * (MIDDLES[1] - MIDDLES[2]) + 0.5 * RNG.normal(size=FEATURES) / np.sqrt(FEATURES)
"""a domain shift that moves embeddings partly from metal towards glass"""
CHAMBER = 2.5 * RNG.normal(size=FEATURES) / np.sqrt(FEATURES)
"""a domain shift unlike any difference between labels"""


@dataclass(frozen=True)
class World:
    """Photos as embeddings around the middle of their label, and the probabilities of the best head for the old labels.

    spread: standard deviation of the photos of a label. place: the domain shift of the site.
    """

    spread: float = 0.28
    place: Float64Array = field(default_factory=lambda: SHIFT)

    def photos(self, targets: Float64Array, seed: int, *, shift: float = 0.0) -> Float64Array:
        rng = np.random.default_rng(seed)
        return MIDDLES[targets] + shift * self.place + rng.normal(0, self.spread, (len(targets), FEATURES))

    def before(self, embeddings: Float64Array) -> Float64Array:
        """The probabilities of the best possible head out of domain."""
        return softmax(-((embeddings[:, np.newaxis] - MIDDLES[:6]) ** 2).sum(axis=2) / (2 * 0.28**2) / 4, 1.0)

    def examples(self, labels: tuple[str, ...], targets: Float64Array, seed: int, *, shift: float = 1.0, isolated: bool = False) -> Examples:
        """Examples of `labels[i]` for the i-th smallest of the targets. shift: factor of the domain shift."""
        drawn = np.sort(targets)
        embeddings = self.photos(drawn, seed, shift=shift)
        return Examples(
            labels,
            np.unique(drawn, return_inverse=True)[1].astype(np.int32),
            np.arange(len(drawn), dtype=np.int32),
            embeddings.astype(np.float16),
            self.before(embeddings).astype(np.float32),
            np.full(len(drawn), isolated),
        )

    def named(self, teaching: FewshotHead, embeddings: Float64Array, *, here: bool = False) -> list[str]:
        rows = zip(self.before(embeddings), embeddings.astype(np.float32), strict=True)
        return [teaching.labels[int(teaching.predict(*row, in_domain=here)[0].argmax())] for row in rows]


WORLD = World()


def share(found: list[str], truth: list[str]) -> float:
    """The share of equal entries."""
    return float(np.mean([a == b for a, b in zip(found, truth, strict=True)]))


def shown_again(examples: Examples, times: int, *, moved: float) -> Examples:
    """Every photo `times` times, as frames of a still item or copies of a file. moved: standard deviation of the difference."""
    many = examples
    for time in range(1, times):
        embeddings = examples.embeddings + np.random.default_rng(time).normal(0, moved, examples.embeddings.shape)
        probabilities = WORLD.before(embeddings.astype(np.float64)).astype(np.float32) if moved else examples.probabilities
        many = many.followed_by(dataclasses.replace(examples, embeddings=embeddings.astype(np.float16), probabilities=probabilities))
    return many
