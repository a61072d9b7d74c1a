"""What a bin was taught at its place: a head for old and new labels, fitted to the embeddings of a few photos, and kept apart from the bundle."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array, Float64Array
from device.common.errors import SortbinError
from device.common.files import replacing_durably
from device.vision.fewshot.domain import DomainDirection
from device.vision.fewshot.head import HeadFitter, HeadRecipe, Ints, LinearHead, TrainingSet, balanced_weights
from device.vision.fewshot.near_duplicates import exact_copies, group_near_duplicates
from device.vision.fewshot.prior import FewshotPrior, FoldedExamples, excluded_evidence, fit_prior
from device.vision.inference.bundle import Bundle
from device.vision.inference.classifier import Classifier, Outputs, softmax
from device.vision.inference.embedding_stats import EmbeddingStats
from device.vision.inference.novelty import NoveltyModel, adapt_novelty, fit_novelty, head_doubts, normalize, prototype_distances
from device.vision.inference.npz import read_arrays, write_arrays
from device.vision.inference.preprocess import Pixels

KEEP, LITTLE = 20.0, 1.0
"""what it costs to change the bundle's judgement of its own training photos (see `HeadRecipe`): where its labels stay, TrashNet's validation photos
then lose less than a point on the mean. Where only taught labels are left, next to nothing is tried as
well: there the taught photos may know better"""
WHOLLY, HALF, NOT = 1.0, 0.5, 0.0
"""trust in the bundle's own judgement that is tried"""
SURE = 2.0
"""standard errors by which photos that were left out have to be known better before the bundle is trusted less, or a head beside imagined photos is
looser"""
LOOSE = (2.0, 5.0, 12.0)
"""looseness that is tried (see `HeadRecipe`)"""
MOST_FOLDS = 12
"""photos are left out one by one where there are at most so many, in so many groups otherwise"""
WANTED_RIGHT = 0.95
"""share of the accepted photos that shall be right"""
FALSE_REJECTS = 0.05
"""share of taught things that may be taken for unknown"""
MOSTLY = 0.5
"""share of what is taken for a label of the bundle from which on a new label takes most of it"""
LEAST_REJECTION, MOST_REJECTION = 0.5, 0.95
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.5, 8.0

_NAMES = (
    *("about", "embeddings", "probabilities", "targets", "photos", "weights", "bias", "taken", "place", "prototypes"),
    *("distance", "doubt", "quantiles"),
)


class TeachingError(SortbinError, ValueError):
    """A teaching that cannot be made or used. The message names the file or label and what was expected."""


@dataclass(frozen=True, eq=False)
class Examples:
    """What the network made of taught photos, one row a view: they are kept, so that more can be taught later.

    labels: what was taught. targets: the index of each view's label, int32; photos: which photo it is a view of, int32. embeddings: views x features,
    float16; probabilities: views x labels of the bundle, calibrated, float32. isolated: whether it shows an item that was told apart from the empty
    view.
    """

    labels: tuple[str, ...]
    targets: npt.NDArray[np.int32]
    photos: npt.NDArray[np.int32]
    embeddings: npt.NDArray[np.float16]
    probabilities: Float32Array
    isolated: npt.NDArray[np.bool_]

    @property
    def count(self) -> int:
        """Photos of all labels."""
        return len(np.unique(self.photos))

    def counts(self) -> dict[str, int]:
        """Photos by label."""
        return _counts(self.labels, self.targets, self.photos)

    def isolated_counts(self) -> dict[str, int]:
        """Photos by label in which an item was told apart."""
        return _counts(self.labels, self.targets[self.isolated], self.photos[self.isolated])

    @cached_property
    def mostly_isolated(self) -> bool:
        """Whether most views show items that were told apart."""
        return bool(self.isolated.mean() > 0.5)

    def followed_by(self, other: "Examples") -> "Examples":
        """These and other ones, as if taught at once."""
        labels = tuple(dict.fromkeys(self.labels + other.labels))
        own, theirs = (np.array([labels.index(label) for label in each.labels], np.int32) for each in (self, other))
        return Examples(
            labels,
            np.concatenate([own[self.targets], theirs[other.targets]]),
            np.concatenate([self.photos, other.photos + self.photos.max() + 1]),
            np.concatenate([self.embeddings, other.embeddings]),
            np.concatenate([self.probabilities, other.probabilities]),
            np.concatenate([self.isolated, other.isolated]),
        )

    def without_copies(self) -> "Examples":
        """These without photos that are copies of earlier ones of their label."""
        kept = ~exact_copies(self.embeddings, self.targets, self.photos)
        return Examples(self.labels, self.targets[kept], self.photos[kept], self.embeddings[kept], self.probabilities[kept], self.isolated[kept])


class _About(msgspec.Struct, frozen=True, kw_only=True):
    """What a teaching's file says of itself."""

    bundle: str
    """the digest of the bundle whose embeddings it is fitted to"""
    name: str
    """that bundle's name"""
    labels: tuple[str, ...]
    taught: tuple[str, ...]
    only: bool
    trust: float
    loose: float
    keep: float = KEEP
    temperature: float
    reject_below: float
    unknown_above: float
    right: float | None
    sure: float | None = None
    distinct: tuple[int, ...] = ()
    """of each taught label, how many of its photos are not alike"""
    known_photos: int
    usual: float | None = None
    often: tuple[float, ...] = ()
    kin: tuple[tuple[float, ...], ...] = ()
    isolated: tuple[int, ...] = ()
    """the views that show an item told apart"""


@dataclass(frozen=True, eq=False)
class FewshotHead:
    """A head for the labels of a place.

    labels: all that it tells apart: those of the bundle that stay (all, or the taught ones alone), in its order, then new ones. only: whether labels
    that were not taught were left out. prior: what the bundle alone thinks of them here. distinct: photos by label, those that are alike counted
    once (see `group_near_duplicates`). right, sure: shares of these that were named right, and that were named surely enough not to be rejected,
    while left out of the fit, of labels with two of them at least; None where there are no such labels, and sure also where an older file does not
    say. temperature, reject_below, unknown_above, known: as a bundle has them, for this head. digest: of the bundle it belongs to.
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
    known: NoveltyModel
    distinct: dict[str, int]
    right: float | None
    sure: float | None

    def judge(self, probabilities: Float64Array, embedding: npt.NDArray[np.floating[Any]], *, here: bool) -> tuple[Float64Array, float]:
        """Calibrated probabilities, one of each of `labels`, summing to 1, and how unknown it is, 0..1. probabilities: of the bundle's labels;
        embedding: features; here: whether it is known to lie at the place, as an item does that was told apart from its empty view.
        """
        features, before, certain = embedding[np.newaxis].astype(np.float64), probabilities[np.newaxis].astype(np.float64), np.ones(1)
        likely = certain if here else self.prior.here(before, features)
        # A head that was fitted to items known to lie here judges those alone; one that was not weighs itself where its own place is.
        start = self.prior.of(before, certain if self.examples.mostly_isolated else likely)
        found: Float64Array = softmax(self.head.logits(features, start), self.temperature)[0]
        if self.examples.mostly_isolated and not self.only:
            found = likely * found + (1 - likely) * self.prior.not_here(before)[0]
        return found, self.known.score(embedding, found, float(excluded_evidence(start)[0]))

    def rivals(self) -> list[tuple[str, str]]:
        """New labels and those of the bundle that it mostly takes them for, where these stay known although nobody taught them."""
        old, new = self.labels[: len(self.prior.columns)], self.labels[len(self.prior.columns) :]
        shares = zip(new, self.prior.taken[:, self.prior.columns], strict=True)
        pairs = [(label, rival, share) for label, row in shares for rival, share in zip(old, row, strict=True)]
        return [(label, rival) for label, rival, share in pairs if share > MOSTLY and rival not in self.examples.labels]

    def write(self, file: Path) -> None:
        """Write it to one file, whole or not at all. Raises OSError."""
        about = _About(
            bundle=self.digest,
            name=self.name,
            labels=self.labels,
            taught=self.examples.labels,
            only=self.only,
            trust=self.recipe.trust,
            loose=self.recipe.loose,
            keep=self.recipe.keep,
            temperature=self.temperature,
            reject_below=self.reject_below,
            unknown_above=self.unknown_above,
            right=self.right,
            sure=self.sure,
            distinct=tuple(self.distinct[label] for label in self.examples.labels),
            known_photos=int(self.known.photos),
            usual=self.known.usual if math.isfinite(self.known.usual) else None,
            often=tuple(self.prior.often.tolist()),
            kin=tuple(map(tuple, self.prior.kin.tolist())),
            isolated=tuple(np.flatnonzero(self.examples.isolated).tolist()),
        )
        examples, head, seen = self.examples, self.head, self.known
        place = np.zeros(0) if self.prior.place is None else np.concatenate([self.prior.place.weights, self.prior.place.middles])
        described = np.frombuffer(msgspec.json.encode(about), np.uint8)
        arrays = (
            *(described, examples.embeddings, examples.probabilities, examples.targets, examples.photos),
            *(head.weights.astype(np.float32), head.bias.astype(np.float32), self.prior.taken.astype(np.float32), place.astype(np.float32)),
            *(seen.prototypes.astype(np.float16), seen.distance, seen.doubt, seen.quantiles),
        )
        with replacing_durably(file) as new:
            write_arrays(new, dict(zip(_NAMES, arrays, strict=True)))


def read_fewshot_head(file: Path, bundle: Bundle) -> FewshotHead:
    """Read what `FewshotHead.write` wrote. Raises TeachingError for a damaged file, and for one that was taught on another bundle."""
    try:
        described, *seen, weights, bias, taken, direction, prototypes, distance, doubt, quantiles = read_arrays(file, _NAMES)
        embeddings, probabilities, targets, photos = seen
        about = msgspec.json.decode(described.tobytes(), type=_About)
    except OSError as error:
        raise TeachingError(f"{file}: {error.strerror}; expected a file that `sortbin teach --out` wrote") from error
    except (ValueError, msgspec.MsgspecError) as error:
        raise TeachingError(f"{file}: {error}; expected a file that `sortbin teach --out` wrote") from error
    if about.bundle != bundle.info.learning_digest:
        raise TeachingError(
            f"{file}: taught on the bundle {about.name} ({about.bundle[:12]}), and this one is {bundle.info.name} "
            f"({bundle.info.learning_digest[:12]}); teach it again from the photos"
        )
    columns, features = _columns(bundle.info.labels, about.labels), embeddings.shape[-1]
    labels, old = len(about.labels), len(bundle.info.labels)
    often = np.array(about.often or np.ones(labels), np.float64)
    kin = np.array(about.kin or np.eye(1, old).repeat(labels - len(columns), axis=0), np.float64).reshape(-1, old)
    found = weights.shape, bias.shape, taken.shape, often.shape, kin.shape, direction.shape if len(direction) else (features + old,)
    expected = (labels, features), (labels,), (labels - len(columns), old), (labels,), (labels - len(columns), old), (features + old,)
    if found != expected:
        raise TeachingError(f"{file}: expected weights, bias, taken, often, kin and place of shapes {expected}, found {found}; teach it again")
    examples = Examples(about.taught, targets, photos, embeddings, probabilities, np.isin(np.arange(len(photos)), about.isolated))
    usual = math.inf if about.usual is None else about.usual
    place = DomainDirection(*np.split(direction.astype(np.float64), [features])) if len(direction) else None
    return FewshotHead(
        about.bundle,
        about.name,
        about.labels,
        about.only,
        examples,
        LinearHead(weights.astype(np.float64), bias.astype(np.float64), about.trust),
        HeadRecipe(about.trust, about.loose, about.keep),
        FewshotPrior(columns, taken.astype(np.float64), often, kin, place),
        about.temperature,
        about.reject_below,
        about.unknown_above,
        NoveltyModel(prototypes.astype(np.float32), distance, doubt, quantiles, np.array(about.known_photos, np.int64), usual),
        dict(zip(about.taught, about.distinct, strict=True)) if len(about.distinct) == len(about.taught) else examples.counts(),
        about.right,
        about.sure,
    )


class TaughtPhoto(NamedTuple):
    """A taught photo. views: H x W x 3 uint8 RGB, as `teaching_crops` gives them; isolated: whether they show an item that was told apart."""

    label: str
    views: Sequence[Pixels]
    isolated: bool


class EmbeddedPhoto(NamedTuple):
    """What the bundle's network made of the views of one."""

    label: str
    outputs: Sequence[Outputs]
    isolated: bool


def embed_photos(photos: Iterable[TaughtPhoto], classifier: Classifier) -> Examples:
    """See taught photos, of which one at a time is held. Raises RuntimeFault."""
    seen = [EmbeddedPhoto(label, [classifier.outputs(view) for view in views], isolated) for label, views, isolated in photos]
    return to_examples(seen, classifier.bundle)


def to_examples(seen: Sequence[EmbeddedPhoto], bundle: Bundle) -> Examples:
    """What can be taught by what was seen."""
    labels = tuple(dict.fromkeys(photo.label for photo in seen))
    views = [(number, photo, outputs) for number, photo in enumerate(seen) for outputs in photo.outputs]
    return Examples(
        labels,
        np.array([labels.index(photo.label) for _, photo, _ in views], np.int32),
        np.array([number for number, _, _ in views], np.int32),
        np.stack([outputs.embedding for _, _, outputs in views]).astype(np.float16),
        np.stack([softmax(outputs.logits, bundle.info.temperature) for _, _, outputs in views]).astype(np.float32),
        np.array([photo.isolated for _, photo, _ in views], np.bool_),
    )


def teach(examples: Examples, bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel | None, *, only: bool) -> FewshotHead:
    """Fit a head. familiar: what the bundle knows, where it says so. only: leave out labels of the bundle that were not taught.

    Photos that are alike count as one. Recipes are compared by the log likelihood of photos left out, all views of a photo together; the bundle's own
    judgement is trusted less, and a head beside imagined photos is looser, only where that is better for SURE. Raises TeachingError for nothing to
    tell apart.
    """
    labels = labels_after_teaching(bundle.info.labels, examples.labels, only=only)
    views = _views(examples, labels, reference)
    start = fit_prior(reference, _columns(bundle.info.labels, labels), views, only=only, isolated=examples.mostly_isolated)
    lessons = TrainingSet(views.embeddings, start.unseen, views.targets, balanced_weights(views.targets, views.photos))
    fitter = HeadFitter(reference, lessons, start.imagined)
    # Where labels stay that nobody taught, or the head judges what lies elsewhere as well, they are known from the bundle's own head.
    free = only or (examples.mostly_isolated and set(labels) == set(examples.labels))
    trusts, keeps = ((WHOLLY, HALF, NOT), (KEEP, LITTLE)) if free else ((WHOLLY,), (KEEP,))
    recipes = [[HeadRecipe(trust, loose, keep) for loose, keep in itertools.product(LOOSE, keeps)] for trust in trusts]
    if len(start.imagined.without):
        # A looser head would know the imagined photos, which are all alike, and the taught ones less: it needs a reason, too.
        recipes = [[recipe] for recipe in itertools.chain(*recipes)]
    unseen = {recipe: fitter.out_of_fold_logits(recipe, views.folds) for recipe in itertools.chain(*recipes)}
    first = np.unique(views.photos, return_index=True)[1]
    told = _told(views.targets[first])
    telling = replace(lessons, weights=lessons.weights * np.isin(views.photos, views.photos[first[told]])) if told.any() else lessons
    temperatures = {recipe: _temperature(logits, telling) for recipe, logits in unseen.items()}
    surprise = {recipe: _surprise(logits / temperatures[recipe], telling) for recipe, logits in unseen.items()}
    recipe = _chosen(recipes, surprise, telling, views.photos)
    temperature = temperatures[recipe]
    posteriors = softmax(unseen[recipe], temperature)[first]
    best, right = posteriors.max(axis=1)[told], (posteriors.argmax(axis=1) == views.targets[first])[told]
    reject_below = _reject_below(best, right) if told.any() else bundle.info.reject_below
    left_out = excluded_evidence(start.unseen)[first] if only else None
    prototypes = _prototypes(examples, None if only else familiar)
    if told.all() or familiar is None:
        knows = fit_novelty(prototypes, _far(examples, views.photos, first, None if only else familiar), head_doubts(posteriors), left_out)
    else:
        knows = adapt_novelty(familiar, prototypes, reference.mean_pair_distance if only else None, left_out)
    return FewshotHead(
        bundle.info.learning_digest,
        bundle.info.name,
        labels,
        only,
        examples,
        fitter.head(recipe),
        recipe,
        start.prior,
        temperature,
        reject_below,
        1 - FALSE_REJECTS,
        knows,
        _counts(examples.labels, examples.targets, views.photos),
        float(right.mean()) if told.any() else None,
        float((best >= reject_below).mean()) if told.any() else None,
    )


def labels_after_teaching(old: tuple[str, ...], taught: Sequence[str], *, only: bool) -> tuple[str, ...]:
    """What is told apart once labels were taught: old ones first, in their order, then new ones by name. Raises TeachingError for fewer than two."""
    labels = (*(label for label in old if not only or label in taught), *sorted(set(taught) - set(old)))
    if len(labels) < 2:
        raise TeachingError(f"{', '.join(labels)}: one label alone cannot be told from others; teach a second one, or keep the old ones (no --only)")
    return labels


def _columns(old: tuple[str, ...], labels: tuple[str, ...]) -> Ints:
    return np.array([old.index(label) for label in labels if label in old], np.int64)


def _counts(labels: Sequence[str], targets: npt.NDArray[np.integer[Any]], photos: npt.NDArray[np.integer[Any]]) -> dict[str, int]:
    return {label: len(np.unique(photos[targets == i])) for i, label in enumerate(labels)}


def _views(examples: Examples, labels: tuple[str, ...], reference: EmbeddingStats) -> FoldedExamples:
    """Targets are indices of `labels`; photos that are alike are one."""
    targets = np.array([labels.index(label) for label in examples.labels], np.int64)[examples.targets]
    embeddings = examples.embeddings.astype(np.float64)
    photos = group_near_duplicates(embeddings, targets, examples.photos, examples.isolated, reference.covariance().trace)
    return FoldedExamples(embeddings, examples.probabilities.astype(np.float64), targets, photos, _folds(targets, photos))


def _folds(targets: Ints, photos: Ints) -> Ints:
    """The fold of each view: photos of one label are dealt out in turn, so that no fold takes all of a label where that can be helped."""
    _, first, photo_of = np.unique(photos, return_index=True, return_inverse=True)
    by_label = np.argsort(targets[first], kind="stable")
    folds = np.empty(len(first), np.int64)
    folds[by_label] = np.arange(len(first)) % min(len(first), MOST_FOLDS)
    return folds[photo_of]


def _told(targets: Ints) -> npt.NDArray[np.bool_]:
    """Of which photos anything is told by leaving them out: those of labels with another one. targets: of each photo."""
    return np.bincount(targets)[targets] > 1


def _chosen(recipes: Sequence[Sequence[HeadRecipe]], surprise: Mapping[HeadRecipe, Float64Array], lessons: TrainingSet, photos: Ints) -> HeadRecipe:
    """The recipe with the least mean surprise (of each view, in nats) of the first group, or of a later one where the photos give reason for that."""
    share = lessons.weights / lessons.weights.sum()
    chosen, *later = (min(group, key=lambda recipe: float(share @ surprise[recipe])) for group in recipes)
    for recipe in later:
        gain = surprise[chosen] - surprise[recipe]
        mean = float(share @ gain)
        if mean > SURE * np.linalg.norm(np.bincount(photos, share * (gain - mean))):
            chosen = recipe
    return chosen


def _surprise(scaled: Float64Array, lessons: TrainingSet) -> Float64Array:
    """Negative log likelihood of each view's label, in nats. scaled: logits over their temperature, views x labels."""
    return np.asarray(np.logaddexp.reduce(scaled, axis=1) - scaled[np.arange(len(scaled)), lessons.targets], np.float64)


def _nll(logits: Float64Array, lessons: TrainingSet, temperature: float) -> float:
    return float(lessons.weights @ _surprise(logits / temperature, lessons) / lessons.weights.sum())


def _temperature(logits: Float64Array, lessons: TrainingSet) -> float:
    """The temperature of the highest likelihood for photos left out: golden-section search over its logarithm (Guo et al. 2017)."""
    low, high = math.log(LEAST_TEMPERATURE), math.log(MOST_TEMPERATURE)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(24):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if _nll(logits, lessons, math.exp(left)) < _nll(logits, lessons, math.exp(right)):
            high = right
        else:
            low = left
    return round(math.exp((low + high) / 2), 3)


def _reject_below(best: Float64Array, right: npt.NDArray[np.bool_]) -> float:
    """The least probability, in hundredths, from which on at least WANTED_RIGHT of the photos are named right."""
    for hundredths in range(round(100 * LEAST_REJECTION), round(100 * MOST_REJECTION)):
        accepted = best >= hundredths / 100
        if accepted.any() and right[accepted].mean() >= WANTED_RIGHT:
            return hundredths / 100
    return MOST_REJECTION


def _prototypes(examples: Examples, familiar: NoveltyModel | None) -> Float64Array:
    """Where known things lie: taught photos are prototypes themselves, beside those that the bundle has."""
    own = normalize(examples.embeddings[np.unique(examples.photos, return_index=True)[1]])
    return own if familiar is None else np.concatenate([own, familiar.prototypes.astype(np.float64)])


def _far(examples: Examples, groups: Ints, first: Ints, familiar: NoveltyModel | None) -> Float64Array:
    """How far photos lie from all that are not alike: one a row of `first`, a view of each. groups: of each view, see `group_near_duplicates`."""
    shown = np.unique(examples.photos, return_index=True)[1]
    one_each, own = normalize(examples.embeddings[first]), normalize(examples.embeddings[shown])
    far = 1 - np.where(groups[first, np.newaxis] == groups[shown], -1.0, one_each @ own.T).max(axis=1)
    return far if familiar is None else np.minimum(far, prototype_distances(one_each, familiar.prototypes))
