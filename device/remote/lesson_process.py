"""The process that fits a head after a lesson from afar, so that the fit neither slows nor ends the bin. The next start uses the head."""

import os
from pathlib import Path

import msgspec
import numpy as np

from device.adaptation.fewshot_head_store import head_files, read_head, save_head
from device.common.run_in_subprocess import reply
from device.policy.rules import default_rules, find_rules, read_rules
from device.vision.fewshot.examples import EmbeddedPhoto, Examples, to_examples
from device.vision.fewshot.fewshot_head import TeachingError, labels_after_teaching
from device.vision.fewshot.teach import teach
from device.vision.inference.bundle import Bundle, read_bundle
from device.vision.inference.classifier import Outputs
from device.vision.inference.embedding_stats import read_embedding_stats
from device.vision.inference.novelty import read_novelty_model

MOST_PHOTOS = 500
"""of one label: the fit takes longer with each"""
MOST_LESSONS = 50
"""newest heads that stay in the state folder"""
LESS_URGENT = 10
"""niceness: the bin comes first"""


class TaughtItem(msgspec.Struct, frozen=True, tag="teach"):
    """One item as the network sees it: its outputs for each crop. isolated: whether the crops show it alone."""

    logits: tuple[tuple[float, ...], ...]
    embeddings: tuple[tuple[float, ...], ...]
    isolated: bool


class Forgotten(msgspec.Struct, frozen=True, tag="forget"):
    """Every photo of the label is to be forgotten."""


class RemoteLesson(msgspec.Struct, frozen=True, kw_only=True):
    """What to teach or to forget, and where. rules: a rule pack's file or name; empty for Sortbin's own."""

    label: str
    item: TaughtItem | Forgotten
    state: str = ""
    bundle: str = ""
    rules: str = ""

    def at(self, state: Path, bundle: Path, rules: str) -> "RemoteLesson":
        """The lesson with its place."""
        return msgspec.structs.replace(self, state=str(state), bundle=str(bundle), rules=rules)


class TaughtHead(msgspec.Struct, frozen=True, kw_only=True):
    """The head after a lesson. photos: of each taught label; empty where none is left. right: cross-validated share, None if unknown."""

    photos: dict[str, int]
    right: float | None


def learn(lesson: RemoteLesson) -> TaughtHead:
    """Fit a head to what was taught before and this lesson, and store it. Raises TeachingError and RulesError; then nothing has changed."""
    os.nice(LESS_URGENT)
    state, bundle = Path(lesson.state), read_bundle(Path(lesson.bundle))
    before = read_head(state, bundle)
    examples = None if before is None else before.examples
    after = _with(examples, lesson, bundle) if isinstance(lesson.item, TaughtItem) else _without(examples, lesson.label)
    if after is None:
        for file in head_files(state):
            file.unlink()
        return TaughtHead(photos={}, right=None)
    only = before is not None and before.only
    labels = labels_after_teaching(bundle.info.labels, after.labels, only=only)
    read_rules(find_rules(lesson.rules) if lesson.rules else default_rules(), labels, bundle.info.labels)
    head = teach(after, bundle, read_embedding_stats(bundle), read_novelty_model(bundle), only=only)
    save_head(head, state)
    for file in head_files(state)[:-MOST_LESSONS]:
        file.unlink()
    return TaughtHead(photos=head.examples.counts(), right=head.right)


def _with(examples: Examples | None, lesson: RemoteLesson, bundle: Bundle) -> Examples:
    assert isinstance(lesson.item, TaughtItem)
    pairs = zip(lesson.item.logits, lesson.item.embeddings, strict=True)
    outputs = [Outputs(np.array(logits, np.float32), np.array(embedding, np.float32)) for logits, embedding in pairs]
    photo = to_examples([EmbeddedPhoto(lesson.label, outputs, lesson.item.isolated)], bundle)
    if examples is None:
        return photo
    if examples.counts().get(lesson.label, 0) >= MOST_PHOTOS:
        raise TeachingError(f"{lesson.label}: {MOST_PHOTOS} photos were taught already; forget it first")
    both = examples.followed_by(photo)
    unique = both.without_copies()
    if unique.count < both.count:
        raise TeachingError(f"{lesson.label}: this item was taught already")
    return unique


def _without(examples: Examples | None, label: str) -> Examples | None:
    """The examples of other labels, None where there are none."""
    if examples is None or label not in examples.labels:
        raise TeachingError(f"{label}: was not taught; taught are {', '.join(examples.labels) if examples else 'no labels'}")
    kept = examples.targets != examples.labels.index(label)
    if not kept.any():
        return None
    labels = tuple(each for each in examples.labels if each != label)
    targets = np.array([labels.index(examples.labels[target]) for target in examples.targets[kept]], np.int32)
    return Examples(labels, targets, examples.photos[kept], examples.embeddings[kept], examples.probabilities[kept], examples.isolated[kept])


if __name__ == "__main__":
    reply(RemoteLesson, learn)
