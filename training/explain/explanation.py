"""An explanation: pictures of what a network looks at on photos, and where its evidence lies in numbers."""

import io
from collections.abc import Sequence
from pathlib import Path

import keras
import msgspec
import numpy as np

from converter.common.atomic_directory import OutputError
from converter.common.progress import Progress
from device.common.arrays import Float32Array
from device.vision.inference.classifier import softmax
from device.vision.inference.preprocess import Pixels, to_float, to_input
from training.explain.gradients import first_features, grad_cam, guided_backpropagation
from training.explain.pictures import Explained, explanations, feature_maps, heated, relief
from training.explain.subjects import Subject
from training.report.fonts import drawn_in_our_fonts

ROWS = 12
"""photos on one picture"""
MAPPED = 3
"""photos whose feature maps are shown"""


class GradCamEvidence(msgspec.Struct, frozen=True):
    """Where Grad-CAM finds what speaks for `label`. x, y: the strongest place, 0..1 from the left and the top; None where nothing does.

    area: the least share of the frame that holds half of the evidence, 0..0.5: small is concentrated.
    """

    label: str
    x: float | None
    y: float | None
    area: float | None


class Explanation(msgspec.Struct, frozen=True):
    """One photo: its true label, null where unknown, the label it was given with its probability at temperature 1, and the evidence."""

    photo: str
    label: str | None
    named: str
    p_named: float
    evidence: list[GradCamEvidence]


def explain(network: keras.Model, labels: tuple[str, ...], subjects: Sequence[Subject], out: Path, progress: Progress) -> list[Explanation]:
    """Explain photos: Grad-CAM for the label given and, where that is wrong, for the true one; guided backpropagation; feature maps.

    Writes `explanation-1.png` and on, `first_layer.png` and `explanation.json` into `out`. subjects: at least one.
    Raises ExplainError and OutputError.
    """
    found: list[Explanation] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        with drawn_in_our_fonts():
            for start in range(0, len(subjects), ROWS):
                progress.step(f"explaining photo {start + 1}/{len(subjects)}")
                rows, told = _explained(network, labels, subjects[start : start + ROWS])
                found += told
                buffer = io.BytesIO()
                explanations(rows).savefig(buffer, format="png")
                (out / f"explanation-{start // ROWS + 1}.png").write_bytes(buffer.getvalue())
            (out / "first_layer.png").write_bytes(_first_layer(network, subjects[:MAPPED]))
        (out / "explanation.json").write_bytes(encoded(found))
    except OSError as error:
        raise OutputError(f"{error.filename or out}: {error.strerror}; expected a folder that can be written to") from error
    return found


def encoded(explanations_: list[Explanation]) -> bytes:
    """The bytes of `explanation.json`."""
    return msgspec.json.format(msgspec.json.encode(explanations_), indent=1) + b"\n"


def _explained(network: keras.Model, labels: tuple[str, ...], subjects: Sequence[Subject]) -> tuple[list[Explained], list[Explanation]]:
    seen, inputs = _inputs(network, subjects)
    probabilities = softmax(network.predict_on_batch(inputs)["logits"], 1.0)
    named = probabilities.argmax(axis=1).tolist()
    true = [labels.index(subject.label) if subject.label in labels else given for subject, given in zip(subjects, named, strict=True)]
    for_named, for_true = grad_cam(network, inputs, named), grad_cam(network, inputs, true)
    guided = guided_backpropagation(network, inputs, named)
    rows, told = [], []
    for i, subject in enumerate(subjects):
        given, p_named = labels[named[i]], float(probabilities[i, named[i]])
        right = None if subject.label is None else subject.label == given
        panels = [(f"Grad-CAM: {given}", heated(seen[i], for_named[i])), (f"guided: {given}", relief(guided[i]))]
        evidence = [_evidence(given, for_named[i])]
        if right is False:
            panels.append((f"Grad-CAM: {labels[true[i]]}", heated(seen[i], for_true[i])))
            evidence.append(_evidence(labels[true[i]], for_true[i]))
        truth = f", is {subject.label} {float(probabilities[i, true[i]]):.0%}" if right is False else ""
        rows.append(Explained(f"{given} {p_named:.0%}{truth}   {subject.name}", right, seen[i], tuple(panels)))
        told.append(Explanation(subject.name, subject.label, given, p_named, evidence))
    return rows, told


def _evidence(label: str, heat: Float32Array) -> GradCamEvidence:
    if not heat.any():
        return GradCamEvidence(label, None, None, None)
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    ranked = np.sort(heat.ravel().astype(np.float64))[::-1]
    area = (int(np.searchsorted(np.cumsum(ranked), ranked.sum() / 2)) + 1) / heat.size
    return GradCamEvidence(label, (float(x) + 0.5) / heat.shape[1], (float(y) + 0.5) / heat.shape[0], area)


def _first_layer(network: keras.Model, subjects: Sequence[Subject]) -> bytes:
    seen, inputs = _inputs(network, subjects)
    maps = first_features(network, inputs)
    buffer = io.BytesIO()
    feature_maps([(subject.name, seen[i], maps[i]) for i, subject in enumerate(subjects)]).savefig(buffer, format="png")
    return buffer.getvalue()


def _inputs(network: keras.Model, subjects: Sequence[Subject]) -> tuple[list[Pixels], Float32Array]:
    size = network.input_shape[1]
    seen = [to_input(subject.pixels, size) for subject in subjects]
    return seen, to_float(np.stack(seen))
