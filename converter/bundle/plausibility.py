"""Recognizes a wrong model, labels file or pixel range: accuracy no better than chance, or much better with labels in another order."""

from collections.abc import Iterator, Sequence

import numpy as np

from converter.common.accuracy import Ints, Predictions, mcnemar_p
from device.common.statistics import wilson_interval

MOST_CHANCE = 0.001
LEAST_GAIN = 0.2
"""accuracy that another order of labels must gain; exchanging two similar labels gains less"""


def plausibility_remarks(answers: Predictions, labels: Sequence[str]) -> Iterator[str]:
    """One line for each thing to look into. answers: of the float network for validation photos."""
    photos = len(answers.targets)
    counts = np.bincount(answers.targets, minlength=len(labels))
    order = _better_label_order(answers)
    if order is not None:
        named = ", ".join(labels[number] for number in order)
        renamed = in_likely_order(answers).accuracy
        yield (
            f"right on {answers.accuracy:.2f} of {photos} photos, but on {renamed:.2f} with labels in the order {named}: "
            "is the file of labels in another order?"
        )
    elif wilson_interval(int(answers.right.sum()), photos)[0] <= counts.max() / photos:
        always = labels[int(counts.argmax())]
        yield (
            f"right on {answers.accuracy:.2f} of {photos} photos, no better than to say {always} always ({counts.max() / photos:.2f}): "
            "are pixels, labels and photos this network's?"
        )


def in_likely_order(answers: Predictions) -> Predictions:
    """The answers with the labels in the order that fits best. Unchanged if that is the given order."""
    order = _better_label_order(answers)
    return answers if order is None else Predictions(answers.logits, np.argsort(order)[answers.targets])


def _better_label_order(answers: Predictions) -> Ints | None:
    """The index of the label that each output seems to stand for, if that order is far more accurate; else None.

    The order found on one half of each label's photos is judged on the other half.
    """
    by_label = np.argsort(answers.targets, kind="stable")
    right = answers.right.copy()
    for start in (0, 1):
        found, judged = by_label[start::2], by_label[1 - start :: 2]
        order = _most_frequent_order(Predictions(answers.logits[found], answers.targets[found]))
        right[judged] = order[answers.logits[judged].argmax(axis=1)] == answers.targets[judged]
    if right.mean() < answers.accuracy + LEAST_GAIN or mcnemar_p(right, answers.right) > MOST_CHANCE:
        return None
    return _most_frequent_order(answers)


def _most_frequent_order(answers: Predictions) -> Ints:
    """For each output the label it occurs with most often. The most frequent pair is assigned first; no label is assigned twice."""
    confusion = answers.confusion()
    order = np.full(len(confusion), -1)
    for place in np.argsort(-confusion, axis=None, kind="stable"):
        label, output = divmod(int(place), len(confusion))
        if order[output] < 0 and label not in order:
            order[output] = label
    return order
