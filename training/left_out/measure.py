"""Measure a model at a place: with nothing told, with the labels named, and taught with a few photos of each label, as a bin judges and learns.

Named is `[site] labels` of a bin's settings, taught is `sortbin teach --only`. Photos are shown whole, in the looks of a bin without an empty view.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from device.adaptation.label_prior import LabelPrior, SiteSettings
from device.common.arrays import Float64Array
from device.policy.decision import Evidence, decide
from device.policy.rules import RulePack
from device.vision.fewshot.examples import EmbeddedPhoto, to_examples
from device.vision.fewshot.teach import teach
from device.vision.inference.classifier import softmax
from device.vision.inference.fusion import fuse
from device.vision.isolation.tta import FRAME_CROPS
from training.left_out.judging import Judging, SeenPhotos
from training.left_out.lessons import Lesson, draw_lesson
from training.left_out.place import PhotoPlace

Ints = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]

WANTED_RIGHT = 0.95
"""share of the accepted photos that is to be right"""


class Shares(msgspec.Struct, frozen=True):
    """Shares 0..1 of n photos; for what was taught, the mean over draws, and n of all draws together.

    right: named right. at_95: the largest share that could go to its bin so that WANTED_RIGHT of it is right, the surest first. accepted: sent to a
    bin by the product's own thresholds, and not to the residual bin for want of certainty. accepted_right: of these, in the right bin; None of none.
    """

    n: int
    right: float
    at_95: float
    accepted: float
    accepted_right: float | None


class TaughtShares(msgspec.Struct, frozen=True):
    """After teaching. labels: how many were taught and asked about, on the mean of draws. std: of `right` over draws; draws: how many there were."""

    shares: Shares
    labels: float
    std: float
    draws: int


class PlaceReport(msgspec.Struct, frozen=True):
    """A model at one place.

    n: photos of labels that the model has; others: of labels that it lacks, not counted. groups: items or sequences as far as they are known.
    trained_on: how many of the n photos the model was trained on or chosen by; None where that is not known. taught: by photos of each label; only
    numbers for which at least two labels have enough.
    """

    place: str
    n: int
    others: int
    labels: tuple[str, ...]
    groups: int
    trained_on: int | None
    nothing: Shares
    named: Shares
    taught: dict[int, TaughtShares]


@dataclass(frozen=True)
class Protocol:
    """How a place is measured. shots: photos of each label that are taught. draws: how often they are drawn. pack: rule pack for given labels."""

    shots: tuple[int, ...]
    draws: int
    seed: int
    pack: Callable[[tuple[str, ...]], RulePack]


@dataclass(frozen=True, eq=False)
class _Judged:
    """Photos after judging. before, after: probabilities before and after the label prior, photos x labels. unknown: out of distribution."""

    labels: tuple[str, ...]
    before: Float64Array
    after: Float64Array
    unknown: Flags
    reject_below: float


def measure(judging: Judging, place: PhotoPlace, others: int, seen: SeenPhotos, trained_on: int | None, protocol: Protocol) -> PlaceReport:
    """Measure at a place all of whose photos are of the model's labels. others, trained_on: see PlaceReport."""
    truth = [photo.label for photo in place.photos]
    nothing, named = (_shares(_judge(judging, seen, labels), truth, protocol) for labels in ((), place.labels))
    taught: dict[int, TaughtShares] = {}
    if judging.stats is not None:
        found = {shots: _taught(judging, place, seen, shots, protocol) for shots in protocol.shots}
        taught = {shots: shares for shots, shares in found.items() if shares is not None}
    groups = len(np.unique(place.groups))
    return PlaceReport(place.name, len(truth), others, place.labels, groups, trained_on, nothing, named, taught)


def accepted_at(wanted: float, sure: Float64Array, right: Flags) -> float:
    """The largest share of photos, the surest first, of which at least `wanted` are right; equally sure ones go together. sure: of each photo."""
    order = np.argsort(-sure, kind="stable")
    shares = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    ends = np.append(np.diff(sure[order]) != 0, True)
    reached = np.flatnonzero(ends & (shares >= wanted - 1e-12))
    return float((reached[-1] + 1) / len(order)) if len(reached) else 0.0


def _judge(judging: Judging, seen: SeenPhotos, named: tuple[str, ...]) -> _Judged:
    """Judge photos by all looks with nothing taught. named: labels that occur; empty for all."""
    info, novelty = judging.bundle.info, judging.novelty
    prior = LabelPrior(info.labels, judging.usual_shares, SiteSettings(labels=named))
    by_look = softmax(seen.logits, info.temperature)
    before = np.stack([fuse(list(looks), weights=[crop.weight for crop in FRAME_CROPS]) for looks in by_look])
    bound = info.unknown_above if isinstance(info.unknown_above, float) else 1.0
    scores = np.zeros(len(before))
    if novelty is not None:
        scores = np.array([np.mean(list(map(novelty.score, *photo))) for photo in zip(seen.embeddings, by_look, strict=True)])
    return _Judged(info.labels, before, prior.apply_prior(before), scores > bound, info.reject_below)


def _taught(judging: Judging, place: PhotoPlace, seen: SeenPhotos, shots: int, protocol: Protocol) -> TaughtShares | None:
    labels, targets = np.unique([photo.label for photo in place.photos], return_inverse=True)
    found, taught = [], []
    for number in range(protocol.draws):
        lesson = draw_lesson(targets, place.groups, shots, np.random.default_rng([protocol.seed, shots, number]))
        if lesson is None:
            continue
        truth = [labels[targets[photo]] for photo in lesson.asked]
        found.append(_shares(_judge_taught(judging, place, seen, lesson), truth, protocol))
        taught.append(len(np.unique(targets[lesson.taught])))
    if not found:
        return None
    std = float(np.std([shares.right for shares in found]))
    return TaughtShares(mean_shares(found), float(np.mean(taught)), std, len(found))


def _judge_taught(judging: Judging, place: PhotoPlace, seen: SeenPhotos, lesson: Lesson) -> _Judged:
    """Teach a head, and judge by it what is asked about."""
    assert judging.stats is not None
    shown = [EmbeddedPhoto(place.photos[photo].label, seen.looks_at(photo), False) for photo in lesson.taught]
    head = teach(to_examples(shown, judging.bundle), judging.bundle, judging.stats, judging.novelty, only=True)
    posteriors, unknown = [], []
    for photo in lesson.asked:
        before = softmax(seen.logits[photo], judging.bundle.info.temperature)
        looks = [head.predict(*look, in_domain=True) for look in zip(before, seen.embeddings[photo], strict=True)]
        posteriors.append(fuse([probabilities for probabilities, _ in looks]))
        unknown.append(np.mean([score for _, score in looks]) > head.unknown_above)
    after = np.stack(posteriors)
    return _Judged(head.labels, after, after, np.array(unknown), head.reject_below)


def _shares(judged: _Judged, truth: Sequence[str], protocol: Protocol) -> Shares:
    pack = protocol.pack(judged.labels)
    names = list(pack.bins)
    columns = np.array([names.index(pack.bin_of(label)) for label in judged.labels])
    belongs = np.array([names.index(pack.bin_of(label)) for label in truth])
    belief = judged.after @ np.eye(len(names))[columns]
    sure, right = belief.max(axis=1), belief.argmax(axis=1) == belongs
    named_right = np.array(judged.labels)[judged.after.argmax(axis=1)] == np.array(truth)
    evidence = (Evidence(*row) for row in zip(judged.after, judged.before, judged.unknown.tolist(), strict=True))
    choices = [decide(each, judged.labels, pack, reject_below=judged.reject_below) for each in evidence]
    accepted = np.array([choice.reason == "confident" for choice in choices])
    in_right_bin = np.array([choice.bin == names[bin_] for choice, bin_ in zip(choices, belongs, strict=True)])
    of_accepted = float(in_right_bin[accepted].mean()) if accepted.any() else None
    return Shares(len(truth), float(named_right.mean()), accepted_at(WANTED_RIGHT, sure, right), float(accepted.mean()), of_accepted)


def mean_shares(found: Sequence[Shares]) -> Shares:
    """The mean of each figure, and the sum of n."""
    of_accepted = [shares.accepted_right for shares in found if shares.accepted_right is not None]
    right, at_95, accepted = np.mean([(shares.right, shares.at_95, shares.accepted) for shares in found], axis=0).tolist()
    return Shares(sum(shares.n for shares in found), right, at_95, accepted, float(np.mean(of_accepted)) if of_accepted else None)
